#pragma once
// Stores of the bundled model's experts in planes, made of each kind of numbers that can be.

#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <fstream>
#include <functional>
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

/// The checkpoint with other numbers in its experts' places, in a file of their own.
inline Checkpoint with_experts(Checkpoint checkpoint, TensorType type, const Decoder& decode,
                               const Encoder& encode, const std::string& path) {
  std::ofstream file(path, std::ios::binary);
  std::uint64_t at = 0;
  const auto number = static_cast<std::uint32_t>(checkpoint.files.size());
  for (auto& [name, tensor] : checkpoint.tensors) {
    if (!layer_of_experts(name)) continue;
    std::vector<FileRange> ranges;
    for (std::uint64_t expert = 0; expert < tensor.shape[0]; ++expert) {
      const std::vector<std::byte> bytes = encode(decode(tensor, expert));
      file.write(reinterpret_cast<const char*>(bytes.data()),
                 static_cast<std::streamsize>(bytes.size()));
      ranges.push_back({number, at, bytes.size()});
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

struct NestedSource {
  const char* name;
  TensorType type;
  Encoder encode;  // empty: as the bundled model has it
};

class NestedModel : public ::testing::TestWithParam<NestedSource> {
 protected:
  /// The bundled model's experts as numbers of the source's type.
  Checkpoint source() {
    Checkpoint bundled = opened(bundled_model());
    if (!GetParam().encode) return bundled;
    const Checkpoint from = bundled;
    return with_experts(std::move(bundled), GetParam().type, decoder_of_file(from),
                        GetParam().encode, folder_.path() + "/source.bin");
  }
  std::string pack(bool keep_floats = true) {
    const std::string store = folder_.path() + (keep_floats ? "/kept.slc" : "/dropped.slc");
    pack_store(source(), store, nest_all(keep_floats));
    return store;
  }
  TemporaryFolder folder_;
};

inline std::vector<NestedSource> nested_sources() {
  return {{"q8_0", TensorType::kQ8_0, {}},
          {"q4_0", TensorType::kQ4_0, as_q4_0},
          {"mxfp4", TensorType::kMXFP4, as_mxfp4},
          {"bf16", TensorType::kBF16, as_bf16}};
}

}  // namespace sluice::test
