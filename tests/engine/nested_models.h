#pragma once
// Stores of the bundled model's experts in planes, made of each kind of numbers that can be.

#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <cstring>
#include <fstream>
#include <functional>
#include <iterator>
#include <map>
#include <optional>
#include <span>
#include <stdexcept>
#include <string>
#include <vector>

#include "base/half.h"
#include "base/quant_blocks.h"
#include "formats/expert_tensors.h"
#include "tests/engine/fixture.h"
#include "tests/formats/temporary_folder.h"
#include "tests/support/expert_numbers.h"
#include "tests/support/packed_store.h"

namespace sluice::test {

/// Numbers of a tensor's expert, row after row.
using Decoder = std::function<std::vector<float>(const TensorInfo& tensor, std::uint64_t expert)>;
using Encoder = std::function<std::vector<std::byte>(const std::vector<float>& numbers)>;

/// A type of numbers, and what makes them of floats.
struct Numbers {
  TensorType type;
  Encoder encode;
};

/// The checkpoint with other numbers in its experts' places, gate's, up's and down's, in a file of
/// their own.
inline Checkpoint with_experts(Checkpoint checkpoint, const std::array<Numbers, 3>& numbers,
                               const Decoder& decode, const std::string& path) {
  std::ofstream file(path, std::ios::binary);
  std::uint64_t at = 0;
  const auto index = static_cast<std::uint32_t>(checkpoint.files.size());
  for (auto& [name, tensor] : checkpoint.tensors) {
    const auto layer = layer_of_experts(name);
    if (!layer) continue;
    std::size_t matrix = 0;
    while (name != expert_tensor_name(*layer, kExpertMatrices[matrix])) ++matrix;
    const auto& [type, encode] = numbers[matrix];
    std::vector<FileRange> ranges;
    for (std::uint64_t expert = 0; expert < tensor.shape[0]; ++expert) {
      const std::vector<std::byte> bytes = encode(decode(tensor, expert));
      file.write(reinterpret_cast<const char*>(bytes.data()),
                 static_cast<std::streamsize>(bytes.size()));
      ranges.push_back({index, at, bytes.size()});
      at += bytes.size();
    }
    tensor = {name, type, tensor.shape, ranges};
  }
  checkpoint.files.push_back(path);
  return checkpoint;
}

inline std::vector<std::byte> as_f32(const std::vector<float>& numbers) {
  std::vector<std::byte> bytes(numbers.size() * sizeof(float));
  std::memcpy(bytes.data(), numbers.data(), bytes.size());
  return bytes;
}

inline std::vector<std::byte> as_bf16(const std::vector<float>& numbers) {
  std::vector<std::byte> bytes(numbers.size() * 2);
  for (std::size_t i = 0; i < numbers.size(); ++i) {
    const std::uint16_t bits = float_to_bf16(numbers[i]);
    std::memcpy(bytes.data() + 2 * i, &bits, 2);
  }
  return bytes;
}

/// The largest magnitude is -8 scales.
inline std::vector<std::byte> as_q4_0(const std::vector<float>& numbers) {
  std::vector<std::byte> bytes;
  for (std::size_t at = 0; at < numbers.size(); at += 32) {
    float largest = 0;
    for (std::size_t i = at; i < at + 32; ++i) {
      if (std::fabs(numbers[i]) > std::fabs(largest)) largest = numbers[i];
    }
    Q4_0Block block = {};
    const std::uint16_t half = float_to_half(largest / -8);
    std::memcpy(&block.scale, &half, sizeof(half));
    const float scale = half_to_float(half);
    for (std::size_t i = 0; i < 32; ++i) {
      const float code = scale == 0 ? 8 : std::nearbyint(numbers[at + i] / scale) + 8;
      const auto nibble = static_cast<unsigned>(std::fmin(std::fmax(code, 0.0f), 15.0f));
      block.nibbles[i % 16] =
          static_cast<std::uint8_t>(block.nibbles[i % 16] | nibble << (i < 16 ? 0 : 4));
    }
    const auto* const from = reinterpret_cast<const std::byte*>(&block);
    bytes.insert(bytes.end(), from, from + sizeof(block));
  }
  return bytes;
}

/// The largest magnitude is 6 times a power of two, or up to twice as little of it.
inline std::vector<std::byte> as_mxfp4(const std::vector<float>& numbers) {
  constexpr float kMagnitudes[] = {0, 0.5f, 1, 1.5f, 2, 3, 4, 6};
  std::vector<std::byte> bytes;
  for (std::size_t at = 0; at < numbers.size(); at += 32) {
    float largest = 0x1p-100f;
    for (std::size_t i = at; i < at + 32; ++i) largest = std::fmax(largest, std::fabs(numbers[i]));
    const int exponent = std::ilogb(largest / 6) + 1;
    MXFP4Block block = {};
    block.exponent = static_cast<std::uint8_t>(exponent + 127);
    for (std::size_t i = 0; i < 32; ++i) {
      const float wanted = std::ldexp(std::fabs(numbers[at + i]), -exponent);
      unsigned best = 0;
      for (unsigned k = 1; k < 8; ++k) {
        if (std::fabs(kMagnitudes[k] - wanted) < std::fabs(kMagnitudes[best] - wanted)) best = k;
      }
      if (std::signbit(numbers[at + i])) best |= 8;
      block.nibbles[i % 16] =
          static_cast<std::uint8_t>(block.nibbles[i % 16] | best << (i < 16 ? 0 : 4));
    }
    const auto* const from = reinterpret_cast<const std::byte*>(&block);
    bytes.insert(bytes.end(), from, from + sizeof(block));
  }
  return bytes;
}

/// A block of 256 in groups that each fill their codes' range, from the least to the largest; all
/// are halves times six bits of the block's largest.
inline std::vector<std::byte> as_q4_k(const std::vector<float>& numbers) {
  std::vector<std::byte> bytes;
  for (std::size_t at = 0; at < numbers.size(); at += 256) {
    float spans[8], lows[8];
    for (std::size_t g = 0; g < 8; ++g) {
      const auto group = std::span(numbers).subspan(at + 32 * g, 32);
      lows[g] = std::fmin(0.0f, *std::ranges::min_element(group));
      spans[g] = (*std::ranges::max_element(group) - lows[g]) / 15;
    }
    Q4_KBlock block = {};
    const std::uint16_t scale = float_to_half(*std::ranges::max_element(spans) / 63);
    const std::uint16_t min_scale = float_to_half(-*std::ranges::min_element(lows) / 63);
    std::memcpy(&block.scale, &scale, sizeof(scale));
    std::memcpy(&block.min_scale, &min_scale, sizeof(min_scale));
    const auto sixths = [](float part, std::uint16_t whole) {
      const float unit = half_to_float(whole);
      return unit == 0 ? 0u : static_cast<unsigned>(std::fmin(std::nearbyint(part / unit), 63.0f));
    };
    std::uint8_t* const packed = block.group_scales.bytes;
    for (std::size_t g = 0; g < 8; ++g) {
      const unsigned s = sixths(spans[g], scale), m = sixths(-lows[g], min_scale);
      if (g < 4) {
        packed[g] = static_cast<std::uint8_t>(s);
        packed[4 + g] = static_cast<std::uint8_t>(m);
      } else {
        packed[4 + g] = static_cast<std::uint8_t>((s & 15) | (m & 15) << 4);
        packed[g - 4] = static_cast<std::uint8_t>(packed[g - 4] | s >> 4 << 6);
        packed[g] = static_cast<std::uint8_t>(packed[g] | m >> 4 << 6);
      }
      const float unit = half_to_float(scale) * static_cast<float>(s);
      const float low = half_to_float(min_scale) * static_cast<float>(m);
      for (std::size_t i = 0; i < 32; ++i) {
        const float code = unit == 0 ? 0 : std::nearbyint((numbers[at + 32 * g + i] + low) / unit);
        const auto nibble = static_cast<unsigned>(std::fmin(std::fmax(code, 0.0f), 15.0f));
        std::uint8_t& byte = block.nibbles[g / 2 * 32 + i];
        byte = static_cast<std::uint8_t>(byte | nibble << (g % 2 * 4));
      }
    }
    const auto* const from = reinterpret_cast<const std::byte*>(&block);
    bytes.insert(bytes.end(), from, from + sizeof(block));
  }
  return bytes;
}

/// A group's largest magnitude is 31 of its scales, which are bytes of a block's.
inline std::vector<std::byte> as_q6_k(const std::vector<float>& numbers) {
  std::vector<std::byte> bytes;
  for (std::size_t at = 0; at < numbers.size(); at += 256) {
    float largest[16] = {};
    for (std::size_t i = 0; i < 256; ++i) {
      largest[i / 16] = std::fmax(largest[i / 16], std::fabs(numbers[at + i]));
    }
    Q6_KBlock block = {};
    const std::uint16_t half = float_to_half(*std::ranges::max_element(largest) / 31 / 127);
    std::memcpy(&block.scale, &half, sizeof(half));
    for (std::size_t i = 0; i < 256; ++i) {
      const float unit = half_to_float(half);
      const float scale = unit == 0 ? 0 : std::nearbyint(largest[i / 16] / 31 / unit);
      block.group_scales[i / 16] = static_cast<std::int8_t>(std::fmin(scale, 127.0f));
      const float step = unit * static_cast<float>(block.group_scales[i / 16]);
      const float code = step == 0 ? 0 : std::nearbyint(numbers[at + i] / step);
      const auto bits = static_cast<unsigned>(std::fmin(std::fmax(code, -32.0f), 31.0f) + 32);
      std::uint8_t& nibbles = block.nibbles[i / 128 * 64 + i % 64];
      nibbles = static_cast<std::uint8_t>(nibbles | (bits & 15) << (i % 128 / 64 * 4));
      std::uint8_t& pairs = block.pairs[i / 128 * 32 + i % 32];
      pairs = static_cast<std::uint8_t>(pairs | bits >> 4 << (i % 128 / 32 * 2));
    }
    const auto* const from = reinterpret_cast<const std::byte*>(&block);
    bytes.insert(bytes.end(), from, from + sizeof(block));
  }
  return bytes;
}

inline Checkpoint opened(const std::string& path) {
  auto checkpoint = open_checkpoint(path);
  if (!checkpoint.ok()) throw std::runtime_error(checkpoint.status().message());
  return std::move(*checkpoint);
}

/// What the file has of a tensor that is not in planes.
inline Decoder decoder_of_file(const Checkpoint& checkpoint) {
  return [&checkpoint](const TensorInfo& tensor, std::uint64_t expert) {
    return test::plain_numbers(checkpoint, tensor, expert);
  };
}

/// What planes stand for at a width.
inline Decoder decoder_of_planes(const Checkpoint& checkpoint, unsigned width) {
  return [&checkpoint, width](const TensorInfo& tensor, std::uint64_t expert) {
    return test::nested_numbers(checkpoint, tensor, expert, width);
  };
}

/// Resting widths of every kind, in turn over the experts of each layer.
inline std::map<std::uint32_t, std::vector<std::uint8_t>> widths_in_turn(
    const Checkpoint& checkpoint) {
  constexpr std::uint8_t kWidths[] = {2, 3, 4, 5, 6, 8};
  std::map<std::uint32_t, std::vector<std::uint8_t>> widths;
  for (const auto& [name, tensor] : checkpoint.tensors) {
    const auto layer = layer_of_experts(name);
    if (!layer || widths.contains(*layer)) continue;
    for (std::uint64_t expert = 0; expert < tensor.shape[0]; ++expert) {
      widths[*layer].push_back(kWidths[(expert + *layer) % std::size(kWidths)]);
    }
  }
  return widths;
}

struct NestedSource {
  const char* name;
  std::optional<std::array<Numbers, 3>> numbers;  // of gate, up, down; none: the bundled model's
};

class NestedModel : public ::testing::TestWithParam<NestedSource> {
 protected:
  /// The bundled model's experts as numbers of the source's type.
  Checkpoint source() {
    Checkpoint bundled = opened(bundled_model());
    if (!GetParam().numbers) return bundled;
    const Checkpoint from = bundled;
    return with_experts(std::move(bundled), *GetParam().numbers, decoder_of_file(from),
                        folder_.path() + "/source.bin");
  }
  std::string pack(bool keep_floats = true) {
    const std::string store = folder_.path() + (keep_floats ? "/kept.slc" : "/dropped.slc");
    pack_store(source(), store, nest_all(keep_floats));
    return store;
  }
  TemporaryFolder folder_;
};

/// All three matrices of one type.
inline std::array<Numbers, 3> all_of(const Numbers& numbers) { return {numbers, numbers, numbers}; }

/// The last: as most files have K-quants, a type for each matrix; the model's rows of down are too
/// narrow for them.
inline std::vector<NestedSource> nested_sources() {
  const Numbers mxfp4 = {TensorType::kMXFP4, as_mxfp4};
  const std::array<Numbers, 3> mixed = {
      {{TensorType::kQ4_K, as_q4_k}, {TensorType::kQ6_K, as_q6_k}, mxfp4}};
  return {{"q8_0", std::nullopt},
          {"q4_0", all_of({TensorType::kQ4_0, as_q4_0})},
          {"mxfp4", all_of(mxfp4)},
          {"bf16", all_of({TensorType::kBF16, as_bf16})},
          {"k_quants", mixed}};
}

}  // namespace sluice::test
