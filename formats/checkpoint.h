#pragma once
// A checkpoint, whatever it was written as: names, shapes and places of its tensors, its settings,
// its tokenizer. GGUF files and Hugging Face folders both become this; nobody above can tell which
// it was.
//
// Names and keys are GGUF's (without the architecture's prefix in keys): tensors
// "blk.0.attn_q.weight", "blk.0.ffn_gate_exps.weight"; settings "attention.head_count",
// "expert_used_count". A Hugging Face folder is translated by the tables in hf_names.cc. Settings
// that GGUF leaves to the reader's knowledge of the architecture are spelled out by both:
// "router.renormalise", "rope.interleaved", "attention.qk_norm" … (architectures.cc).
//
// What the keys mean where the name alone does not say:
//   attention.sliding_window         a position sees itself and the window - 1 before it
//   attention.sliding_window_layers  1 for each layer that has the window; absent: all have it
//   attention.qk_norm                "none", "head" (each for itself), "projection" (all as one)
//   attention.clamp_kqv              q, k and v are clamped to plus or minus this
//   rope.interleaved                 pairs (2i, 2i + 1), else (i, i + dimensions / 2)
//   rope.scaling.attn_factor         multiplies YaRN's own 0.1 ln(factor) + 1; absent: 1
//   router.score                     "softmax" or "sigmoid", over all experts
//   router.renormalise               whether the chosen weights are made to sum to 1
//   feed_forward.activation          "silu"; a Hugging Face folder may name another
//   config.<key>                     of config.json, where the architecture is unknown

#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "base/status.h"
#include "base/tensor_format.h"
#include "base/tokenizer_data.h"

namespace sluice {

/// A run of bytes in one of the checkpoint's files.
struct FileRange {
  std::uint32_t file = 0;  // index into Checkpoint::files
  std::uint64_t offset = 0;
  std::uint64_t bytes = 0;
};

/// One tensor. Shape is outermost first: [rows, columns] for a matrix, [experts, rows, columns] for
/// stacked experts.
struct TensorInfo {
  std::string name;
  TensorType type = TensorType::kF32;
  std::vector<std::uint64_t> shape;
  /// One range; or, for stacked experts that the file keeps apart, one for each expert in order.
  std::vector<FileRange> ranges;

  std::uint64_t elements() const;
  std::uint64_t bytes() const;
  /// The bytes of slice `index` along the outermost dimension, whichever way they are kept.
  /// REQUIRES: index < shape[0].
  FileRange slice(std::uint64_t index) const;
};

using Setting = std::variant<bool, std::int64_t, double, std::string, std::vector<std::int64_t>,
                             std::vector<double>>;

/// Everything known about a checkpoint without reading a weight. Immutable after opening.
struct Checkpoint {
  std::vector<std::string> files;
  std::string container;     // "GGUF v3", "safetensors": for people only
  std::string architecture;  // GGUF's name: "qwen3moe"
  std::map<std::string, Setting, std::less<>> settings;
  std::map<std::string, TensorInfo, std::less<>> tensors;
  /// Tensors that are there, in a number format that this build cannot read: name → the format's
  /// name.
  std::map<std::string, std::string, std::less<>> unreadable;
  TokenizerData tokenizer;

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

/// `path`: a .gguf file (the first of a split set finds the others) or a Hugging Face folder. Every
/// header field is validated before use; errors name the field and its offset. Leaves nothing of
/// consequence in the page cache.
Result<Checkpoint> open_checkpoint(const std::string& path,
                                   CheckpointParts parts = CheckpointParts::kEverything);

}  // namespace sluice
