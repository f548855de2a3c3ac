#include "formats/tokenizer_json.h"

#include <algorithm>
#include <charconv>
#include <cstdint>
#include <cstdlib>
#include <limits>
#include <utility>

#include "formats/header_reader.h"
#include "formats/json.h"
#include "formats/vocabulary_bounds.h"

namespace sluice {
namespace {

constexpr std::uint64_t kLargestFile = std::uint64_t{256} << 20;
constexpr std::uint64_t kLongestMap = std::uint64_t{24} << 20;  // of characters, in base64
constexpr std::uint64_t kLargestId = std::uint64_t{1} << 28;

/// A number as the tokenizers package reads it: its digits as one integer, times or over a power of
/// ten, with two roundings where the nearest number has one. Ways to cut a text that are as likely
/// but for the last bit are told apart by just that.
double score_of(std::string_view text) {
  constexpr std::uint64_t kMost = std::numeric_limits<std::uint64_t>::max();
  const bool negative = text.starts_with('-');
  std::uint64_t digits = 0;
  int exponent = 0;
  bool fraction = false, full = false;
  std::size_t at = negative ? 1 : 0;
  for (; at < text.size() && text[at] != 'e' && text[at] != 'E'; ++at) {
    if (text[at] == '.') {
      fraction = true;
      continue;
    }
    const auto digit = static_cast<std::uint64_t>(text[at] - '0');
    full |= digits > (kMost - digit) / 10;
    if (!full) digits = digits * 10 + digit;
    exponent += (full ? 1 : 0) - (fraction ? 1 : 0);
  }
  if (at < text.size()) {
    const std::string_view power = text.substr(at + (text[at + 1] == '+' ? 2 : 1));
    int value = 0;
    std::from_chars(power.data(), power.data() + power.size(), value);
    exponent += std::clamp(value, -100'000, 100'000);
  }
  auto score = static_cast<double>(digits);
  for (; exponent < -308; exponent += 308) score /= 1e308;
  const std::string power = "1e" + std::to_string(std::min(std::abs(exponent), 308));
  const double scale = std::strtod(power.c_str(), nullptr);
  score = exponent < 0 ? score / scale : score * scale;
  return negative ? -score : score;
}

class TokenizerJsonBuilder : public JsonBuilder {
 public:
  bool start_object(std::size_t size) override {
    if (place_ != Place::kElsewhere) return fail("an object among the vocabulary or the merges");
    if (!at_model_member("vocab")) return JsonBuilder::start_object(size);
    place_ = Place::kVocabulary;
    return true;
  }
  bool end_object() override {
    if (place_ != Place::kVocabulary) return JsonBuilder::end_object();
    place_ = Place::kElsewhere;
    return true;
  }
  bool start_array(std::size_t size) override {
    switch (place_) {
      case Place::kVocabulary:
      case Place::kMerge:
      case Place::kScored:
        return fail("an array in the vocabulary or in a merge");
      case Place::kMerges:
        place_ = Place::kMerge;
        parts_ = 0;
        return true;
      case Place::kScoredVocabulary:
        place_ = Place::kScored;
        parts_ = 0;
        return true;
      case Place::kElsewhere:
        break;
    }
    if (at_model_member("merges")) {
      place_ = Place::kMerges;
      return true;
    }
    if (at_model_member("vocab")) {
      place_ = Place::kScoredVocabulary;
      return true;
    }
    return JsonBuilder::start_array(size);
  }
  bool end_array() override {
    switch (place_) {
      case Place::kMerge:
        if (parts_ != 2) return fail("a merge is not a pair");
        place_ = Place::kMerges;
        return keep_merge(merge_);
      case Place::kScored:
        if (parts_ != 2) return fail("an entry of the vocabulary is not a text and its score");
        place_ = Place::kScoredVocabulary;
        return true;
      case Place::kMerges:
      case Place::kScoredVocabulary:
        place_ = Place::kElsewhere;
        return true;
      case Place::kVocabulary:
      case Place::kElsewhere:
        break;
    }
    return JsonBuilder::end_array();
  }
  bool key(string_t& value) override {
    if (place_ != Place::kVocabulary) return JsonBuilder::key(value);
    return add_text(value);
  }
  bool string(string_t& value) override {
    switch (place_) {
      case Place::kVocabulary:
      case Place::kScoredVocabulary:
        return fail("an id in the vocabulary is not a number");
      case Place::kMerges:
        return add_merge(value);
      case Place::kMerge:
        return add_merge_part(value);
      case Place::kScored:
        if (parts_++ != 0) return fail("an entry of the vocabulary is not a text and its score");
        file_.ids.push_back(static_cast<std::uint32_t>(file_.texts.size()));
        return add_text(value);
      case Place::kElsewhere:
        break;
    }
    return JsonBuilder::string(value);
  }
  bool number_unsigned(number_unsigned_t value) override {
    if (place_ == Place::kScored) return add_score(static_cast<double>(value));
    if (place_ != Place::kVocabulary) {
      return other_value([&] { return JsonBuilder::number_unsigned(value); });
    }
    if (value > kLargestId) return fail("an id in the vocabulary is out of range");
    file_.ids.push_back(static_cast<std::uint32_t>(value));
    return true;
  }
  bool null() override {
    return other_value([&] { return JsonBuilder::null(); });
  }
  bool boolean(bool value) override {
    return other_value([&] { return JsonBuilder::boolean(value); });
  }
  bool number_integer(number_integer_t value) override {
    if (place_ == Place::kScored) return add_score(static_cast<double>(value));
    return other_value([&] { return JsonBuilder::number_integer(value); });
  }
  bool number_float(number_float_t value, const string_t& text) override {
    if (place_ == Place::kScored) return add_score(score_of(text));
    return other_value([&] { return JsonBuilder::number_float(value, text); });
  }

