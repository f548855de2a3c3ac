#include "formats/tokenizer_json.h"

#include <algorithm>
#include <utility>

#include "formats/header_reader.h"
#include "formats/json.h"

namespace sluice {
namespace {

constexpr std::uint64_t kLargestFile = std::uint64_t{256} << 20;
constexpr std::uint64_t kLargestId = std::uint64_t{1} << 28;

class TokenizerJsonBuilder : public JsonBuilder {
 public:
  bool start_object(std::size_t size) override {
    if (place_ == Place::kSkipping) return ++nesting_ > 0;
    if (place_ != Place::kElsewhere) return fail("an object among the vocabulary or the merges");
    if (!at_model_member("vocab")) return JsonBuilder::start_object(size);
    place_ = Place::kVocabulary;
    return true;
  }
  bool end_object() override {
    if (place_ == Place::kSkipping) return --nesting_ >= 0;
    if (place_ != Place::kVocabulary) return JsonBuilder::end_object();
    place_ = Place::kElsewhere;
    return true;
  }
  bool start_array(std::size_t size) override {
    switch (place_) {
      case Place::kSkipping:
        return ++nesting_ > 0;
      case Place::kVocabulary:
      case Place::kMerge:
        return fail("an array in the vocabulary or in a merge");
      case Place::kMerges:
        place_ = Place::kMerge;
        parts_ = 0;
        return true;
      case Place::kElsewhere:
        break;
    }
    if (at_model_member("merges")) {
      place_ = Place::kMerges;
      return true;
    }
    if (at_model_member("vocab")) {  // a Unigram model's, which is of no use to a BPE
      place_ = Place::kSkipping;
      nesting_ = 1;
      return true;
    }
    return JsonBuilder::start_array(size);
  }
  bool end_array() override {
    switch (place_) {
      case Place::kSkipping:
        if (--nesting_ == 0) place_ = Place::kElsewhere;
        return true;
      case Place::kMerge:
        if (parts_ != 2) return fail("a merge is not a pair");
        file_.merges.push_back(merge_);
        place_ = Place::kMerges;
        return true;
      case Place::kMerges:
        place_ = Place::kElsewhere;
        return true;
      case Place::kVocabulary:
      case Place::kElsewhere:
        break;
    }
    return JsonBuilder::end_array();
  }
  bool key(string_t& value) override {
    if (place_ == Place::kSkipping) return true;
    if (place_ != Place::kVocabulary) return JsonBuilder::key(value);
    file_.text_bytes += value.size();
    file_.texts.push_back(value);
    return true;
  }
  bool string(string_t& value) override {
    switch (place_) {
      case Place::kSkipping:
        return true;
      case Place::kVocabulary:
        return fail("an id in the vocabulary is not a number");
      case Place::kMerges:
        return add_merge(value);
      case Place::kMerge:
        return add_merge_part(value);
      case Place::kElsewhere:
        break;
    }
    return JsonBuilder::string(value);
  }
  bool number_unsigned(number_unsigned_t value) override {
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
    return other_value([&] { return JsonBuilder::number_integer(value); });
  }
  bool number_float(number_float_t value, const string_t& text) override {
    return other_value([&] { return JsonBuilder::number_float(value, text); });
  }

  TokenizerJson take_file() {
    file_.document = take();
    return std::move(file_);
  }

 private:
  enum class Place { kElsewhere, kVocabulary, kMerges, kMerge, kSkipping };

  bool at_model_member(std::string_view name) const {
    return depth() == 2 && key_at(1) == "model" && coming_key() == name;
  }
  /// A value that neither the vocabulary nor the merges have: `keep` puts it into the document.
  template <typename Keep>
  bool other_value(Keep keep) {
    if (place_ == Place::kSkipping) return true;
    if (place_ == Place::kElsewhere) return keep();
    return fail("a value of the wrong kind among the vocabulary or the merges");
  }
  bool add_merge(const std::string& merge) {
    const auto spaces = std::ranges::count(merge, ' ');
    if (spaces == 0) return fail("a merge is not two parts with a space between");
    if (spaces > 1) file_.merges_ambiguous = true;
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
  Place place_ = Place::kElsewhere;
  int nesting_ = 0;  // containers open while skipping
  int parts_ = 0;
  std::string merge_;
};

}  // namespace

Result<TokenizerJson> read_tokenizer_json(const std::string& path) {
  std::size_t size = 0;
  SLUICE_ASSIGN(const AlignedBuffer bytes, read_whole_file(path, kLargestFile, &size));
  TokenizerJsonBuilder builder;
  SLUICE_TRY(builder.parse({reinterpret_cast<const char*>(bytes.data()), size}, path, 0));
  TokenizerJson file = builder.take_file();
  if (!file.document.is_object()) return Status(ErrorCode::kCorrupt, path + ": not a JSON object");
  return file;
}

}  // namespace sluice
