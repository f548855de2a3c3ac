#include "formats/store_tokenizer.h"

#include <cstdint>
#include <limits>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "formats/store_words.h"
#include "formats/vocabulary_bounds.h"

namespace sluice {
namespace {

using nlohmann::json;

template <typename T>
json packed(const std::vector<T>& values) {
  const auto bytes = std::as_bytes(std::span(values));
  const auto* const first = reinterpret_cast<const std::uint8_t*>(bytes.data());
  return json::binary(std::vector<std::uint8_t>(first, first + bytes.size()));
}

json as_bytes(std::string_view text) {
  return json::binary(std::vector<std::uint8_t>(text.begin(), text.end()));
}

std::string bytes_as_text(const IndexField& field) {
  const std::span<const std::uint8_t> bytes = field.bytes();
  return std::string(bytes.begin(), bytes.end());
}

json encode_table(const StringTable& table) {
  std::string texts;
  std::vector<std::uint32_t> lengths;
  lengths.reserve(table.size());
  for (std::size_t i = 0; i < table.size(); ++i) {
    texts.append(table[i]);
    lengths.push_back(static_cast<std::uint32_t>(table[i].size()));
  }
  return {{"lengths", packed(lengths)}, {"texts", as_bytes(texts)}};
}

StringTable decode_table(const IndexField& field) {
  StringTable table;
  const auto lengths = field["lengths"].packed<std::uint32_t>();
  const std::span<const std::uint8_t> texts = field["texts"].bytes();
  VocabularyBounds bounds;
  std::uint64_t sum = 0;
  for (const std::uint32_t length : lengths) {
    if (const std::string refusal = bounds.refuse(length); !refusal.empty()) field.fail(refusal);
    sum += length;
  }
  if (sum != texts.size()) field.fail("the texts are not as long as 'lengths' says");
  if (field.failed()) return table;
  table.reserve(lengths.size(), texts.size());
  const auto* at = reinterpret_cast<const char*>(texts.data());
  for (const std::uint32_t length : lengths) {
    table.push_back({at, length});
    at += length;
  }
  return table;
}

json encode_added(const AddedToken& token) {
  return {{"id", token.id},
          {"text", as_bytes(token.text)},
          {"special", token.special},
          {"lstrip", token.lstrip},
          {"rstrip", token.rstrip},
          {"single_word", token.single_word},
          {"normalized", token.normalized}};
}

json encode_split(const SplitStep& step) {
  return {{"pattern", step.pattern},
          {"literal", step.literal},
          {"invert", step.invert},
          {"behaviour", store_words::kBehaviours[static_cast<std::size_t>(step.behaviour)]}};
}

json encode_normalize(const NormalizeStep& step) {
  return {{"kind", store_words::kNormalizations[static_cast<std::size_t>(step.kind)]},
          {"pattern", step.pattern},
          {"literal", step.literal},
          {"content", as_bytes(step.content)},
          {"left", step.left},
          {"right", step.right},
          {"only_spaces", step.only_spaces},
          {"by_cluster", step.by_cluster}};
}

SplitStep decode_split(const IndexField& field) {
  SplitStep step;
  step.pattern = field["pattern"].text();
  step.literal = field["literal"].flag();
  step.invert = field["invert"].flag();
  step.behaviour =
      static_cast<SplitStep::Behaviour>(field["behaviour"].word(store_words::kBehaviours));
  return step;
}

NormalizeStep decode_normalize(const IndexField& field) {
  NormalizeStep step;
  step.kind = static_cast<NormalizeStep::Kind>(field["kind"].word(store_words::kNormalizations));
  step.pattern = field["pattern"].text();
  step.literal = field["literal"].flag();
  step.content = bytes_as_text(field["content"]);
  step.left = field["left"].flag();
  step.right = field["right"].flag();
  step.only_spaces = field["only_spaces"].flag();
  step.by_cluster = field["by_cluster"].flag();
  return step;
}

/// Flags and ids by name: `visit` is given each with the data's member.
template <typename Data, typename Visit>
void for_each_flag(Data& data, Visit visit) {
  visit("add_space_prefix", data.add_space_prefix);
  visit("space_prefix_once", data.space_prefix_once);
  visit("space_prefix_unless_there", data.space_prefix_unless_there);
  visit("ignore_merges", data.ignore_merges);
  visit("byte_fallback", data.byte_fallback);
  visit("clean_spaces", data.clean_spaces);
  visit("add_bos", data.add_bos);
  visit("add_eos", data.add_eos);
}
template <typename Data, typename Visit>
void for_each_id(Data& data, Visit visit) {
  visit("bos", data.bos);
  visit("eos", data.eos);
  visit("unknown", data.unknown);
  visit("padding", data.padding);
}

class TokenizerDecoder {
 public:
  explicit TokenizerDecoder(const IndexField& field) : field_(field) {}

