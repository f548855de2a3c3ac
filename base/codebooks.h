#pragma once
// The codebooks of GGUF's IQ1, IQ2 and IQ3 formats: a few bits of a block are an index that chooses
// the codes of eight or four consecutive elements at once.

#include <cstddef>
#include <cstdint>

namespace sluice {

/// Byte i of an entry, counted from its lowest, belongs to element i of the eight or four.
template <typename EntryType, std::size_t kEntries>
struct Codebook {
  using Entry = EntryType;
  static constexpr std::size_t kSize = kEntries;
  Entry entries[kEntries];
};

// Magnitudes; the signs lie elsewhere in the block.
extern const Codebook<std::uint64_t, 256> kIq2XxsCodebook;  // 8, 25 or 43
extern const Codebook<std::uint64_t, 512> kIq2XsCodebook;   // likewise
extern const Codebook<std::uint64_t, 1024> kIq2SCodebook;   // likewise
extern const Codebook<std::uint32_t, 256> kIq3XxsCodebook;  // 4, 12, 20, 28, 36, 44, 52 or 62
extern const Codebook<std::uint32_t, 512> kIq3SCodebook;    // an odd number up to 15

/// IQ1_S and IQ1_M: a weight is scale * (-1, 0 or 1, plus or minus an eighth). An entry's bytes are
/// eight times that in the case of plus, and kIq1Offset, to be positive: 2, 10 or 18.
extern const Codebook<std::uint64_t, 2048> kIq1Codebook;
inline constexpr int kIq1Offset = 9;

}  // namespace sluice
