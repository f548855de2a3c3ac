#include "layers/weight_binder.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <optional>

#include "formats/stored_layout.h"
#include "formats/weight_view.h"

namespace sluice {

Status WeightBinder::bind(DenseWeights& weights) {
  const std::size_t hidden = model_.hidden;
  SLUICE_TRY(matrix("token_embd.weight", model_.vocabulary, hidden, weights.embedding_));
  weights.head_ = weights.embedding_;
  if (find("output.weight") != nullptr) {
    SLUICE_TRY(matrix("output.weight", model_.vocabulary, hidden, weights.head_));
  }
  SLUICE_TRY(optional_vector("output.bias", model_.vocabulary, weights.head_bias_));
  SLUICE_TRY(norm("output_norm", weights.output_norm_));
  weights.layers_.resize(model_.layers.size());
  for (std::size_t i = 0; i < model_.layers.size(); ++i) {
    prefix_ = fmt::format("blk.{}.", i);
    const LayerDescription& shape = model_.layers[i];
    LayerWeights& layer = weights.layers_[i];
    weights.layer_begins_.push_back(used_);
    SLUICE_TRY(norm("attn_norm", layer.attention_norm));
    SLUICE_TRY(shape.recurrent ? delta_net(layer.delta_net)
                               : attention(shape.attention, layer.attention));
    SLUICE_TRY(optional_norm("post_attention_norm", layer.post_attention_norm));
    SLUICE_TRY(feed_forward(shape, layer));
    SLUICE_TRY(optional_vector("layer_output_scale.weight", 1, layer.output_scale));
  }
  weights.layer_begins_.push_back(used_);
  return refuse_unused();
}

Status WeightBinder::refuse_unused() const {
  std::vector<std::string_view> unused;
  for (const auto& [name, tensor] : checkpoint_.tensors) {
    const bool of_experts = name.find("_exps.weight") != std::string::npos;
    if (of_experts || used_names_.contains(name)) continue;
    for (std::size_t i = 0; i < model_.layers.size(); ++i) {
      if (name.starts_with(fmt::format("blk.{}.", i))) unused.push_back(name);
    }
  }
  if (unused.empty()) return {};
  return Status(
      ErrorCode::kUnsupported,
      fmt::format("the tensor '{}'{} is nothing that this version knows to do with a "
                  "model of this architecture: it would run wrongly without",
                  unused[0],
                  unused.size() == 1 ? "" : fmt::format(" (and {} more)", unused.size() - 1)));
}

Status WeightBinder::attention(const AttentionDescription& shape, AttentionWeights& weights) {
  const std::size_t hidden = model_.hidden;
  const std::size_t q = shape.query_floats();
  const std::size_t k = std::size_t{shape.kv_heads} * shape.head_dim;
  const std::size_t v = std::size_t{shape.kv_heads} * shape.value_dim;
  SLUICE_TRY(matrix("attn_output.weight", hidden, std::size_t{shape.heads} * shape.value_dim,
                    weights.output));
  SLUICE_TRY(optional_vector("attn_output.bias", hidden, weights.output_bias));
  SLUICE_TRY(optional_vector("attn_sinks.weight", shape.heads, weights.sinks));
  if (shape.latent) return latent(shape, weights);
  SLUICE_TRY(matrix("attn_q.weight", q, hidden, weights.q));
  SLUICE_TRY(matrix("attn_k.weight", k, hidden, weights.k));
  SLUICE_TRY(optional_vector("attn_q.bias", q, weights.q_bias));
  SLUICE_TRY(optional_vector("attn_k.bias", k, weights.k_bias));
  if (!shape.value_is_key) {
    SLUICE_TRY(matrix("attn_v.weight", v, hidden, weights.v));
    SLUICE_TRY(optional_vector("attn_v.bias", v, weights.v_bias));
  }
  if (shape.qk_norm == QkNorm::kHead || shape.qk_norm == QkNorm::kProjection) {
    const bool per_head = shape.qk_norm == QkNorm::kHead;
    const std::size_t all = std::size_t{shape.heads} * shape.head_dim;
    SLUICE_TRY(vector("attn_q_norm.weight", per_head ? shape.head_dim : all, weights.q_norm));
    SLUICE_TRY(vector("attn_k_norm.weight", per_head ? shape.head_dim : k, weights.k_norm));
  }
  return {};
}

Status WeightBinder::latent(const AttentionDescription& shape, AttentionWeights& weights) {
  const LatentDescription& latent = *shape.latent;
  const std::size_t hidden = model_.hidden;
  const std::size_t heads = shape.heads;
  const std::size_t turning = shape.head_dim - latent.plain_dim;
  LatentWeights& parts = weights.latent;
  if (latent.q_rank != 0) {
    SLUICE_TRY(matrix("attn_q_a.weight", latent.q_rank, hidden, parts.q_a));
    SLUICE_TRY(vector("attn_q_a_norm.weight", latent.q_rank, parts.q_norm));
    SLUICE_TRY(matrix("attn_q_b.weight", shape.query_floats(), latent.q_rank, weights.q));
  } else {
    SLUICE_TRY(matrix("attn_q.weight", shape.query_floats(), hidden, weights.q));
  }
  SLUICE_TRY(matrix("attn_kv_a_mqa.weight", latent.kv_rank + turning, hidden, parts.kv));
  SLUICE_TRY(vector("attn_kv_a_norm.weight", latent.kv_rank, parts.kv_norm));
  SLUICE_TRY(matrix("attn_k_b.weight", heads * latent.kv_rank, latent.plain_dim, parts.key));
  return matrix("attn_v_b.weight", heads * shape.value_dim, latent.kv_rank, parts.value);
}

Status WeightBinder::delta_net(DeltaNetWeights& weights) {
  const DeltaNetShape& shape = model_.delta_net;
  const std::size_t hidden = model_.hidden;
  const std::size_t inner = std::size_t{shape.value_heads} * shape.value_dim;
  SLUICE_TRY(matrix("attn_qkv.weight", shape.channels(), hidden, weights.qkv));
  SLUICE_TRY(matrix("attn_gate.weight", inner, hidden, weights.gate));
  SLUICE_TRY(matrix("ssm_alpha.weight", shape.value_heads, hidden, weights.alpha));
  SLUICE_TRY(matrix("ssm_beta.weight", shape.value_heads, hidden, weights.beta));
  SLUICE_TRY(matrix("ssm_out.weight", hidden, inner, weights.output));
  SLUICE_TRY(vector("ssm_conv1d.weight", shape.channels() * shape.kernel, weights.convolution));
  SLUICE_TRY(vector("ssm_a", shape.value_heads, weights.a));
  SLUICE_TRY(vector("ssm_dt.bias", shape.value_heads, weights.dt_bias));
  return vector("ssm_norm.weight", shape.value_dim, weights.norm);
}

Status WeightBinder::feed_forward(const LayerDescription& shape, LayerWeights& layer) {
  SLUICE_TRY(norm("ffn_norm", layer.ffn_norm));
  if (!shape.sparse && shape.dense_ffn == 0) {
    return Status(
        ErrorCode::kCorrupt,
        fmt::format("the tensor '{}ffn_gate.weight' is missing or has no shape", prefix_));
  }
  if (shape.dense_ffn != 0) SLUICE_TRY(network("", shape.dense_ffn, layer.dense));
  if (shape.sparse) SLUICE_TRY(router(layer));
  if (shape.shared_ffn != 0) {
    SLUICE_TRY(network("_shexp", shape.shared_ffn, layer.shared));
    if (find("ffn_gate_inp_shexp.weight") != nullptr) {
      SLUICE_TRY(matrix("ffn_gate_inp_shexp.weight", 1, model_.hidden, layer.shared_gate));
    }
  }
  SLUICE_TRY(optional_norm("post_ffw_norm", layer.post_ffn_norm));
  SLUICE_TRY(optional_norm("post_ffw_norm_1", layer.post_dense_norm));
  SLUICE_TRY(optional_norm("pre_ffw_norm_2", layer.pre_experts_norm));
  return optional_norm("post_ffw_norm_2", layer.post_experts_norm);
}

Status WeightBinder::network(std::string_view suffix, std::size_t width, FfnWeights& weights) {
  const auto name = [&](std::string_view part) {
    return fmt::format("ffn_{}{}.weight", part, suffix);
  };
  SLUICE_TRY(matrix(name("gate"), width, model_.hidden, weights.gate));
  SLUICE_TRY(matrix(name("up"), width, model_.hidden, weights.up));
  return matrix(name("down"), model_.hidden, width, weights.down);
}

Status WeightBinder::router(LayerWeights& layer) {
  const std::size_t experts = model_.router.experts;
  RouterWeights& weights = layer.router;
  SLUICE_TRY(matrix("ffn_gate_inp.weight", experts, model_.hidden, weights.matrix));
  SLUICE_TRY(optional_vector("ffn_gate_inp.bias", experts, weights.bias));
  if (model_.router.selection_bias) {
    SLUICE_TRY(vector("exp_probs_b.bias", experts, weights.selection_bias));
  }
  if (model_.router.input == RouterInput::kOwnNorm) {
    SLUICE_TRY(vector("ffn_gate_inp.scale", model_.hidden, weights.input_scale));
  }
  SLUICE_TRY(optional_vector("ffn_down_exps.scale", experts, weights.expert_scale));
  const std::size_t ffn = model_.expert_ffn;
  SLUICE_TRY(optional_vector("ffn_gate_exps.bias", experts * ffn, layer.expert_biases.gate));
  SLUICE_TRY(optional_vector("ffn_up_exps.bias", experts * ffn, layer.expert_biases.up));
  return optional_vector("ffn_down_exps.bias", experts * model_.hidden, layer.expert_biases.down);
}

const TensorInfo* WeightBinder::find(std::string_view name) {
  const TensorInfo* const found = checkpoint_.find(prefix_ + std::string(name));
  if (found != nullptr) used_names_.insert(found->name);
  return found;
}

/// All elements of the tensor count: several heads' matrices are one matrix, a vector one row.
Result<const TensorInfo*> WeightBinder::require(std::string_view name, std::size_t elements) {
  const TensorInfo* found = find(name);
  if (found == nullptr) {
    return Status(ErrorCode::kCorrupt, fmt::format("the tensor '{}{}' is missing", prefix_, name));
  }
  if (found->elements() != elements || found->shape.empty()) {
    return Status(ErrorCode::kCorrupt,
                  fmt::format("the tensor '{}' should have {} elements and is {}", found->name,
                              elements, fmt::join(found->shape, " x ")));
  }
  if (find_tensor_format(found->type) == nullptr) {
    return Status(ErrorCode::kUnsupported,
                  fmt::format("the tensor '{}' has type {}, which this version does not read",
                              found->name, static_cast<std::uint32_t>(found->type)));
  }
  return found;
}

Status WeightBinder::matrix(std::string_view name, std::size_t rows, std::size_t columns,
                            WeightMatrix& matrix) {
  SLUICE_ASSIGN(const TensorInfo* found, require(name, rows * columns));
  if (found->shape.back() != columns) {
    return Status(ErrorCode::kCorrupt,
                  fmt::format("the tensor '{}' should be {} x {} and is {}", found->name, rows,
                              columns, fmt::join(found->shape, " x ")));
  }
  const TensorFormat& format = tensor_format(found->type);
  matrix = {.format = &format, .data = nullptr, .rows = rows, .columns = columns};
  if (found->stored && coded(*found, matrix)) return {};
  std::byte* to = place(matrix.bytes());
  matrix.data = to;
  if (found->stored) {
    conversions_.push_back({found, to, false});
    return {};
  }
  for (const FileRange& range : found->ranges) {
    pieces_.push_back({range, to});
    if (to != nullptr) to += range.bytes;
  }
  return {};
}

/// FP8 stays as it is, its scales beside it: false where kernels cannot use it so.
bool WeightBinder::coded(const TensorInfo& tensor, WeightMatrix& matrix) {
  const bool one = tensor.ranges.size() == 1 && tensor.stored->scales.size() == 1 &&
                   tensor.shape.size() >= 2 &&
                   tensor.elements() == tensor.stored->rows * tensor.stored->columns;
  if (!one || !check_range(tensor, tensor.ranges[0].bytes, tensor.stored->scales[0].bytes).ok()) {
    return false;
  }
  const std::optional<WeightView> view = weight_view(tensor);
  if (!view) return false;
  matrix = view->matrix;
  const auto part = [&](FileRange range, std::uint64_t offset, std::uint64_t bytes) {
    std::byte* const to = place(bytes);
    pieces_.push_back({{range.file, range.offset + offset, bytes}, to});
    return to;
  };
  matrix.data = part(tensor.ranges[0], view->offset, matrix.bytes());
  matrix.scales.data = part(tensor.stored->scales[0], view->scales_offset,
                            matrix.scales.row_offset(matrix.rows - 1, matrix.columns) +
                                matrix.scales.row_offset(matrix.scales.block_rows, matrix.columns));
  return true;
}

Status WeightBinder::vector(std::string_view name, std::size_t length, const float*& values) {
  SLUICE_ASSIGN(const TensorInfo* found, require(name, length));
  if (tensor_format(found->type).quantised()) {
    return Status(ErrorCode::kCorrupt,
                  fmt::format("the tensor '{}' should be a float vector of {} and is {}",
                              found->name, length, tensor_format(found->type).name));
  }
  std::byte* const to = place(length * sizeof(float));
  conversions_.push_back({found, to, true});
  values = reinterpret_cast<const float*>(to);
  return {};
}

Status WeightBinder::optional_vector(std::string_view name, std::size_t length,
                                     const float*& values) {
  return find(name) == nullptr ? Status() : vector(name, length, values);
}

Status WeightBinder::norm(std::string_view name, NormWeights& norm) {
  SLUICE_TRY(vector(fmt::format("{}.weight", name), model_.hidden, norm.weight));
  return optional_vector(fmt::format("{}.bias", name), model_.hidden, norm.bias);
}

Status WeightBinder::optional_norm(std::string_view name, NormWeights& norm_weights) {
  return find(fmt::format("{}.weight", name)) == nullptr ? Status() : norm(name, norm_weights);
}

std::byte* WeightBinder::place(std::uint64_t bytes) {
  std::byte* destination = memory_ == nullptr ? nullptr : memory_ + used_;
  used_ += (bytes + 63) / 64 * 64;
  return destination;
}

}  // namespace sluice
