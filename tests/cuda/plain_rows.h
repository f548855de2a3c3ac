#pragma once
// What the CUDA kernels are held against: canonical.h's rules 1 and 2 spelled out over
// TensorFormat::unpack.

#include <cmath>
#include <cstdint>
#include <random>
#include <vector>

#include "base/canonical.h"
#include "base/half.h"
#include "base/tensor_format.h"

namespace sluice::testing {

struct PlainRows {
  std::vector<std::int8_t> codes;
  std::vector<float> scales;
  std::vector<std::int16_t> sums;
};

/// Rule 1. values `[rows, columns]`, columns a multiple of 32.
inline PlainRows quantise_plainly(const std::vector<float>& values) {
  PlainRows rows;
  rows.codes.resize(values.size());
  rows.scales.resize(values.size() / 32);
  rows.sums.resize(values.size() / 16);
  for (std::size_t group = 0; group < rows.scales.size(); ++group) {
    float amax = 0;
    for (std::size_t i = 0; i < 32; ++i) amax = std::fmax(amax, std::fabs(values[group * 32 + i]));
    const float inverse = amax > 0 ? 127.0f / amax : 0.0f;
    rows.scales[group] = amax / 127.0f;
    for (std::size_t i = 0; i < 32; ++i) {
      // The clamp is felt where 127 / amax is infinite.
      const float scaled = std::fmin(std::fmax(values[group * 32 + i] * inverse, -127.0f), 127.0f);
      const auto code = static_cast<std::int8_t>(std::nearbyint(scaled));
      rows.codes[group * 32 + i] = code;
      auto& sum = rows.sums[group * 2 + i / 16];
      sum = static_cast<std::int16_t>(sum + code);
    }
  }
  return rows;
}

struct PlainMatrix {
  const TensorFormat* format;
  std::size_t rows, columns;
  std::vector<std::byte> bytes;
};

/// Where a block's halves lie, of those that lie in one piece; the rest of a block may be any
/// bytes.
inline std::vector<std::size_t> half_offsets(const TensorFormat& format) {
  switch (format.type) {
    case TensorType::kMXFP4:
    case TensorType::kIQ1_M:
      return {};
    case TensorType::kTQ1_0:
      return {52};
    case TensorType::kTQ2_0:
      return {64};
    case TensorType::kQ2_K:
      return {80, 82};
    case TensorType::kQ3_K:
      return {108};
    case TensorType::kQ6_K:
      return {208};
    case TensorType::kQ4_1:
    case TensorType::kQ5_1:
    case TensorType::kQ4_K:
    case TensorType::kQ5_K:
      return {0, 2};
    default:
      return {0};
  }
}

enum class Bytes {
  kTame,     // random codes under scales of ordinary size
  kAny,      // random bytes: infinities, NaN and subnormals too
  kLargest,  // every byte 0xff but for the scales
  kSmallest  // every byte 0x80 but for the scales
};

inline PlainMatrix make_matrix(const TensorFormat& format, std::size_t rows, std::size_t columns,
                               Bytes kind, std::mt19937& random) {
  PlainMatrix matrix{&format, rows, columns, std::vector<std::byte>(rows * format.bytes(columns))};
  for (std::byte& byte : matrix.bytes) {
    const unsigned value = kind == Bytes::kLargest    ? 0xffu
                           : kind == Bytes::kSmallest ? 0x80u
                                                      : static_cast<unsigned>(random() & 0xff);
    byte = static_cast<std::byte>(value);
  }
  if (kind == Bytes::kAny) return matrix;
  std::uniform_real_distribution<float> scale(-0.1f, 0.1f);
  for (std::size_t at = 0; at < matrix.bytes.size(); at += format.block_bytes) {
    for (const std::size_t offset : half_offsets(format)) {
      const std::uint16_t half = float_to_half(scale(random));
      matrix.bytes[at + offset] = static_cast<std::byte>(half & 0xff);
      matrix.bytes[at + offset + 1] = static_cast<std::byte>(half >> 8);
    }
    if (format.type == TensorType::kMXFP4) {
      matrix.bytes[at] = static_cast<std::byte>(100 + random() % 30);
    }
    if (format.type == TensorType::kIQ1_M) {
      const std::uint16_t half = float_to_half(scale(random));
      for (std::size_t nibble = 0; nibble < 4; ++nibble) {
        std::byte& byte = matrix.bytes[at + 49 + 2 * nibble];
        byte = (byte & std::byte{15}) | static_cast<std::byte>((half >> (4 * nibble) & 15) << 4);
      }
    }
  }
  return matrix;
}

/// Rule 2 for one output.
inline float dot_plainly(const PlainMatrix& matrix, std::size_t row, const PlainRows& x,
                         std::size_t x_row) {
  const TensorFormat& format = *matrix.format;
  const std::byte* block = matrix.bytes.data() + row * format.bytes(matrix.columns);
  std::vector<std::int8_t> codes(format.block_elements);
  std::vector<float> scales(format.block_elements / format.group), mins(scales.size());
  float total = 0, acc = 0;
  for (std::size_t k = 0; k < matrix.columns; k += format.group) {
    if (k > 0 && k % kSegment == 0) {
      total += acc;
      acc = 0;
    }
    const std::size_t in_block = k % format.block_elements;
    if (in_block == 0) {
      format.unpack(block, codes.data(), scales.data(), mins.data());
      block += format.block_bytes;
    }
    int dot = 0, sum = 0;
    for (std::size_t i = 0; i < format.group; ++i) {
      const int code = x.codes[x_row * matrix.columns + k + i];
      dot += codes[in_block + i] * code;
      sum += code;
    }
    const float a = x.scales[(x_row * matrix.columns + k) / kActivationGroup];
    const std::size_t group = in_block / format.group;
    acc = std::fma(scales[group] * a, static_cast<float>(dot), acc);
    if (format.has_min) acc = std::fma(mins[group] * a, static_cast<float>(sum), acc);
  }
  return total + acc;
}

inline std::vector<float> normal_values(std::size_t count, std::mt19937& random) {
  std::normal_distribution<float> normal;
  std::vector<float> values(count);
  for (float& value : values) value = normal(random);
  return values;
}

}  // namespace sluice::testing
