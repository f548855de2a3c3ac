// libFuzzer: any bytes as a GGUF file.

#include <sys/mman.h>
#include <unistd.h>

#include <cstddef>
#include <cstdint>
#include <string>

#include "formats/gguf.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* bytes, std::size_t size) {
  static const int descriptor = ::memfd_create("fuzz", 0);
  static const std::string path = "/proc/self/fd/" + std::to_string(descriptor);
  if (::ftruncate(descriptor, 0) != 0) return 0;
  if (::pwrite(descriptor, bytes, size, 0) != static_cast<ssize_t>(size)) return 0;
  const auto checkpoint = sluice::open_checkpoint(path);
  if (!checkpoint.ok()) return 0;
  // What was let through must lie in the file.
  for (const auto& [name, tensor] : checkpoint->tensors) {
    for (const auto& range : tensor.ranges) {
      if (range.offset > size || range.bytes > size - range.offset) __builtin_trap();
    }
    if (tensor.bytes() > size || tensor.slice(tensor.shape[0] - 1).bytes > size) __builtin_trap();
  }
  return 0;
}
