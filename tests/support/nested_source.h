#pragma once
// A small checkpoint of each kind of numbers that become planes: floats, codes of 8 and of 4 bits
// and of a code book, a layer of two kinds, and one with blocks of 256.

#include <array>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <fstream>
#include <random>
#include <stdexcept>
#include <string>
#include <vector>

#include "base/half.h"
#include "formats/checkpoint.h"
#include "formats/expert_tensors.h"

namespace sluice::test {

class NestedSource {
 public:
  static constexpr std::size_t kExperts = 3, kHidden = 64, kWide = 256, kFfn = 32;
  static constexpr std::uint32_t kLayers = 6;

  explicit NestedSource(std::string file) : file_(std::move(file)) {
    checkpoint.files = {file_};
    checkpoint.architecture = "of a test";
    std::mt19937_64 random(1);
    add("token_embd.weight", TensorType::kF32, {8, kHidden}, random);
    constexpr std::array<std::array<TensorType, 3>, kLayers> kTypes = {
        {{TensorType::kBF16, TensorType::kBF16, TensorType::kBF16},
         {TensorType::kQ8_0, TensorType::kQ8_0, TensorType::kQ8_0},
         {TensorType::kQ4_0, TensorType::kQ4_0, TensorType::kQ4_0},
         {TensorType::kF16, TensorType::kF32, TensorType::kQ8_0},
         {TensorType::kMXFP4, TensorType::kMXFP4, TensorType::kMXFP4},
         {TensorType::kQ4_K, TensorType::kQ6_K, TensorType::kMXFP4}}};
    for (std::uint32_t layer = 0; layer < kLayers; ++layer) {
      const std::size_t hidden = layer == 5 ? kWide : kHidden;
      for (std::size_t i = 0; i < 3; ++i) {
        add(expert_tensor_name(layer, kExpertMatrices[i]), kTypes[layer][i],
            {kExperts, i == 2 ? hidden : kFfn, i == 2 ? kFfn : hidden}, random);
      }
    }
    write();
  }

  /// Puts a number in the place of one of layer 0's.
  void set(const std::string& tensor, std::size_t expert, std::size_t row, std::size_t column,
           float number) {
    const TensorInfo& info = checkpoint.tensors.at(tensor);
    const std::size_t at = (expert * info.shape[1] + row) * info.shape[2] + column;
    const std::uint16_t bits = float_to_bf16(number);
    std::memcpy(bytes_.data() + info.ranges[0].offset + 2 * at, &bits, sizeof(bits));
    write();
  }

  Checkpoint checkpoint;

 private:
  void add(const std::string& name, TensorType type, std::vector<std::uint64_t> shape,
           std::mt19937_64& random) {
    TensorInfo tensor{name, type, std::move(shape), {}};
    const std::uint64_t bytes = tensor_format(type).bytes(tensor.elements());
    bytes_.resize((bytes_.size() + 31) / 32 * 32);
    tensor.ranges = {{0, bytes_.size(), bytes}};
    bytes_.resize(bytes_.size() + bytes);
    fill(type, bytes_.data() + tensor.ranges[0].offset, bytes, random);
    checkpoint.tensors[name] = std::move(tensor);
  }

  /// Numbers as models have them; codes are any, with scales that are numbers.
  static void fill(TensorType type, char* out, std::uint64_t bytes, std::mt19937_64& random) {
    std::normal_distribution<float> normal(0, 0.02f);
    const std::size_t block = tensor_format(type).block_bytes;
    for (std::uint64_t at = 0; at < bytes; at += block) {
      const float number = normal(random);
      const std::uint16_t half =
          type == TensorType::kBF16 ? float_to_bf16(number) : float_to_half(number);
      for (std::size_t i = 0; i < block; ++i) out[at + i] = static_cast<char>(random() >> 7);
      if (type == TensorType::kMXFP4) {
        out[at] = static_cast<char>(118 + random() % 6);
        continue;
      }
      if (type == TensorType::kQ4_K) std::memcpy(out + at + 2, &half, sizeof(half));
      std::memcpy(out + at + (type == TensorType::kQ6_K ? 208 : 0),
                  type == TensorType::kF32 ? static_cast<const void*>(&number) : &half,
                  type == TensorType::kF32 ? sizeof(number) : sizeof(half));
    }
  }

  void write() const {
    std::ofstream file(file_, std::ios::binary);
    file.write(bytes_.data(), static_cast<std::streamsize>(bytes_.size()));
    if (!file.flush()) throw std::runtime_error("write " + file_);
  }

  std::string file_;
  std::vector<char> bytes_;
};

}  // namespace sluice::test
