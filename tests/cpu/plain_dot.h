#pragma once
// What the kernels are held against: random weights and activations, the canonical order spelled
// out, and double precision.

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <random>
#include <string_view>
#include <vector>

#include "base/canonical.h"
#include "base/operations.h"
#include "base/half.h"
#include "base/tensor_format.h"
#include "cpu/isa.h"

namespace sluice::testing {

inline void store_half(std::byte* at, float value) {
  const std::uint16_t half = float_to_half(value);
  at[0] = static_cast<std::byte>(half & 0xff);
  at[1] = static_cast<std::byte>(half >> 8);
}

/// Where a block's halves lie, of those that lie in one piece; the rest of a block may be any
/// bytes.
inline std::vector<std::size_t> half_offsets(TensorType type) {
  switch (type) {
    case TensorType::kQ4_1:
    case TensorType::kQ5_1:
    case TensorType::kQ4_K:
    case TensorType::kQ5_K:
      return {0, 2};
    case TensorType::kQ2_K:
      return {80, 82};
    case TensorType::kQ3_K:
      return {108};
    case TensorType::kQ6_K:
      return {208};
    case TensorType::kTQ1_0:
      return {52};
    case TensorType::kTQ2_0:
      return {64};
    case TensorType::kMXFP4:
    case TensorType::kIQ1_M:
      return {};
    default:
      return {0};
  }
}

/// A matrix that owns its bytes. Not one byte lies behind its last row, so that a sanitizer sees a
/// read beyond it.
struct OwnedMatrix {
  std::vector<std::byte> bytes;
  WeightMatrix matrix;
};

/// Random codes under random finite scales; `code_byte` >= 0 makes every byte of the codes that
/// value.
inline OwnedMatrix random_matrix(const TensorFormat& format, std::size_t rows, std::size_t columns,
                                 std::mt19937& random, int code_byte = -1) {
  std::uniform_real_distribution<float> uniform(-1.0f, 1.0f);
  OwnedMatrix owned;
  owned.bytes.resize(rows * format.bytes(columns));
  owned.matrix = {&format, owned.bytes.data(), rows, columns};
  if (!format.quantised()) {
    for (std::size_t i = 0; i < rows * columns; ++i) {
      const float value = uniform(random);
      std::byte* const at = owned.bytes.data() + i * format.block_bytes;
      if (format.type == TensorType::kF32) std::memcpy(at, &value, sizeof(value));
      if (format.type == TensorType::kF16) store_half(at, value);
      if (format.type == TensorType::kBF16) {
        const std::uint16_t bits = float_to_bf16(value);
        std::memcpy(at, &bits, sizeof(bits));
      }
      if (format.type == TensorType::kF64) {
        const double wide = value;
        std::memcpy(at, &wide, sizeof(wide));
      }
      if (format.type == TensorType::kF8_E4M3) *at = static_cast<std::byte>(random() % 127);
    }
    const std::string_view name = format.name;
    for (std::byte& byte : owned.bytes) {
      if (name.starts_with('I')) byte = static_cast<std::byte>(random() & 0xff);
    }
    return owned;
  }
  for (std::byte& byte : owned.bytes) {
    byte =
        static_cast<std::byte>(code_byte >= 0 ? static_cast<unsigned>(code_byte) : random() & 0xff);
  }
  for (std::size_t at = 0; at < owned.bytes.size(); at += format.block_bytes) {
    for (const std::size_t offset : half_offsets(format.type)) {
      store_half(owned.bytes.data() + at + offset, uniform(random) * 0.1f);
    }
    if (format.type == TensorType::kMXFP4) {
      owned.bytes[at] = static_cast<std::byte>(100 + random() % 30);
    }
    if (format.type == TensorType::kIQ1_M) {
      const std::uint16_t half = float_to_half(uniform(random) * 0.1f);
      for (std::size_t nibble = 0; nibble < 4; ++nibble) {
        std::byte& byte = owned.bytes[at + 49 + 2 * nibble];
        byte = (byte & std::byte{15}) | static_cast<std::byte>((half >> (4 * nibble) & 15) << 4);
      }
    }
  }
  return owned;
}

/// FP8 codes of both signs under a grid of scales, and the same numbers in float32.
struct ScaledMatrix {
  OwnedMatrix codes, floats;
  std::vector<std::byte> scales;
};

inline ScaledMatrix random_scaled_matrix(TensorType scale_type, std::size_t block_rows,
                                         std::size_t block_columns, std::size_t rows,
                                         std::size_t columns, std::mt19937& random) {
  ScaledMatrix owned;
  owned.codes = random_matrix(tensor_format(TensorType::kF8_E4M3), rows, columns, random);
  for (std::byte& code : owned.codes.bytes) code |= static_cast<std::byte>((random() & 1) << 7);
  const std::size_t across = (columns + block_columns - 1) / block_columns;
  const std::size_t down = (rows + block_rows - 1) / block_rows;
  OwnedMatrix grid = random_matrix(tensor_format(scale_type), down, across, random);
  // One byte before them, so that they lie at odd addresses.
  owned.scales.assign(1, std::byte{0xff});
  owned.scales.insert(owned.scales.end(), grid.bytes.begin(), grid.bytes.end());
  owned.codes.matrix.scales = {&tensor_format(scale_type), owned.scales.data() + 1, block_rows,
                               block_columns};
  std::vector<float> factors(down * across), values(rows * columns);
  grid.matrix.format->decode(grid.bytes.data(), factors.data(), factors.size());
  owned.codes.matrix.format->decode(owned.codes.bytes.data(), values.data(), values.size());
  for (std::size_t i = 0; i < values.size(); ++i) {
    values[i] *= factors[i / columns / block_rows * across + i % columns / block_columns];
  }
  const TensorFormat& f32 = tensor_format(TensorType::kF32);
  owned.floats.bytes.resize(f32.bytes(values.size()));
  std::memcpy(owned.floats.bytes.data(), values.data(), owned.floats.bytes.size());
  owned.floats.matrix = {&f32, owned.floats.bytes.data(), rows, columns};
  return owned;
}

struct OwnedActivations {
  std::vector<float> values, scales;
  std::vector<std::int8_t> codes;
  std::vector<std::int16_t> sums;
  Activations view;
};

/// canonical.h's rule 1; `code` >= 0: every code is ±code instead.
inline void quantise_plainly(OwnedActivations& owned, int code = -1) {
  std::fill(owned.sums.begin(), owned.sums.end(), std::int16_t{0});
  for (std::size_t group = 0; group < owned.scales.size(); ++group) {
    const float* const x = owned.values.data() + group * 32;
    float amax = 0;
    for (int i = 0; i < 32; ++i) amax = std::max(amax, std::fabs(x[i]));
    const float inverse = amax > 0 ? 127.0f / amax : 0.0f;
    owned.scales[group] = amax / 127.0f;
    for (std::size_t i = 0; i < 32; ++i) {
      auto rounded = static_cast<int>(std::nearbyintf(x[i] * inverse));
      if (code >= 0) rounded = x[i] < 0 ? -code : code;
      owned.codes[group * 32 + i] = static_cast<std::int8_t>(rounded);
      std::int16_t& sum = owned.sums[group * 2 + i / 16];
      sum = static_cast<std::int16_t>(sum + rounded);
    }
  }
}

/// rows × columns normal values, with their 8-bit form where asked for.
inline OwnedActivations random_activations(std::size_t rows, std::size_t columns, bool with_codes,
                                           std::mt19937& random, int code = -1) {
  std::normal_distribution<float> normal;
  OwnedActivations owned;
  owned.values.resize(rows * columns);
  for (float& value : owned.values) value = normal(random);
  if (with_codes) {
    owned.codes.resize(rows * columns);
    owned.scales.resize(rows * columns / 32);
    owned.sums.resize(rows * columns / 16);
    quantise_plainly(owned, code);
  }
  owned.view.values = owned.values.data();
  if (with_codes) {
    owned.view.codes = owned.codes.data();
    owned.view.scales = owned.scales.data();
    owned.view.sums = owned.sums.data();
  }
  owned.view.rows = rows;
  owned.view.columns = columns;
  return owned;
}

/// One output element, thrice: in the canonical order, in double precision, and the sum of its
/// terms' magnitudes.
struct PlainDot {
  float canonical = 0;
  double exact = 0;
  double magnitude = 0;
  std::size_t roundings = 0;  // at most so many float32 roundings touch any one term

