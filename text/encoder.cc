#include "text/encoder.h"

#include <algorithm>

#include "text/utf8.h"

namespace sluice {
namespace {

constexpr std::size_t kLongestRun = std::size_t{1}
                                    << 29;  // lengths of symbols are 32 bits, "▁" has three bytes
constexpr std::size_t kPart = 16 << 10;     // what goes through the stages at a time

bool is_blank(std::string_view text) { return text.find_first_not_of(" \t\n\v\f\r") == text.npos; }

/// As long as the spaces were that are marked in it.
std::size_t unmarked_size(std::string_view text) {
  std::size_t size = text.size();
  for (std::size_t at = text.find(kSpaceMark); at != text.npos;
       at = text.find(kSpaceMark, at + kSpaceMark.size())) {
    size -= kSpaceMark.size() - 1;
  }
  return size;
}

}  // namespace

Status Encoder::push(std::string_view utf8, std::vector<TokenId>& ids) {
  begin(ids);
  while (!utf8.empty()) {
    const std::string_view part = utf8.substr(0, kPart);
    take_bytes(part, false);
    utf8.remove_prefix(part.size());
    if (held() > TokenStream::kLongestPiece) {
      return Status(ErrorCode::kUnsupported,
                    "the text has more than " + std::to_string(TokenStream::kLongestPiece) +
                        " bytes without a place where it could be cut for the tokenizer: is it a "
                        "text? " +
                        (is_blank(part) ? "Less white space" : "White space or new lines") +
                        " in it would help");
    }
  }
  return {};
}

Status Encoder::finish(std::vector<TokenId>& ids) {
  begin(ids);
  take_bytes({}, true);
  end(ids);
  return {};
}

void Encoder::encode(std::string_view utf8, std::vector<TokenId>& ids) {
  begin(ids);
  take_bytes(utf8, true);
  end(ids);
}

void Encoder::begin(std::vector<TokenId>& ids) {
  ids_ = &ids;
  if (begun_) return;
  begun_ = true;
  const TokenizerData& data = parts_.data;
  if (options_.add_special && data.add_bos && data.bos) ids.push_back(*data.bos);
}

void Encoder::end(std::vector<TokenId>& ids) {
  const TokenizerData& data = parts_.data;
  if (options_.add_special && data.add_eos && data.eos) ids.push_back(*data.eos);
}

std::size_t Encoder::held() const {
  return bytes_.size() + ill_formed_.size() + normalizing_.held() + normalized_.size() +
         unmarked_size(marked_.text());
}

void Encoder::take_bytes(std::string_view bytes, bool final) {
  const std::string_view text = bytes_.with(bytes);
  for (const Section& section :
       parts_.added.advance(text, options_.parse_special, final, search_)) {
    if (section.id) {
      take_section({}, true);
      ids_->push_back(*section.id);
    } else {
      take_section(section.text, false);
    }
    at_start_ = false;
  }
  if (final) take_section({}, true);
  const std::size_t dropped = search_.done - std::min(search_.done, AddedTokens::kContext);
  search_.drop(dropped);
  bytes_.keep_from(dropped);
}

/// `text` lies between added tokens.
void Encoder::take_section(std::string_view text, bool final) {
  if (!in_section_) section_prefix_ = at_start_ || !parts_.data.space_prefix_once;
  in_section_ = true;
  while (!text.empty()) {
    const Utf8Run run = utf8_run(text.substr(0, kLongestRun));
    const std::string_view part = text.substr(0, run.length);
    if (run.well_formed) {
      end_ill_formed();
      take_run(part, false);
    } else {
      end_run();
      ill_formed_.append(part);
    }
    text.remove_prefix(run.length);
  }
  if (final) {
    end_ill_formed();
    end_run();
    in_section_ = false;
  }
}

void Encoder::end_ill_formed() {
  if (ill_formed_.empty()) return;
  merge(ill_formed_);
  ill_formed_.clear();
  section_prefix_ = false;
}

void Encoder::end_run() {
  if (!in_run_) return;
  take_run({}, true);
  section_prefix_ = false;
}

void Encoder::take_run(std::string_view text, bool final) {
  if (!in_run_) {
    mark_prefix_ = section_prefix_;
    normalizing_ = Normalizing(section_prefix_);
  }
  in_run_ = true;
  const std::string normal = parts_.normalizer.advance(text, final, normalizing_, scratch_);
  if (!normal.empty()) take_normalized(normal, false);
  if (final) {
    take_normalized({}, true);
    in_run_ = false;
  }
}

void Encoder::take_normalized(std::string_view text, bool final) {
  text = normalized_.with(text);
  for (const Section& section :
       parts_.added_normalized.advance(text, options_.parse_special, final, normalized_search_)) {
    if (section.id) {
      take_marked({}, true);
      ids_->push_back(*section.id);
      mark_prefix_ = !parts_.data.space_prefix_once;
    } else {
      const bool prefix = !in_marked_ && mark_prefix_;
      take_marked(parts_.normalizer.mark(std::string(section.text), prefix), false);
    }
  }
  AddedTokenSearch& search = normalized_search_;
  const std::size_t dropped =
      final ? text.size() : search.done - std::min(search.done, AddedTokens::kContext);
  if (final) {
    take_marked({}, true);
    search = {};
  } else {
    search.drop(dropped);
  }
  normalized_.keep_from(dropped);
}

void Encoder::take_marked(std::string_view text, bool final) {
  in_marked_ = !final;
  text = marked_.with(text);
  std::size_t dropped = text.size();
  if (parts_.splitter.has_steps()) {
    for (const std::string_view piece : parts_.splitter.advance(text, final, progress_, scratch_)) {
      merge(piece);
    }
    if (!final) {
      const std::size_t taken = progress_.taken();
      dropped = character_floor(text, taken - std::min(taken, parts_.splitter.context()));
      progress_.drop(dropped);
    }
  } else {
    dropped = parts_.model.advance(text, final, pieces_, *ids_);
  }
  if (final) progress_ = {};
  marked_.keep_from(dropped);
}

}  // namespace sluice
