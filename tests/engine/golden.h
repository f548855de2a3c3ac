#pragma once
// Numbers of an independent implementation, read from safetensors files.

#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

#include "base/types.h"

namespace sluice::test {

struct Golden {
  std::vector<TokenId> ids;
  std::size_t rows = 0;  // with logits: the first of the ids
  std::size_t vocabulary = 0;
  std::vector<float> logits;  // [rows, vocabulary]
  std::size_t sparse_layers = 0;
  std::size_t top_k = 0;
  std::vector<std::int32_t> experts;  // [sparse layers, ids, top_k]; in no particular order
};

/// Throws std::runtime_error where the file is not what it should be.
Golden read_golden(const std::filesystem::path& path);

}  // namespace sluice::test
