#include "cpu/segment_codes.h"

#if SLUICE_ISA_LEVEL > 0
#include "cpu/unpack_256.h"
#include "cpu/unpack_32.h"
#endif

namespace sluice::SLUICE_ISA {

#if SLUICE_ISA_LEVEL > 0

namespace {

template <typename Codes>
void unpack_segment(const TensorFormat&, const std::byte* blocks, std::size_t elements,
                    std::uint8_t* codes, float* scales, float* mins) {
  const CodeSink sink{codes};
  Codes::unpack(blocks, elements, sink, scales, mins);
}

template <typename Codes, std::size_t kElements>
void dot_known(const std::byte* blocks, const std::int8_t* x, std::int32_t* dots, float* scales,
               float* mins) {
  DotSink<Codes::kWide> sink;
  sink.x = x;
  Codes::unpack(blocks, KnownElements<kElements>{}, sink, scales, mins);
  store_dots(sink.dots, dots);
}

template <typename Codes>
void dot_segment(const std::byte* blocks, std::size_t elements, const std::int8_t* x,
                 std::int32_t* dots, float* scales, float* mins) {
  if (elements == 512) return dot_known<Codes, 512>(blocks, x, dots, scales, mins);
  dot_known<Codes, 256>(blocks, x, dots, scales, mins);
}

template <typename Codes>
SegmentFormat row() {
  return {unpack_segment<Codes>, dot_segment<Codes>, Codes::kOffset, Codes::kWide};
}

}  // namespace

SegmentFormat segment_format(const TensorFormat& format) {
  switch (format.type) {
    case TensorType::kQ4_0:
      return row<Q4_0Codes>();
    case TensorType::kQ4_1:
      return row<Q4_1Codes>();
    case TensorType::kQ5_0:
      return row<Q5_0Codes>();
    case TensorType::kQ5_1:
      return row<Q5_1Codes>();
    case TensorType::kQ8_0:
      return row<Q8_0Codes>();
    case TensorType::kQ2_K:
      return {unpack_q2_k, nullptr, 0, false};
    case TensorType::kQ3_K:
      return {unpack_q3_k, nullptr, 4, false};
    case TensorType::kQ4_K:
      return row<Q4_KCodes>();
    case TensorType::kQ5_K:
      return row<Q5_KCodes>();
    case TensorType::kQ6_K:
      return {unpack_q6_k, nullptr, 32, false};
    case TensorType::kIQ4_NL:
      return row<IQ4_NLCodes>();
    case TensorType::kIQ4_XS:
      return row<IQ4_XSCodes>();
    case TensorType::kMXFP4:
      return row<MXFP4Codes>();
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
  return {unpack, nullptr, 0, false};
}

#endif

}  // namespace sluice::SLUICE_ISA
