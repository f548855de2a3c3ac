#include "text/added_tokens.h"

#include <utf8proc.h>

#include <algorithm>
#include <utility>

#include "text/utf8.h"
#include "text/white_space.h"

namespace sluice {
namespace {

/// Symbols that Unicode counts as alphabetic: circled and squared letters.
bool is_alphabetic_symbol(char32_t c) {
  return (c >= 0x24B6 && c <= 0x24E9) || (c >= 0x1F130 && c <= 0x1F149) ||
         (c >= 0x1F150 && c <= 0x1F169) || (c >= 0x1F170 && c <= 0x1F189);
}

/// Unicode's word characters: alphabetic ones, marks, decimal digits, connectors and the two
/// joiners.
bool is_word(char32_t c) {
  switch (utf8proc_category(static_cast<utf8proc_int32_t>(c))) {
    case UTF8PROC_CATEGORY_LU:
    case UTF8PROC_CATEGORY_LL:
    case UTF8PROC_CATEGORY_LT:
    case UTF8PROC_CATEGORY_LM:
    case UTF8PROC_CATEGORY_LO:
    case UTF8PROC_CATEGORY_MN:
    case UTF8PROC_CATEGORY_MC:
    case UTF8PROC_CATEGORY_ME:
    case UTF8PROC_CATEGORY_ND:
    case UTF8PROC_CATEGORY_NL:
    case UTF8PROC_CATEGORY_PC:
      return true;
    default:
      return c == 0x200C || c == 0x200D || is_alphabetic_symbol(c);
  }
}

/// The start of the character that ends before `end`, in text that need not be well-formed.
std::size_t character_before(std::string_view text, std::size_t end) {
  const std::size_t low = end < 4 ? 0 : end - 4;
  for (std::size_t at = end; at-- > low;) {
    const Utf8Front front = utf8_front(text.substr(at, end - at));
    if (front.state == Utf8Front::State::kWhole && at + front.length == end) return at;
  }
  return end - 1;
}

template <typename Predicate>
bool is_after(std::string_view text, std::size_t at, const Predicate& predicate) {
  if (at >= text.size()) return false;
  const Utf8Front front = utf8_front(text.substr(at));
  return front.state == Utf8Front::State::kWhole && predicate(front.code_point);
}

template <typename Predicate>
bool is_before(std::string_view text, std::size_t at, const Predicate& predicate) {
  return at > 0 && is_after(text.substr(0, at), character_before(text, at), predicate);
}

}  // namespace

AddedTokens::AddedTokens(std::vector<AddedToken> tokens) : tokens_(std::move(tokens)) {
  std::erase_if(tokens_, [](const AddedToken& token) { return token.text.empty(); });
  const auto by_text = [](const AddedToken& a, const AddedToken& b) { return a.text < b.text; };
  std::stable_sort(tokens_.begin(), tokens_.end(), by_text);
  const auto same = [](const AddedToken& a, const AddedToken& b) { return a.text == b.text; };
  tokens_.erase(std::unique(tokens_.begin(), tokens_.end(), same), tokens_.end());
  for (const AddedToken& token : tokens_) {
    can_start_[static_cast<unsigned char>(token.text.front())] = true;
    longest_ = std::max(longest_, token.text.size());
    strips_left_ |= token.lstrip;
  }
}

// The tokens that share a prefix are neighbours: byte for byte the range of candidates narrows.
AddedTokens::Found AddedTokens::longest_at(std::string_view text, std::size_t at) const {
  Found found;
  auto low = tokens_.begin();
  auto high = tokens_.end();
  for (std::size_t depth = 0; at + depth < text.size() && low != high; ++depth) {
    const auto byte = static_cast<unsigned char>(text[at + depth]);
    const auto byte_of = [&](const AddedToken& token) {  // a token that has ended sorts first
      return depth < token.text.size() ? static_cast<unsigned char>(token.text[depth]) : -1;
    };
    low = std::partition_point(low, high, [&](const auto& token) { return byte_of(token) < byte; });
    high =
        std::partition_point(low, high, [&](const auto& token) { return byte_of(token) <= byte; });
    if (low != high && low->text.size() == depth + 1) found = {&*low, at + depth + 1};
  }
  return found;
}

std::vector<Section> AddedTokens::split(std::string_view text, bool special) const {
  AddedTokenSearch search;
  return advance(text, special, true, search);
}

std::vector<Section> AddedTokens::advance(std::string_view text, bool special, bool final,
                                          AddedTokenSearch& search) const {
  std::vector<Section> sections;
  std::size_t& done = search.done;
  std::size_t& at = search.at;
  const auto add_text = [&](std::size_t end) {
    if (done < end) sections.push_back({text.substr(done, end - done), std::nullopt});
    done = std::max(done, end);
  };
  // What a token at `at` depends on must be there: the longest token and the character after it.
  const std::size_t needed = final ? 0 : longest_ + kContext;
  while (at + needed < text.size() && !tokens_.empty()) {
    const Found found =
        can_start_[static_cast<unsigned char>(text[at])] ? longest_at(text, at) : Found{};
    if (found.token == nullptr) {
      ++at;
      continue;
    }
    const AddedToken& token = *found.token;
    const bool hidden = token.special && !special;
    const bool within_word =
        token.single_word && (is_before(text, at, is_word) || is_after(text, found.end, is_word));
    if (hidden || within_word) {
      at = found.end;
      continue;
    }
    std::size_t begin = at;
    std::size_t end = found.end;
    while (token.lstrip && begin > done && is_before(text, begin, is_white_space)) {
      begin = character_before(text, begin);
    }
    while (token.rstrip && is_after(text, end, is_white_space)) end += utf8_length(text[end]);
    if (token.rstrip && !final && end + kContext > text.size()) break;  // more space may follow
    begin = std::max(begin, done);
    add_text(begin);
    sections.push_back({text.substr(begin, end - begin), token.id});
    done = end;
    at = end;
  }
  if (final) {
    add_text(text.size());
    return sections;
  }
  if (tokens_.empty()) at = text.size();
  std::size_t certain = character_floor(text, at);
  while (strips_left_ && certain > done && is_before(text, certain, is_white_space)) {
    certain = character_before(text, certain);
  }
  add_text(certain);
  return sections;
}

}  // namespace sluice
