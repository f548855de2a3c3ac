// Feeds arbitrary bytes to the tokenizers, and to character maps: ids must be in the vocabulary,
// those of a text in parts those of the whole, and a byte-level text must come back.

#include <cstdint>
#include <cstdlib>

#include "text/byte_alphabet.h"
#include "text/pre_tokenizers.h"
#include "text/tokenizer.h"

namespace sluice {
namespace {

TokenizerData unigram() {
  TokenizerData data;
  data.model = TokenizerModel::kUnigram;
  data.add_space_prefix = true;
  data.unknown = 0;
  for (const char* token : {"<unk>", "▁", "a", "b", "ab", "▁a", "▁▁", "aab", "中文", "文"}) {
    data.tokens.push_back(token);
    data.log_probabilities.push_back(-0.3 * static_cast<double>(data.tokens.size()));
  }
  data.kinds.assign(data.tokens.size(), TokenKind::kNormal);
  data.kinds[0] = TokenKind::kUnknown;
  return data;
}

std::vector<TokenizerData> other_models() {
  using Kind = NormalizeStep::Kind;
  std::vector<TokenizerData> models;
  models.push_back(unigram());
  TokenizerData scored = unigram();
  scored.model = TokenizerModel::kSentencePieceBpe;
  for (const double score : scored.log_probabilities) {
    scored.scores.push_back(static_cast<float>(score));
  }
  models.push_back(scored);
  TokenizerData steps = unigram();
  steps.normalize = {{.kind = Kind::kStrip, .left = true, .right = true},
                     {.kind = Kind::kReplace, .pattern = "aba", .literal = true, .content = "b"},
                     {.kind = Kind::kNfkd},
                     {.kind = Kind::kReplace, .pattern = "(?<=a)b|\\s{2,}(?!a)", .content = "中"},
                     {.kind = Kind::kNfkc}};
  models.push_back(steps);
  TokenizerData ranked;
  ranked.model = TokenizerModel::kRankedBytes;
  ranked.pre_tokenizer = "kimi-k2";
  for (unsigned byte = 0; byte < 256; ++byte) {
    ranked.tokens.push_back(std::string(1, static_cast<char>(byte)));
  }
  for (const char* token : {"he", " he", "  ", "\n\n", "ell"}) ranked.tokens.push_back(token);
  models.push_back(ranked);
  return models;
}

std::vector<std::unique_ptr<Tokenizer>> make_tokenizers() {
  std::vector<std::unique_ptr<Tokenizer>> tokenizers;
  for (const std::string_view name : pre_tokenizer_names()) {
    TokenizerData data;
    data.model = TokenizerModel::kByteLevelBpe;
    data.pre_tokenizer = name;
    for (unsigned byte = 0; byte < 256; ++byte) {
      data.tokens.push_back(letter_of_byte(static_cast<unsigned char>(byte)));
    }
    for (const char* token : {"he", "Ġhe", "ĠĠ", "ĊĊ", "<|x|>", "<|"}) data.tokens.push_back(token);
    for (const char* merge : {"h e", "Ġ he", "Ġ Ġ", "Ċ Ċ"}) data.merges.push_back(merge);
    data.added = {{.id = 260, .text = "<|x|>", .special = true, .lstrip = true, .rstrip = true},
                  {.id = 261, .text = "<|", .single_word = true}};
    if (auto tokenizer = Tokenizer::create(std::move(data)); tokenizer.ok()) {
      tokenizers.push_back(std::move(tokenizer).value());
    }
  }
  for (TokenizerData& data : other_models()) {
    if (auto tokenizer = Tokenizer::create(std::move(data)); tokenizer.ok()) {
      tokenizers.push_back(std::move(tokenizer).value());
    }
  }
  return tokenizers;
}

/// A Unigram model whose character map is the first of the bytes.
std::unique_ptr<Tokenizer> with_character_map(std::string_view map, bool by_cluster) {
  TokenizerData data = unigram();
  data.normalize.push_back({.kind = NormalizeStep::Kind::kCharacterMap,
                            .content = std::string(map),
                            .by_cluster = by_cluster});
  auto tokenizer = Tokenizer::create(std::move(data));
  return tokenizer.ok() ? std::move(tokenizer).value() : nullptr;
}

/// Ids are in the vocabulary, and those of a text in parts are those of the whole.
void check(const Tokenizer& tokenizer, std::string_view text, std::size_t part) {
  const auto ids = tokenizer.encode(text, {.add_special = true, .parse_special = false});
  Detokenizer detokenizer(tokenizer);
  for (const TokenId id : ids) {
    if (id < 0 || static_cast<std::size_t>(id) >= tokenizer.size()) std::abort();
    detokenizer.push(id);
  }
  detokenizer.finish();
  const auto& data = tokenizer.data();
  const bool bytes =
      data.model == TokenizerModel::kByteLevelBpe || data.model == TokenizerModel::kRankedBytes;
  if (bytes && data.normalize.empty() && tokenizer.decode(ids, true) != text) std::abort();
  std::vector<TokenId> in_parts;
  const auto stream = tokenizer.stream({.add_special = true, .parse_special = false});
  for (std::size_t at = 0; at < text.size(); at += part) {
    if (!stream->push(text.substr(at, part), in_parts).ok()) return;
  }
  if (stream->finish(in_parts).ok() && in_parts != ids) std::abort();
  tokenizer.encode(text);
}

}  // namespace
}  // namespace sluice

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* bytes, std::size_t size) {
  static const auto tokenizers = sluice::make_tokenizers();
  if (size < 2) return 0;
  const std::string_view text(reinterpret_cast<const char*>(bytes) + 2, size - 2);
  const std::size_t part = 1 + bytes[1] % 16;
  const std::size_t choice = bytes[0] % (tokenizers.size() + 2);
  if (choice < tokenizers.size()) {
    sluice::check(*tokenizers[choice], text, part);
    return 0;
  }
  const std::string_view map = text.substr(0, text.size() / 2);
  const bool by_cluster = choice == tokenizers.size();
  if (const auto tokenizer = sluice::with_character_map(map, by_cluster)) {
    sluice::check(*tokenizer, text.substr(map.size()), part);
  }
  return 0;
}
