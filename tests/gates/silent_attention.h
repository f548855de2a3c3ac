#pragma once
// Models whose attention adds nothing: what a router reads after it is known before.

#include <cstdint>
#include <filesystem>
#include <fstream>
#include <string>
#include <string_view>

#include "formats/checkpoint.h"

namespace sluice::test {

/// Writes zeros over what attention's output is multiplied by, and what a bias would add to it, in
/// the only file of the checkpoint. Zero bytes are zeros in every format.
inline void silence_attention(const Checkpoint& checkpoint) {
  std::fstream file(checkpoint.files.at(0), std::ios::binary | std::ios::in | std::ios::out);
  for (const auto& [name, tensor] : checkpoint.tensors) {
    bool adds = false;
    for (const std::string_view end : {".attn_output.weight", ".attn_output.bias",
                                       ".ssm_out.weight", ".post_attention_norm.bias"}) {
      adds = adds || name.ends_with(end);
    }
    if (!adds) continue;
    for (const FileRange& range : tensor.ranges) {
      file.seekp(static_cast<std::streamoff>(range.offset));
      file << std::string(range.bytes, '\0');
    }
  }
}

}  // namespace sluice::test