  TokenizerJson take_file() {
    file_.document = take();
    return std::move(file_);
  }

 private:
  enum class Place { kElsewhere, kVocabulary, kMerges, kMerge, kScoredVocabulary, kScored };

  bool at_model_member(std::string_view name) const {
    return depth() == 2 && key_at(1) == "model" && coming_key() == name;
  }
  /// A value that neither the vocabulary nor the merges have: `keep` puts it into the document.
  template <typename Keep>
  bool other_value(Keep keep) {
    if (place_ == Place::kElsewhere) return keep();
    return fail("a value of the wrong kind among the vocabulary or the merges");
  }
  bool add_text(const std::string& text) {
    if (std::string wrong = texts_.refuse(text.size()); !wrong.empty()) {
      return fail("the vocabulary has " + wrong);
    }
    file_.text_bytes += text.size();
    file_.texts.push_back(text);
    return true;
  }
  bool add_score(double score) {
    if (parts_++ != 1) return fail("an entry of the vocabulary is not a text and its score");
    file_.scores.push_back(score);
    return true;
  }
  bool add_merge(const std::string& merge) {
    const auto spaces = std::ranges::count(merge, ' ');
    if (spaces == 0) return fail("a merge is not two parts with a space between");
    if (spaces > 1) file_.merges_ambiguous = true;
    return keep_merge(merge);
  }
  bool keep_merge(const std::string& merge) {
    if (std::string wrong = merges_.refuse(merge.size()); !wrong.empty()) {
      return fail("the merges have " + wrong);
    }
    file_.merges.push_back(merge);
    return true;
  }
  bool add_merge_part(const std::string& part) {
    if (part.find(' ') != std::string::npos) file_.merges_ambiguous = true;
    if (parts_ == 0) merge_ = part + ' ';
    if (parts_ == 1) merge_ += part;
    ++parts_;
    return true;
  }

  TokenizerJson file_;
  VocabularyBounds texts_;
  VocabularyBounds merges_;
  Place place_ = Place::kElsewhere;
  int parts_ = 0;  // of a merge or a scored text, so far
  std::string merge_;
};

}  // namespace

Result<TokenizerJson> read_tokenizer_json(const std::string& path) {
  SLUICE_ASSIGN(HeaderReader reader, open_whole_file(path, kLargestFile));
  TokenizerJsonBuilder builder;
  SLUICE_TRY(builder.parse(reader, reader.file_size(), kLongestMap));
  TokenizerJson file = builder.take_file();
  if (!file.document.is_object()) return Status(ErrorCode::kCorrupt, path + ": not a JSON object");
  return file;
}

}  // namespace sluice
