#include "cpu/segment_codes.h"

#include "base/canonical.h"
#include "cpu/dot_kernels.h"

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

/// Bytes between what is read and what is asked for. Measured: further ahead than where unpacking
/// takes longer, for a core alone must keep much of the memory's bandwidth busy.
constexpr std::size_t kPrefetchAhead = 16384;

/// A segment of the kDotRows rows from `row` on.
template <typename Codes, std::size_t kElements>
inline void dot_segment(const StripRun& run, std::size_t row, const std::byte* const* blocks,
                        const std::int8_t* x, StripTerms& terms) {
  for (std::size_t r = 0; r < kDotRows; ++r) {
    prefetch(blocks[r] + kPrefetchAhead, run.segment_bytes * kElements / kSegment);
  }
  DotSink<Codes::kWide> sinks[kDotRows];
#pragma GCC unroll 4
  for (std::size_t r = 0; r < kDotRows; ++r) {
    DotSink<Codes::kWide>& sink = sinks[r];
    sink.x = x;
    const KnownElements<kElements> elements;
    if constexpr (Codes::kHalves) {
      Codes::unpack(blocks[r], elements, sink, HalfRow{terms.half_scales[0][row + r]},
                    HalfRow{terms.half_mins[0][row + r]});
    } else {
      Codes::unpack(blocks[r], elements, sink, terms.scales[row + r], terms.mins[row + r]);
    }
  }
  store_dots(sinks, kElements / 32, row, terms.dots);
}

template <typename Codes>
void dot_run(const StripRun& run, StripTerms* terms) {
  for (std::size_t row = 0; row < run.rows; row += kDotRows) {
    const std::byte* blocks[kDotRows];
    for (std::size_t r = 0; r < kDotRows; ++r) {
      blocks[r] = run.blocks + (row + r < run.rows ? row + r : run.rows - 1) * run.row_bytes;
    }
    const std::int8_t* x = run.x;
    std::size_t at = 0;
    for (; at + kSegment <= run.elements; at += kSegment) {
      dot_segment<Codes, kSegment>(run, row, blocks, x, terms[at / kSegment]);
      for (const std::byte*& from : blocks) from += run.segment_bytes;
      x += run.x_stride;
    }
    if (at < run.elements) {
      dot_segment<Codes, kSegment / 2>(run, row, blocks, x, terms[at / kSegment]);
    }
  }
}
template <typename Codes>
SegmentFormat row() {
  return {unpack_segment<Codes>, dot_run<Codes>, Codes::kOffset, Codes::kWide, Codes::kHalves};
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
      return {unpack_q2_k, nullptr, 0, false, false};
    case TensorType::kQ3_K:
      return {unpack_q3_k, nullptr, 4, false, false};
    case TensorType::kQ4_K:
      return row<Q4_KCodes>();
    case TensorType::kQ5_K:
      return row<Q5_KCodes>();
    case TensorType::kQ6_K:
      return {unpack_q6_k, nullptr, 32, false, false};
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
  return {unpack, nullptr, 0, false, false};
}

#endif

}  // namespace sluice::SLUICE_ISA
