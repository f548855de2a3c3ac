// libFuzzer: any bytes as an importance matrix.

#include <sys/mman.h>
#include <unistd.h>

#include <cmath>
#include <cstddef>
#include <cstdint>
#include <string>

#include "formats/imatrix.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* bytes, std::size_t size) {
  static const int descriptor = ::memfd_create("fuzz", 0);
  static const std::string path = "/proc/self/fd/" + std::to_string(descriptor);
  if (::ftruncate(descriptor, 0) != 0) return 0;
  if (::pwrite(descriptor, bytes, size, 0) != static_cast<ssize_t>(size)) return 0;
  const auto matrix = sluice::ImportanceMatrix::open(path);
  if (!matrix.ok()) return 0;
  for (const char* name : {"blk.0.ffn_up_exps.weight", "blk.0.ffn_down_exps.weight"}) {
    const auto read = matrix->read(name, 2, 4);
    if (!read.ok()) continue;
    if (read->counts.size() != 2 || read->mean_squares.size() != 8) __builtin_trap();
    for (const float mean : read->mean_squares) {
      if (!std::isfinite(mean) || mean < 0) __builtin_trap();
    }
  }
  return 0;
}
