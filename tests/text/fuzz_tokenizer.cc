// Feeds arbitrary bytes to the tokenizers: ids must be in the vocabulary, and a byte-level text
// must come back.

#include <cstdint>
#include <cstdlib>

#include "text/byte_alphabet.h"
#include "text/pre_tokenizers.h"
#include "text/tokenizer.h"

namespace sluice {
namespace {

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
  TokenizerData data;
  data.model = TokenizerModel::kSentencePieceBpe;
  data.add_space_prefix = true;
  data.unknown = 0;
  for (const char* token : {"<unk>", "▁", "a", "b", "ab", "▁a", "▁▁"}) {
    data.tokens.push_back(token);
    data.scores.push_back(-static_cast<float>(data.tokens.size()));
  }
  if (auto tokenizer = Tokenizer::create(std::move(data)); tokenizer.ok()) {
    tokenizers.push_back(std::move(tokenizer).value());
  }
  return tokenizers;
}

}  // namespace
}  // namespace sluice

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* bytes, std::size_t size) {
  static const auto tokenizers = sluice::make_tokenizers();
  if (size == 0) return 0;
  const sluice::Tokenizer& tokenizer = *tokenizers[bytes[0] % tokenizers.size()];
  const std::string_view text(reinterpret_cast<const char*>(bytes) + 1, size - 1);
  const auto ids = tokenizer.encode(text, {.add_special = true, .parse_special = false});
  sluice::Detokenizer detokenizer(tokenizer);
  for (const sluice::TokenId id : ids) {
    if (id < 0 || static_cast<std::size_t>(id) >= tokenizer.size()) std::abort();
    detokenizer.push(id);
  }
  detokenizer.finish();
  const auto& data = tokenizer.data();
  const bool lossless =
      data.model == sluice::TokenizerModel::kByteLevelBpe && data.normalize.empty();
  if (lossless && tokenizer.decode(ids, true) != text) std::abort();
  tokenizer.encode(text);
  return 0;
}