  TokenizerData decode() {
    data_.model = static_cast<TokenizerModel>(field_["model"].word(store_words::kTokenizers));
    data_.unusable = field_["unusable"].text();
    for (const IndexField& warning : field_["warnings"].elements()) {
      data_.warnings.push_back(warning.text());
    }
    data_.tokens = decode_table(field_["tokens"]);
    data_.merges = decode_table(field_["merges"]);
    read_numbers();
    for (const IndexField& token : field_["added"].elements()) {
      data_.added.push_back(decode_added(token));
    }
    data_.pre_tokenizer = field_["pre_tokenizer"].text();
    for (const IndexField& step : field_["splits"].elements()) {
      data_.splits.push_back(decode_split(step));
    }
    for (const IndexField& step : field_["normalize"].elements()) {
      data_.normalize.push_back(decode_normalize(step));
    }
    for_each_flag(data_, [&](const char* name, bool& flag) { flag = field_[name].flag(); });
    for_each_id(data_, [&](const char* name, std::optional<TokenId>& id) {
      if (const auto there = field_.find(name)) id = id_of(*there);
    });
    for (const IndexField& id : field_["end_of_generation"].elements()) {
      data_.end_of_generation.push_back(id_of(id));
    }
    data_.chat_template = field_["chat_template"].text();
    return std::move(data_);
  }

 private:
  void read_numbers() {
    data_.kinds = field_["kinds"].packed<TokenKind>();
    data_.scores = field_["scores"].packed<float>();
    data_.log_probabilities = field_["log_probabilities"].packed<double>();
    for (const TokenKind kind : data_.kinds) {
      if (kind < TokenKind::kNormal || kind > TokenKind::kByte) {
        field_["kinds"].fail("holds " + std::to_string(static_cast<int>(kind)));
      }
    }
    const std::size_t tokens = data_.tokens.size();
    if (!data_.kinds.empty() && data_.kinds.size() != tokens) misfit("kinds");
    if (!data_.scores.empty() && data_.scores.size() != tokens) misfit("scores");
    if (data_.log_probabilities.size() > tokens) misfit("log_probabilities");
  }

  void misfit(const char* name) const {
    field_[name].fail("is not for " + std::to_string(data_.tokens.size()) + " tokens");
  }

  /// Where there is no vocabulary, any.
  TokenId id_of(const IndexField& field) const {
    const std::size_t tokens = data_.tokens.size();
    const std::uint64_t most = tokens == 0 ? std::numeric_limits<TokenId>::max() : tokens - 1;
    return static_cast<TokenId>(field.number(most));
  }

  AddedToken decode_added(const IndexField& field) const {
    AddedToken token;
    token.id = id_of(field["id"]);
    token.text = bytes_as_text(field["text"]);
    token.special = field["special"].flag();
    token.lstrip = field["lstrip"].flag();
    token.rstrip = field["rstrip"].flag();
    token.single_word = field["single_word"].flag();
    token.normalized = field["normalized"].flag();
    return token;
  }

  const IndexField& field_;
  TokenizerData data_;
};

}  // namespace

json encode_tokenizer(const TokenizerData& data) {
  json tokenizer = {
      {"model", store_words::kTokenizers[static_cast<std::size_t>(data.model)]},
      {"unusable", data.unusable},
      {"warnings", data.warnings},
      {"tokens", encode_table(data.tokens)},
      {"kinds", packed(data.kinds)},
      {"scores", packed(data.scores)},
      {"log_probabilities", packed(data.log_probabilities)},
      {"merges", encode_table(data.merges)},
      {"pre_tokenizer", data.pre_tokenizer},
      {"end_of_generation", data.end_of_generation},
      {"chat_template", data.chat_template},
  };
  for (const char* list : {"added", "splits", "normalize"}) tokenizer[list] = json::array();
  for (const AddedToken& token : data.added) tokenizer["added"].push_back(encode_added(token));
  for (const SplitStep& step : data.splits) tokenizer["splits"].push_back(encode_split(step));
  for (const NormalizeStep& step : data.normalize) {
    tokenizer["normalize"].push_back(encode_normalize(step));
  }
  for_each_flag(data, [&](const char* name, bool flag) { tokenizer[name] = flag; });
  for_each_id(data, [&](const char* name, const std::optional<TokenId>& id) {
    if (id) tokenizer[name] = *id;
  });
  return tokenizer;
}

TokenizerData decode_tokenizer(const IndexField& field) { return TokenizerDecoder(field).decode(); }

}  // namespace sluice
