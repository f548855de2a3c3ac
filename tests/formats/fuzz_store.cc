// libFuzzer target: any bytes as the index of a store, whose checksum fits.

#include <cstdint>
#include <span>

#include "formats/store_codec.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  (void)sluice::decode_store_index(std::as_bytes(std::span(data, size)), std::uint64_t{1} << 20,
                                   sluice::CheckpointParts::kEverything);
  return 0;
}
