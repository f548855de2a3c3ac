#include "formats/gguf_tokenizer.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <limits>
#include <string>
#include <utility>

#include "formats/end_of_generation.h"

namespace sluice {
namespace {

Status corrupt(std::string message) { return Status(ErrorCode::kCorrupt, std::move(message)); }

/// Pre-tokenizers whose models begin every text with BOS and take a whole piece that is a token as
/// it stands, where the file is silent (the files were written before there were keys for it).
constexpr auto kLlama3Like =
    std::to_array<std::string_view>({"llama3", "llama-v3", "llama-bpe", "falcon3", "falcon-h1",
                                     "pixtral", "midm-2.0", "lfm2", "tekken"});

bool llama3_like(std::string_view pre_tokenizer) {
  return std::ranges::find(kLlama3Like, pre_tokenizer) != kLlama3Like.end();
}

/// A token's id; nullopt where the key is absent or says "none" (all bits set).
Result<std::optional<TokenId>> take_id(GgufMetadata& metadata, std::string_view name,
                                       std::size_t vocabulary) {
  const std::string key = "tokenizer.ggml." + std::string(name) + "_token_id";
  SLUICE_ASSIGN(const auto value, metadata.take<std::int64_t>(key));
  if (!value || *value == -1 || *value == 0xffffffff) return std::optional<TokenId>();
  const std::int64_t limit =
      vocabulary > 0 ? static_cast<std::int64_t>(vocabulary) : std::numeric_limits<TokenId>::max();
  if (*value < 0 || *value >= limit) {
    return corrupt(key + " is " + std::to_string(*value) + ", outside the vocabulary of " +
                   std::to_string(vocabulary));
  }
  return std::optional(static_cast<TokenId>(*value));
}

Status take_vocabulary(GgufMetadata& metadata, TokenizerData& data) {
  data.tokens = std::move(metadata.tokens);
  data.merges = std::move(metadata.merges);
  data.scores = std::move(metadata.scores);
  const std::size_t size = data.tokens.size();
  if (size > static_cast<std::size_t>(std::numeric_limits<TokenId>::max())) {
    return corrupt("tokenizer.ggml.tokens: too many tokens");
  }
  if (!data.scores.empty() && data.scores.size() != size) {
    return corrupt("tokenizer.ggml.scores has " + std::to_string(data.scores.size()) +
                   " values for " + std::to_string(size) + " tokens");
  }
  for (std::size_t id = 0; id < data.scores.size(); ++id) {
    if (!std::isfinite(data.scores[id])) {
      return corrupt("tokenizer.ggml.scores of token " + std::to_string(id) + " is not finite");
    }
  }
  const std::vector<std::int64_t> types = std::move(metadata.token_types);
  if (!types.empty() && types.size() != size) {
    return corrupt("tokenizer.ggml.token_type has " + std::to_string(types.size()) +
                   " values for " + std::to_string(size) + " tokens");
  }
  data.kinds.reserve(types.size());
  for (const std::int64_t type : types) {
    if (type < 0 || type > 6) {
      return corrupt("tokenizer.ggml.token_type of token " + std::to_string(data.kinds.size()) +
                     " is " + std::to_string(type));
    }
    data.kinds.push_back(type == 0 ? TokenKind::kNormal : static_cast<TokenKind>(type));
  }
  return {};
}

/// GGUF says by its kind whether a token is matched in the text before anything else.
void list_added_tokens(TokenizerData& data) {
  for (std::size_t id = 0; id < data.kinds.size(); ++id) {
    const TokenKind kind = data.kinds[id];
    const bool special = kind == TokenKind::kControl || kind == TokenKind::kUnknown;
    if (!special && kind != TokenKind::kUserDefined) continue;
    if (data.tokens[id].empty()) continue;
    AddedToken token;
    token.id = static_cast<TokenId>(id);
    token.text = data.tokens[id];
    token.special = special;
    data.added.push_back(std::move(token));
  }
}

/// What SentencePiece does to text before a Unigram model sees it.
void list_unigram_steps(std::string character_map, bool remove_extra, TokenizerData& data) {
  using Kind = NormalizeStep::Kind;
  if (!character_map.empty()) {
    data.normalize.push_back({.kind = Kind::kCharacterMap, .content = std::move(character_map)});
  }
  if (!remove_extra) return;
  data.normalize.push_back({.kind = Kind::kReplace, .pattern = " {2,}", .content = " "});
  data.normalize.push_back(
      {.kind = Kind::kStrip, .left = true, .right = true, .only_spaces = true});
}

Status take_special_ids(GgufMetadata& metadata, TokenizerData& data) {
  const std::size_t size = data.tokens.size();
  SLUICE_ASSIGN(data.bos, take_id(metadata, "bos", size));
  SLUICE_ASSIGN(data.eos, take_id(metadata, "eos", size));
  SLUICE_ASSIGN(data.unknown, take_id(metadata, "unknown", size));
  SLUICE_ASSIGN(data.padding, take_id(metadata, "padding", size));
  for (const std::string_view name : {"eot", "eom"}) {
    SLUICE_ASSIGN(const auto id, take_id(metadata, name, size));
    if (id) data.end_of_generation.push_back(*id);
  }
  return {};
}

Status check_merges(const TokenizerData& data) {
  return data.merges.size() > 0 ? Status() : corrupt("tokenizer.ggml.merges is missing or empty");
}

}  // namespace

Result<TokenizerData> take_gguf_tokenizer(GgufMetadata& metadata) {
  TokenizerData data;
  SLUICE_ASSIGN(const auto model, metadata.take<std::string>("tokenizer.ggml.model"));
  SLUICE_ASSIGN(const auto pre, metadata.take<std::string>("tokenizer.ggml.pre"));
  SLUICE_ASSIGN(auto chat_template, metadata.take<std::string>("tokenizer.chat_template"));
  SLUICE_ASSIGN(const auto add_bos, metadata.take<bool>("tokenizer.ggml.add_bos_token"));
  SLUICE_ASSIGN(const auto add_eos, metadata.take<bool>("tokenizer.ggml.add_eos_token"));
  SLUICE_ASSIGN(const auto prefix, metadata.take<bool>("tokenizer.ggml.add_space_prefix"));
  SLUICE_ASSIGN(const auto remove_extra,
                metadata.take<bool>("tokenizer.ggml.remove_extra_whitespaces"));
  SLUICE_TRY(take_vocabulary(metadata, data));
  SLUICE_TRY(take_special_ids(metadata, data));
  std::erase_if(metadata.values,
                [](const auto& pair) { return pair.first.starts_with("tokenizer."); });

  if (chat_template) data.chat_template = std::move(*chat_template);
  data.pre_tokenizer = pre.value_or("default");
  const std::string name = model.value_or("none");
  // Where the file is silent: what the model's own tokenizer does, for the files from before there
  // were keys for it.
  const auto assume = [&](std::optional<TokenId>& id, TokenId usual) {
    if (!id && data.tokens.size() > 2) id = usual;
  };
  bool begins = false, ends = false, prefixes = false;
  if (name == "llama") {
    data.model = TokenizerModel::kSentencePieceBpe;
    data.byte_fallback = true;
    begins = prefixes = true;
    assume(data.bos, 1);
    assume(data.eos, 2);
    assume(data.unknown, 0);
    if (data.scores.empty() && data.merges.size() == 0) {
      return corrupt("tokenizer.ggml.scores is missing or empty");
    }
  } else if (name == "gemma4") {  // merges over characters, spaces as "▁"
    data.model = TokenizerModel::kSentencePieceBpe;
    data.byte_fallback = true;
    begins = true;
    data.scores.clear();
    SLUICE_TRY(check_merges(data));
  } else if (name == "gpt2") {
    data.model = TokenizerModel::kByteLevelBpe;
    data.ignore_merges = begins = llama3_like(data.pre_tokenizer);
    SLUICE_TRY(check_merges(data));
  } else if (name == "t5") {
    data.model = TokenizerModel::kUnigram;
    data.byte_fallback = std::ranges::find(data.kinds, TokenKind::kByte) != data.kinds.end();
    ends = prefixes = true;
    assume(data.eos, 1);
    assume(data.unknown, 2);
    assume(data.padding, 0);
    if (data.scores.empty()) return corrupt("tokenizer.ggml.scores is missing or empty");
    data.log_probabilities.assign(data.scores.begin(), data.scores.end());
    data.scores.clear();
    list_unigram_steps(std::move(metadata.character_map), remove_extra.value_or(false), data);
  } else if (name != "none" && name != "no_vocab") {
    data.unusable = "tokenizer.ggml.model '" + name + "' is not supported";
  }
  if (data.model != TokenizerModel::kNone && data.tokens.size() == 0) {
    return corrupt("tokenizer.ggml.tokens is missing or empty");
  }
  data.add_bos = add_bos.value_or(begins);
  data.add_eos = add_eos.value_or(ends);
  data.add_space_prefix = prefix.value_or(prefixes);
  list_added_tokens(data);
  complete_end_of_generation(data);
  return data;
}

}  // namespace sluice
