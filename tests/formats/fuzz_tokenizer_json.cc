// libFuzzer: any bytes as tokenizer.json, or after a NUL as tiktoken.model.

#include <cstddef>
#include <cstdint>
#include <string_view>

#include "formats/checkpoint.h"
#include "tests/formats/temporary_folder.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* bytes, std::size_t size) {
  static const sluice::test::TemporaryFolder json_folder, table_folder;
  static const std::string config = table_folder.write(
      "tokenizer_config.json",
      R"({"tokenizer_class":"TikTokenTokenizer","added_tokens_decoder":{"300":{"content":"x"}}})");
  const std::string_view file(reinterpret_cast<const char*>(bytes), size);
  const bool table = file.starts_with('\0');
  const sluice::test::TemporaryFolder& folder = table ? table_folder : json_folder;
  folder.write(table ? "tiktoken.model" : "tokenizer.json", table ? file.substr(1) : file);
  const auto checkpoint =
      sluice::open_checkpoint(folder.path(), sluice::CheckpointParts::kTokenizerOnly);
  if (checkpoint.ok()) {
    const auto& data = checkpoint->tokenizer;
    if (data.kinds.size() > data.tokens.size()) __builtin_trap();
  }
  return 0;
}
