#pragma once
// An architecture as data: everything that the forward pass must know about a model besides its
// weights. Built from a checkpoint's settings and from which tensors it has; the pass reads this
// and never asks for a model's name. formats/settings.cc says what every setting means.

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "base/operations.h"
#include "base/status.h"
#include "formats/checkpoint.h"
#include "layers/router.h"

namespace sluice {

/// Which vectors of queries and keys an RMS norm runs over.
enum class QkNorm : std::uint8_t {
  kNone,
  kHead,        // each head's vector, one weight [head_dim], before RoPE
  kProjection,  // the whole projection, weights [heads * head_dim], before RoPE
  kUnweighted,  // each head's vector, no weights, after RoPE and only where there is RoPE
};

/// Multi-head latent attention: what is kept of a position is one vector for all heads, from which
/// their keys and values could be made. `plain_dim` + the rotary dimensions are a head's key.
struct LatentDescription {
  std::uint32_t kv_rank = 0;
  std::uint32_t q_rank = 0;  // queries through so narrow a middle; 0: directly
  std::uint32_t plain_dim = 0;
  float norm_epsilon = 0;
};

/// The attention of one layer.
struct AttentionDescription {
  std::uint32_t heads = 0;
  std::uint32_t kv_heads = 0;
  std::uint32_t head_dim = 0;   // of a head's query and key
  std::uint32_t value_dim = 0;  // of a head's value
  float scale = 0;              // of q·k
  QkNorm qk_norm = QkNorm::kNone;
  std::optional<float> clamp = std::nullopt;  // of q, k and v, to [-clamp, clamp]
  bool value_norm = false;                    // each head's value, no weights
  bool value_is_key = false;                  // what attn_k gives, before norm and RoPE
  bool output_gate = false;                   // attn_q gives a gate after each head's query
  std::uint32_t window = 0;       // how many positions a row sees, itself included; 0: all
  bool window_in_chunks = false;  // instead: those of its own run of `window` positions
  float temperature_scale = 0;    // see attention.temperature_scale; 0: none
  std::uint32_t temperature_length = 1;
  std::optional<std::uint32_t> rope;  // index into ModelDescription::ropes; none: no RoPE
  std::optional<LatentDescription> latent;

  /// The first position that a row at `position` sees.
  std::uint32_t first_seen(std::uint32_t position) const {
    if (window == 0) return 0;
    if (window_in_chunks) return position / window * window;
    return position + 1 > window ? position + 1 - window : 0;
  }
  /// Floats that the projection of a row's queries gives.
  std::size_t query_floats() const { return std::size_t{heads} * head_dim * (output_gate ? 2 : 1); }
};

enum class RopeScaling : std::uint8_t { kNone, kLinear, kYarn, kLongRope };

struct RopeDescription {
  std::uint32_t rotary_dim = 0;
  double base = 10000.0;
  bool interleaved = false;  // pairs (2i, 2i+1) instead of (i, i + rotary_dim / 2)
  RopeScaling scaling = RopeScaling::kNone;
  double factor = 1.0;
  double original_context = 0;
  double beta_fast = 32.0;
  double beta_slow = 1.0;
  bool truncate = true;           // YaRN's ramp ends at whole pairs
  double attention_factor = 1.0;  // multiplies cosine and sine
  double attention_factor_long = 1.0;
  std::vector<double> factors = {};       // [rotary_dim / 2], dividing the frequencies; empty: none
  std::vector<double> factors_long = {};  // of kLongRope, for contexts beyond the original

  bool operator==(const RopeDescription&) const = default;
};

struct LayerDescription {
  AttentionDescription attention;
  bool recurrent = false;        // a gated delta net instead of attention
  bool sparse = false;           // routed experts
  std::uint32_t dense_ffn = 0;   // width of a dense network, instead of the experts or beside them
  std::uint32_t shared_ffn = 0;  // width of what every token uses among the experts; 0: none
};

struct ModelDescription {
  std::string name;
  std::string architecture;  // for people
  std::uint32_t vocabulary = 0;
  std::uint32_t hidden = 0;
  std::uint32_t expert_ffn = 0;
  std::uint32_t context_length = 0;  // what the model was made for
  NormKind norm_kind = NormKind::kRms;
  float norm_epsilon = 0;
  float embedding_scale = 1;
  float residual_scale = 1;  // of what each part of a layer adds
  float logit_scale = 1;
  std::optional<float> logit_softcap;  // c: logits become c tanh(logit / c)
  Activation activation = Activation::kSilu;
  float swiglu_alpha = 0;  // of Activation::kClampedSwiglu
  float swiglu_limit = 0;
  std::vector<RopeDescription> ropes;
  DeltaNetShape delta_net;  // of recurrent layers
  RouterDescription router;
  std::vector<LayerDescription> layers;

  /// kUnsupported names what this build cannot run; kCorrupt names a setting that is missing, out
  /// of range or at odds with the tensors.
  static Result<ModelDescription> from(const Checkpoint& checkpoint);
};

/// What a device must know of a layer's attention. Latent attention is, to it, one key/value head
/// whose value is the beginning of its key.
AttentionShape attention_shape(const AttentionDescription& attention, KvType kv_type);

}  // namespace sluice
