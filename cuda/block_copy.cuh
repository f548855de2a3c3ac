#pragma once
// Runs of a matrix's bytes, of any place and length, into shared memory.

#include <cstddef>
#include <cstdint>

#include "cuda/device.cuh"

namespace sluice::cuda {

/// Starts copies of bytes [begin, begin + bytes) of a matrix of `matrix_bytes` by kLanes lanes, of
/// which this is `lane`. They come to `to` + begin % 16: addresses keep their phase. `to` has room
/// for whole chunks of 16 bytes. REQUIRES: the matrix is 16-byte aligned.
template <std::uint32_t kLanes>
__device__ __forceinline__ void copy_blocks(unsigned char* to, const std::byte* matrix,
                                            std::size_t matrix_bytes, std::size_t begin,
                                            std::uint32_t bytes, std::uint32_t lane) {
  const std::uint32_t phase = static_cast<std::uint32_t>(begin) & 15;
  begin -= phase;
  const std::uint32_t chunks = (phase + bytes + 15) / 16;
  const auto* from = reinterpret_cast<const unsigned char*>(matrix) + begin + 16 * lane;
  to += 16 * lane;
  // The last chunk may reach into the next row, but not beyond the matrix.
  const std::size_t left = matrix_bytes - begin;
  const std::uint32_t whole = left >= std::size_t{16} * chunks ? chunks : chunks - 1;
  for (std::uint32_t i = lane; i < whole; i += kLanes) {
    copy_async_16(to, from);
    to += 16 * kLanes;
    from += 16 * kLanes;
  }
  if (whole < chunks && whole % kLanes == lane) {
    for (std::uint32_t i = 0; i < static_cast<std::uint32_t>(left) % 16; ++i) to[i] = from[i];
  }
}

}  // namespace sluice::cuda
