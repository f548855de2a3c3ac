#pragma once
// Checkpoints of random bytes in memory, laid out as GGUF files, as folders of separate tensors, or
// with an expert's matrices side by side.

#include <algorithm>
#include <array>
#include <cstdint>
#include <cstring>
#include <random>
#include <string>
#include <string_view>
#include <vector>

#include "formats/checkpoint.h"

namespace sluice::test {

enum class Placement {
  kStacked,   // GGUF: one tensor for all experts, at multiples of 32
  kApart,     // safetensors: a tensor for each expert, anywhere, over several files
  kAdjacent,  // gate, up and down of an expert back to back
};

struct FakeLayer {
  std::uint32_t layer = 0;
  std::uint32_t experts = 8;
  std::array<TensorType, 3> types = {TensorType::kQ4_K, TensorType::kQ4_K, TensorType::kQ6_K};
  std::size_t hidden = 256;
  std::size_t ffn = 256;
};

struct FakeCheckpoint {
  Checkpoint checkpoint;
  std::vector<std::vector<std::byte>> files;
};

inline FakeCheckpoint make_checkpoint(const std::vector<FakeLayer>& layers, Placement placement,
                                      unsigned seed = 7) {
  constexpr std::array<std::string_view, 3> kNames = {"gate", "up", "down"};
  std::mt19937 random(seed);
  FakeCheckpoint fake;
  const std::size_t n_files = placement == Placement::kApart ? 3 : 1;
  for (std::size_t i = 0; i < n_files; ++i) {
    fake.checkpoint.files.push_back("model-" + std::to_string(i) + ".bin");
  }
  std::vector<std::uint64_t> ends(n_files);
  const auto place = [&](std::uint64_t bytes, std::uint64_t unit, std::uint64_t most_gap) {
    const auto file = static_cast<std::uint32_t>(random() % n_files);
    std::uint64_t offset = ends[file] + (most_gap > 0 ? random() % most_gap : 0);
    offset = (offset + unit - 1) / unit * unit;
    ends[file] = offset + bytes;
    return FileRange{file, offset, bytes};
  };
  for (const FakeLayer& layer : layers) {
    std::array<TensorInfo, 3> tensors;
    for (std::size_t i = 0; i < 3; ++i) {
      tensors[i].name =
          "blk." + std::to_string(layer.layer) + ".ffn_" + std::string(kNames[i]) + "_exps.weight";
      tensors[i].type = layer.types[i];
      tensors[i].shape = {layer.experts, i == 2 ? layer.hidden : layer.ffn,
                          i == 2 ? layer.ffn : layer.hidden};
    }
    const auto slice_bytes = [&](std::size_t i) {
      return tensor_format(layer.types[i]).bytes(layer.hidden * layer.ffn);
    };
    if (placement == Placement::kStacked) {
      for (std::size_t i = 0; i < 3; ++i) {
        tensors[i].ranges = {place(slice_bytes(i) * layer.experts, 32, 9000)};
      }
    } else {
      for (std::uint32_t expert = 0; expert < layer.experts; ++expert) {
        for (std::size_t i = 0; i < 3; ++i) {
          const std::uint64_t gap = placement == Placement::kApart ? 3000 : i == 0 ? 700 : 0;
          tensors[i].ranges.push_back(place(slice_bytes(i), 1, gap));
        }
      }
    }
    for (TensorInfo& tensor : tensors) fake.checkpoint.tensors[tensor.name] = tensor;
  }
  for (const std::uint64_t end : ends) {
    // Ends right after its last tensor: the last sector is not whole.
    std::vector<std::byte>& bytes = fake.files.emplace_back(end);
    for (std::uint64_t at = 0; at + 4 <= end; at += 4) {
      const auto word = static_cast<std::uint32_t>(random());
      std::memcpy(bytes.data() + at, &word, 4);
    }
  }
  return fake;
}

}  // namespace sluice::test
