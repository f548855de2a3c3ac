// libFuzzer: any bytes as a safetensors file.

#include <sys/mman.h>
#include <unistd.h>

#include <cstddef>
#include <cstdint>
#include <string>

#include "formats/safetensors.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* bytes, std::size_t size) {
  static const int descriptor = ::memfd_create("fuzz", 0);
  static const std::string path = "/proc/self/fd/" + std::to_string(descriptor);
  if (::ftruncate(descriptor, 0) != 0) return 0;
  if (::pwrite(descriptor, bytes, size, 0) != static_cast<ssize_t>(size)) return 0;
  const auto check = [&](const sluice::SafetensorsTensor& tensor) {
    const auto& range = tensor.info.ranges.front();
    if (range.offset > size || range.bytes > size - range.offset) __builtin_trap();
    return sluice::Status();
  };
  (void)sluice::read_safetensors(path, 0, check);
  return 0;
}
