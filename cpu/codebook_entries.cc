#include "cpu/codebook_entries.h"

#include <cstring>
#if defined(__x86_64__)
#include <emmintrin.h>
#endif

namespace sluice {
namespace {

// Two rows' entries go out in one store, since stores are what there is least of.

void put_two(const std::uint32_t& first, const std::uint32_t& second, std::uint32_t* chosen) {
  const std::uint64_t both = first | std::uint64_t{second} << 32;
  std::memcpy(chosen, &both, sizeof(both));
}

void put_two(const std::uint64_t& first, const std::uint64_t& second, std::uint64_t* chosen) {
#if defined(__x86_64__)
  const __m128d low = _mm_load_sd(reinterpret_cast<const double*>(&first));
  const __m128d both = _mm_loadh_pd(low, reinterpret_cast<const double*>(&second));
  _mm_storeu_pd(reinterpret_cast<double*>(chosen), both);
#else
  chosen[0] = first;
  chosen[1] = second;
#endif
}

}  // namespace

template <typename Entry, typename Index>
void choose_entries(const Entry* entries, const std::byte* indices, std::size_t words,
                    Entry (*chosen)[16]) {
  for (std::size_t word = 0; word < words; ++word, indices += 64) {
    for (std::size_t i = 0; i < 4; i += sizeof(Index), ++chosen) {
      for (std::size_t row = 0; row < 16; row += 2) {
        Index first, second;
        std::memcpy(&first, indices + 4 * row + i, sizeof(first));
        std::memcpy(&second, indices + 4 * row + 4 + i, sizeof(second));
        put_two(entries[first], entries[second], *chosen + row);
      }
    }
  }
}

template void choose_entries<std::uint32_t, std::uint8_t>(const std::uint32_t*, const std::byte*,
                                                          std::size_t, std::uint32_t (*)[16]);
template void choose_entries<std::uint32_t, std::uint16_t>(const std::uint32_t*, const std::byte*,
                                                           std::size_t, std::uint32_t (*)[16]);
template void choose_entries<std::uint64_t, std::uint8_t>(const std::uint64_t*, const std::byte*,
                                                          std::size_t, std::uint64_t (*)[16]);
template void choose_entries<std::uint64_t, std::uint16_t>(const std::uint64_t*, const std::byte*,
                                                           std::size_t, std::uint64_t (*)[16]);

}  // namespace sluice
