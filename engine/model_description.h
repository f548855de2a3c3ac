#pragma once
// An architecture as data: everything that the forward pass must know about a model besides its
// weights. Built from a checkpoint's settings and from which tensors it has; the pass reads this
// and never asks for a model's name.

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "base/compute.h"
#include "base/status.h"
#include "formats/checkpoint.h"

namespace sluice {

/// Which vectors an RMS norm runs over before RoPE.
enum class QkNorm : std::uint8_t {
  kNone,
  kHead,        // each head's vector, one weight [head_dim]
  kProjection,  // the whole projection, weights [heads * head_dim]
};

struct AttentionDescription {
  std::uint32_t heads = 0;
  std::uint32_t kv_heads = 0;
  std::uint32_t head_dim = 0;
  std::uint32_t value_dim = 0;
  float scale = 0;  // of q·k
  QkNorm qk_norm = QkNorm::kNone;
  std::optional<float> clamp = std::nullopt;  // of q, k and v, to [-clamp, clamp]
};

enum class RopeScaling : std::uint8_t { kNone, kLinear, kYarn };

struct RopeDescription {
  std::uint32_t rotary_dim = 0;
  double base = 10000.0;
  bool interleaved = false;  // pairs (2i, 2i+1) instead of (i, i + rotary_dim / 2)
  RopeScaling scaling = RopeScaling::kNone;
  double factor = 1.0;
  double original_context = 0;
  double beta_fast = 32.0;
  double beta_slow = 1.0;
  std::optional<double> attention_factor = std::nullopt;  // multiplies cosine and sine
};

struct RouterDescription {
  std::uint32_t experts = 0;
  std::uint32_t top_k = 0;
  bool renormalise = false;  // the chosen weights sum to 1
  float scale = 1.0f;        // of the weights
};

struct LayerDescription {
  bool sparse = false;  // routed experts; otherwise one dense FFN
  bool shared_expert = false;
  std::uint32_t ffn =
      0;  // width of the dense FFN or of the shared expert; 0 where there is neither
  std::uint32_t window = 0;  // how many positions a row sees, itself included; 0: all
};

struct ModelDescription {
  std::string name;
  std::string architecture;  // for people
  std::uint32_t vocabulary = 0;
  std::uint32_t hidden = 0;
  std::uint32_t expert_ffn = 0;
  std::uint32_t context_length = 0;  // what the model was made for
  float norm_epsilon = 0;
  AttentionDescription attention;
  RopeDescription rope;
  RouterDescription router;
  std::vector<LayerDescription> layers;

  /// kUnsupported names what this build cannot run; kCorrupt names a setting that is missing, out
  /// of range or at odds with the tensors.
  static Result<ModelDescription> from(const Checkpoint& checkpoint);
};

/// What a device must know of attention.
AttentionShape attention_shape(const ModelDescription& model, KvType kv_type);

}  // namespace sluice