  /// Each rounding moves a partial sum, which is no larger than `magnitude`, by at most 2^-24 of
  /// it.
  double bound() const { return 1.01 * static_cast<double>(roundings) * 0x1p-24 * magnitude; }
};

/// canonical.h's rule 2.
inline PlainDot quantised_dot(const WeightMatrix& weight, std::size_t row, const Activations& x,
                              std::size_t x_row) {
  const TensorFormat& format = *weight.format;
  const std::byte* block = weight.data + row * weight.row_bytes();
  std::vector<std::int8_t> codes(format.block_elements);
  std::vector<float> scales(format.block_elements / format.group), mins(scales.size());
  PlainDot result;
  float acc = 0;
  for (std::size_t k = 0; k < weight.columns; k += format.group) {
    if (k % kSegment == 0) {
      if (k > 0) result.canonical += acc;
      acc = 0;
    }
    const std::size_t in_block = k % format.block_elements;
    if (in_block == 0) {
      format.unpack(block, codes.data(), scales.data(), mins.data());
      block += format.block_bytes;
    }
    int product = 0, sum = 0;
    for (std::size_t i = 0; i < format.group; ++i) {
      const int code = x.codes[x_row * x.columns + k + i];
      product += codes[in_block + i] * code;
      sum += code;
    }
    const float a = x.scales[(x_row * x.columns + k) / 32];
    const std::size_t group = in_block / format.group;
    acc = std::fma(scales[group] * a, static_cast<float>(product), acc);
    const auto add = [&](float w, int integer) {
      const double term = double{w} * double{a} * integer;
      result.exact += term;
      result.magnitude += std::fabs(term);
    };
    add(scales[group], product);
    if (format.has_min) {
      acc = std::fma(mins[group] * a, static_cast<float>(sum), acc);
      add(mins[group], sum);
    }
  }
  result.canonical += acc;
  // The product of scales, every fma of a segment, every segment's sum.
  result.roundings =
      1 + kSegment / format.group * (format.has_min ? 2 : 1) + weight.columns / kSegment + 1;
  return result;
}

/// canonical.h's rule 3.
inline PlainDot float_dot(const WeightMatrix& weight, std::size_t row, const Activations& x,
                          std::size_t x_row) {
  std::vector<float> decoded(weight.columns);
  weight.format->decode(weight.data + row * weight.row_bytes(), decoded.data(), weight.columns);
  const float* const values = x.values + x_row * x.columns;
  PlainDot result;
  for (std::size_t begin = 0; begin < weight.columns; begin += kSegment) {
    float lanes[kFloatLanes] = {};
    for (std::size_t i = begin; i < std::min(weight.columns, begin + kSegment); ++i) {
      lanes[i % kFloatLanes] = std::fma(decoded[i], values[i], lanes[i % kFloatLanes]);
      const double term = double{decoded[i]} * double{values[i]};
      result.exact += term;
      result.magnitude += std::fabs(term);
    }
    result.canonical += reduce_lanes(lanes);
  }
  result.roundings = kSegment / kFloatLanes + 4 + weight.columns / kSegment + 1;
  return result;
}

/// Which of the two the kernels use.
inline PlainDot plain_dot(const WeightMatrix& weight, std::size_t row, const Activations& x,
                          std::size_t x_row) {
  return weight.format->quantised() && x.codes != nullptr ? quantised_dot(weight, row, x, x_row)
                                                          : float_dot(weight, row, x, x_row);
}

/// The instruction sets that this machine can run.
inline std::vector<Isa> available_isas() {
  std::vector<Isa> isas;
  for (const Isa isa : all_isas()) {
    if (isa_available(isa)) isas.push_back(isa);
  }
  return isas;
}

}  // namespace sluice::testing
