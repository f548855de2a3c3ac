#include "cpu/segment_codes.h"

namespace sluice::SLUICE_ISA {
namespace {

/// Through the table's own unpacking.
template <TensorType kType, int kOffset>
void unpack_by_table(const std::byte* blocks, std::size_t elements, std::uint8_t* codes,
                     float* scales, float* mins) {
  static const TensorFormat* format = find_tensor_format(kType);
  for (std::size_t i = 0; i < elements; i += format->block_elements) {
    format->unpack(blocks, reinterpret_cast<std::int8_t*>(codes + i), scales, mins);
    for (std::size_t j = i; j < i + format->block_elements; ++j) {
      codes[j] = static_cast<std::uint8_t>(codes[j] + kOffset);
    }
    blocks += format->block_bytes;
    scales += format->block_elements / format->group;
    mins += format->block_elements / format->group;
  }
}

template <TensorType kType, int kOffset>
SegmentFormat row() {
#if SLUICE_ISA_LEVEL == 0
  return {unpack_by_table<kType, 0>, 0, false};
#elif SLUICE_ISA_LEVEL < 3
  if (kOffset == 128) return {unpack_by_table<kType, 0>, 0, true};
  return {unpack_by_table<kType, kOffset>, kOffset, false};
#else
  return {unpack_by_table<kType, kOffset>, kOffset, kOffset == 128};
#endif
}

}  // namespace

SegmentFormat segment_format(const TensorFormat& format) {
  switch (format.type) {
    case TensorType::kQ4_0:
      return row<TensorType::kQ4_0, 8>();
    case TensorType::kQ4_1:
      return row<TensorType::kQ4_1, 0>();
    case TensorType::kQ5_0:
      return row<TensorType::kQ5_0, 16>();
    case TensorType::kQ5_1:
      return row<TensorType::kQ5_1, 0>();
    case TensorType::kQ8_0:
      return row<TensorType::kQ8_0, 128>();
    case TensorType::kQ2_K:
      return row<TensorType::kQ2_K, 0>();
    case TensorType::kQ3_K:
      return row<TensorType::kQ3_K, 4>();
    case TensorType::kQ4_K:
      return row<TensorType::kQ4_K, 0>();
    case TensorType::kQ5_K:
      return row<TensorType::kQ5_K, 0>();
    case TensorType::kQ6_K:
      return row<TensorType::kQ6_K, 32>();
    case TensorType::kIQ4_NL:
      return row<TensorType::kIQ4_NL, 128>();
    case TensorType::kIQ4_XS:
      return row<TensorType::kIQ4_XS, 128>();
    case TensorType::kMXFP4:
    default:
      return row<TensorType::kMXFP4, 12>();
  }
}

}  // namespace sluice::SLUICE_ISA
