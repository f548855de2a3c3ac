#include "text/clean_spaces.h"
#include "text/tokenizer.h"
#include "text/utf8.h"

namespace sluice {
namespace {

/// Moves the characters that are complete out of `bytes`; ill-formed ones become U+FFFD.
std::string take_characters(std::string& bytes) {
  std::string text;
  std::size_t done = 0;
  while (done < bytes.size()) {
    const Utf8Front front = utf8_front(std::string_view(bytes).substr(done));
    if (front.state == Utf8Front::State::kIncomplete) break;
    if (front.state == Utf8Front::State::kWhole) {
      text.append(bytes, done, front.length);
    } else {
      text += kReplacementCharacter;
    }
    done += front.length;
  }
  bytes.erase(0, done);
  return text;
}

}  // namespace

std::string Detokenizer::push(TokenId id, bool show_special) {
  std::string piece = tokenizer_.piece(id, show_special);
  if (piece.empty()) return {};
  if (first_ && tokenizer_.strips_first_space() && piece.front() == ' ') piece.erase(0, 1);
  first_ = false;
  pending_ += piece;
  std::string text = take_characters(pending_);
  if (!tokenizer_.data().clean_spaces) return text;
  held_ += text;
  const std::size_t ready = cleanable_length(held_);
  text = clean_spaces(held_.substr(0, ready));
  held_.erase(0, ready);
  return text;
}

std::string Detokenizer::finish() {
  std::string text = std::move(held_);
  if (!pending_.empty()) text += kReplacementCharacter;  // always one unfinished character
  held_.clear();
  pending_.clear();
  return tokenizer_.data().clean_spaces ? clean_spaces(std::move(text)) : text;
}

}  // namespace sluice
