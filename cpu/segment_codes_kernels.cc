#include "cpu/segment_codes.h"

#if SLUICE_ISA_LEVEL > 0
#include "cpu/unpack_256.h"
#include "cpu/unpack_32.h"
#endif

namespace sluice::SLUICE_ISA {

#if SLUICE_ISA_LEVEL > 0

SegmentFormat segment_format(const TensorFormat& format) {
  // The offset of eight-bit codes (code_lanes.h).
  constexpr bool kVnni = SLUICE_ISA_LEVEL >= 3;
  constexpr int kEightBits = kVnni ? 128 : 0;
  switch (format.type) {
    case TensorType::kQ4_0:
      return {unpack_q4_0, 8, false};
    case TensorType::kQ4_1:
      return {unpack_q4_1, 0, false};
    case TensorType::kQ5_0:
      return {unpack_q5_0, 16, false};
    case TensorType::kQ5_1:
      return {unpack_q5_1, 0, false};
    case TensorType::kQ8_0:
      return {unpack_q8_0<kEightBits>, kEightBits, !kVnni};
    case TensorType::kQ2_K:
      return {unpack_q2_k, 0, false};
    case TensorType::kQ3_K:
      return {unpack_q3_k, 4, false};
    case TensorType::kQ4_K:
      return {unpack_q4_k, 0, false};
    case TensorType::kQ5_K:
      return {unpack_q5_k, 0, false};
    case TensorType::kQ6_K:
      return {unpack_q6_k, 32, false};
    case TensorType::kIQ4_NL:
      return {unpack_iq4_nl<kEightBits>, kEightBits, !kVnni};
    case TensorType::kIQ4_XS:
      return {unpack_iq4_xs<kEightBits>, kEightBits, !kVnni};
    case TensorType::kMXFP4:
      return {unpack_mxfp4, 12, false};
    case TensorType::kF32:
    case TensorType::kF16:
    case TensorType::kBF16:
      break;
  }
  return {};
}

#else

// Plain code multiplies signed bytes, so the table's own unpacking serves.
SegmentFormat segment_format(const TensorFormat&) {
  const auto unpack = [](const TensorFormat& row, const std::byte* blocks, std::size_t elements,
                         std::uint8_t* codes, float* scales, float* mins) {
    for (std::size_t i = 0; i < elements; i += row.block_elements) {
      const std::size_t group = i / row.group;
      row.unpack(blocks, reinterpret_cast<std::int8_t*>(codes + i), scales + group, mins + group);
      blocks += row.block_bytes;
    }
  };
  return {unpack, 0, false};
}

#endif

}  // namespace sluice::SLUICE_ISA
