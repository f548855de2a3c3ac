// libFuzzer: any bytes as tokenizer.json.

#include <cstddef>
#include <cstdint>
#include <string_view>

#include "formats/checkpoint.h"
#include "tests/formats/temporary_folder.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* bytes, std::size_t size) {
  static const sluice::test::TemporaryFolder folder;
  folder.write("tokenizer.json", std::string_view(reinterpret_cast<const char*>(bytes), size));
  const auto checkpoint =
      sluice::open_checkpoint(folder.path(), sluice::CheckpointParts::kTokenizerOnly);
  if (checkpoint.ok()) {
    const auto& data = checkpoint->tokenizer;
    if (data.kinds.size() > data.tokens.size()) __builtin_trap();
  }
  return 0;
}
