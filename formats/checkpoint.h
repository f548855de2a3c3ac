#pragma once
// A checkpoint, whatever it was written as: names, shapes and places of its tensors, its settings,
// its tokenizer. GGUF files, Hugging Face folders and Sluice's own stores all become this; nobody
// above can tell which it was.
//
// Names and keys are GGUF's (without the architecture's prefix in keys): tensors
// "blk.0.attn_q.weight", "blk.0.ffn_gate_exps.weight"; settings "attention.head_count",
// "expert_used_count". A Hugging Face folder is translated by the tables in hf_names.cc and
// hf_settings.cc. What GGUF leaves to the reader's knowledge of the architecture is spelled out by
// both: "router.renormalise", "attention.qk_norm" … settings.cc says what every setting means, and
// tensor_arrangement.h which tensors are taken apart. "config.<key>" is of config.json, where the
// architecture is unknown.

#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "base/status.h"
#include "base/tokenizer_data.h"
#include "formats/tensor_info.h"

namespace sluice {

/// A run of bytes whose checksum the file keeps: what lies in it is checked when it is read.
struct CheckedBlock {
  std::uint32_t file = 0;  // index into Checkpoint::files
  std::uint64_t offset = 0;
  std::uint64_t bytes = 0;
  std::uint64_t checksum = 0;  // formats/checksum.h
};

using Setting = std::variant<bool, std::int64_t, double, std::string, std::vector<std::int64_t>,
                             std::vector<double>>;

/// Everything known about a checkpoint without reading a weight. Immutable after opening.
struct Checkpoint {
  std::vector<std::string> files;
  std::string container;     // "GGUF v3", "safetensors": for people only
  std::string architecture;  // GGUF's name: "qwen3moe"
  std::map<std::string, Setting, std::less<>> settings;
  std::string settings_file;  // where they stand
  /// What that file calls those that it names otherwise.
  std::map<std::string, std::string, std::less<>> setting_names;
  std::map<std::string, TensorInfo, std::less<>> tensors;
  /// Tensors that are there, in a number format that this build cannot read: name → the format's
  /// name.
  std::map<std::string, std::string, std::less<>> unreadable;
  /// Ascending, and apart from each other; none of a container that keeps no checksums.
  std::vector<CheckedBlock> blocks;
  TokenizerData tokenizer;

  /// "qwen3/config.json: 'num_experts'": where a setting stands, for messages about it.
  std::string source_of(std::string_view setting) const;

  /// The block that the whole range lies in; null where there is none.
  const CheckedBlock* block_of(const FileRange& range) const;
  /// kCorrupt: what was read of a block is not what was written there.
  Status damaged(const CheckedBlock& block) const;

  const TensorInfo* find(std::string_view name) const;
  /// The same for a tensor that must be there: kNotFound, or kUnsupported naming its format. Never
  /// null.
  Result<const TensorInfo*> require(std::string_view name) const;
  /// Typed look-ups. A missing key gives nullopt; a key of another type is kCorrupt and names the
  /// key.
  Result<std::optional<std::int64_t>> integer(std::string_view key) const;
  Result<std::optional<double>> real(std::string_view key) const;  // integers convert
  Result<std::optional<bool>> boolean(std::string_view key) const;
  Result<std::optional<std::string>> text(std::string_view key) const;
  Result<std::optional<std::vector<std::int64_t>>> integers(std::string_view key) const;
  Result<std::optional<std::vector<double>>> reals(std::string_view key) const;
};

/// What is wanted of it: tokenize and info need no weights.
enum class CheckpointParts { kEverything, kTokenizerOnly };

/// `path`: a .gguf file (the first of a split set finds the others), a Hugging Face folder, or a
/// file that begins as a store does. Every
/// header field is validated before use; errors name the field and its offset. Leaves nothing of
/// consequence in the page cache.
Result<Checkpoint> open_checkpoint(const std::string& path,
                                   CheckpointParts parts = CheckpointParts::kEverything);

}  // namespace sluice
