#include "engine/forward_pass.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>

#include "base/strip_layout.h"

namespace sluice {

Result<std::unique_ptr<ForwardPass>> ForwardPass::create(const ModelDescription& model,
                                                         const DenseWeights& weights,
                                                         Compute& compute, ExpertStore& store,
                                                         KvType kv_type,
                                                         const ScratchShape& shape) {
  SLUICE_ASSIGN(Scratch scratch, Scratch::create(model, shape));
  return std::unique_ptr<ForwardPass>(
      new ForwardPass(model, weights, compute, store, kv_type, std::move(scratch)));
}

ForwardPass::ForwardPass(const ModelDescription& model, const DenseWeights& weights,
                         Compute& compute, ExpertStore& store, KvType kv_type, Scratch scratch)
    : model_(model),
      weights_(weights),
      compute_(compute),
      rope_(model.rope),
      shape_(attention_shape(model, kv_type)),
      scratch_(std::move(scratch)),
      moe_(model, compute, store, scratch_) {}

Status ForwardPass::run(std::span<const Row> rows, const PassOptions& options,
                        const LogitsSink& sink) {
  SLUICE_TRY(embed(rows));
  for (std::uint32_t layer = 0; layer < model_.layers.size(); ++layer) {
    if (options.cancel != nullptr && options.cancel->load(std::memory_order_relaxed)) {
      return Status(ErrorCode::kCancelled, "stopped on request");
    }
    norm(weights_.layers()[layer].attention_norm, rows.size());
    attention(layer, rows);
    add_to_residual(rows.size());
    norm(weights_.layers()[layer].ffn_norm, rows.size());
    SLUICE_TRY(feed_forward(layer, rows.size(), options.observer));
    add_to_residual(rows.size());
  }
  write_logits(rows, sink);
  return {};
}

Status ForwardPass::embed(std::span<const Row> rows) {
  const WeightMatrix& table = weights_.embedding();
  for (std::size_t row = 0; row < rows.size(); ++row) {
    if (rows[row].token < 0 || static_cast<std::size_t>(rows[row].token) >= table.rows) {
      return Status(
          ErrorCode::kInvalidArgument,
          fmt::format("token {} is outside the vocabulary of {}", rows[row].token, table.rows));
    }
    decode_row(table, static_cast<std::size_t>(rows[row].token),
               scratch_.residual + row * model_.hidden);
    scratch_.positions[row] = rows[row].position;
  }
  rope_.fill({scratch_.positions.data(), rows.size()}, scratch_.cosines, scratch_.sines);
  return {};
}

void ForwardPass::attention(std::uint32_t layer, std::span<const Row> rows) {
  const LayerWeights& weights = weights_.layers()[layer];
  const std::size_t n = rows.size();
  const std::size_t q_width = shape_.heads * shape_.head_dim;
  const std::size_t k_width = shape_.kv_heads * shape_.head_dim;
  const std::size_t v_width = shape_.kv_heads * shape_.value_dim;

  const std::array projections{MatmulTask{.weight = weights.q,
                                          .input = scratch_.normed,
                                          .n_rows = n,
                                          .output = scratch_.q,
                                          .output_stride = q_width,
                                          .bias = weights.q_bias},
                               MatmulTask{.weight = weights.k,
                                          .input = scratch_.normed,
                                          .n_rows = n,
                                          .output = scratch_.k,
                                          .output_stride = k_width,
                                          .bias = weights.k_bias},
                               MatmulTask{.weight = weights.v,
                                          .input = scratch_.normed,
                                          .n_rows = n,
                                          .output = scratch_.v,
                                          .output_stride = v_width,
                                          .bias = weights.v_bias}};
  compute_.matmul(projections);
  norm_queries_and_keys(weights, n);
  if (const auto clamp = model_.attention.clamp) {
    const auto clamp_all = [limit = *clamp](float* values, std::size_t count) {
      for (std::size_t i = 0; i < count; ++i) values[i] = std::clamp(values[i], -limit, limit);
    };
    clamp_all(scratch_.q, n * q_width);
    clamp_all(scratch_.k, n * k_width);
    clamp_all(scratch_.v, n * v_width);
  }

  RopeTask rope{.x = scratch_.q,
                .rows = n,
                .stride = q_width,
                .heads = shape_.heads,
                .head_dim = shape_.head_dim,
                .rotary_dim = model_.rope.rotary_dim,
                .interleaved = model_.rope.interleaved,
                .cosines = scratch_.cosines,
                .sines = scratch_.sines};
  compute_.rope(rope);
  rope.x = scratch_.k;
  rope.stride = k_width;
  rope.heads = shape_.kv_heads;
  compute_.rope(rope);

  const std::uint32_t window = model_.layers[layer].window;
  for (std::size_t row = 0; row < n; ++row) {
    const std::uint32_t position = rows[row].position;
    const std::uint32_t first = window != 0 && position + 1 > window ? position + 1 - window : 0;
    scratch_.attention_rows[row] = {
        .kv = rows[row].sequence->layer(layer), .position = position, .first = first};
  }
  const std::span<const AttentionRow> places(scratch_.attention_rows.data(), n);
  compute_.store_kv(shape_, places, scratch_.k, k_width, scratch_.v, v_width);
  compute_.attention({.shape = shape_,
                      .rows = places,
                      .q = scratch_.q,
                      .q_stride = q_width,
                      .out = scratch_.attended.values,
                      .out_stride = shape_.heads * shape_.value_dim,
                      .memory = scratch_.attention_memory});

  compute_.quantise(scratch_.attended, n);
  const MatmulTask output{.weight = weights.output,
                          .input = scratch_.attended,
                          .n_rows = n,
                          .output = scratch_.block_output,
                          .output_stride = model_.hidden,
                          .bias = weights.output_bias};
  compute_.matmul({&output, 1});
}

void ForwardPass::norm_queries_and_keys(const LayerWeights& weights, std::size_t rows) {
  if (model_.attention.qk_norm == QkNorm::kNone) return;
  const auto norm_heads = [&](float* values, const float* weight, std::size_t heads) {
    // Over each head's vector, or over all heads of a row as one.
    const bool per_head = model_.attention.qk_norm == QkNorm::kHead;
    const std::size_t columns = per_head ? shape_.head_dim : heads * shape_.head_dim;
    const std::size_t vectors = per_head ? rows * heads : rows;
    compute_.norm({.x = values,
                   .x_stride = columns,
                   .weight = weight,
                   .epsilon = model_.norm_epsilon,
                   .out = values,
                   .out_stride = columns,
                   .rows = vectors,
                   .columns = columns});
  };
  norm_heads(scratch_.q, weights.q_norm, shape_.heads);
  norm_heads(scratch_.k, weights.k_norm, shape_.kv_heads);
}

Status ForwardPass::feed_forward(std::uint32_t layer, std::size_t rows, RoutingObserver* observer) {
  const LayerWeights& weights = weights_.layers()[layer];
  if (model_.layers[layer].sparse) return moe_.run(layer, weights, rows, observer);
  const FfnTask dense{.gate = weights.ffn.gate,
                      .up = weights.ffn.up,
                      .down = weights.ffn.down,
                      .input = scratch_.normed,
                      .n_rows = rows,
                      .hidden = narrowed(scratch_.dense_hidden, weights.ffn.gate.rows),
                      .output = scratch_.block_output};
  compute_.ffn({&dense, 1});
  return {};
}

void ForwardPass::add_to_residual(std::size_t rows) {
  for (std::size_t i = 0; i < rows * model_.hidden; ++i)
    scratch_.residual[i] += scratch_.block_output[i];
}

void ForwardPass::norm(const float* weight, std::size_t rows) {
  const std::size_t hidden = model_.hidden;
  compute_.norm({.x = scratch_.residual,
                 .x_stride = hidden,
                 .weight = weight,
                 .epsilon = model_.norm_epsilon,
                 .out = scratch_.normed.values,
                 .out_stride = hidden,
                 .rows = rows,
                 .columns = hidden});
  compute_.quantise(scratch_.normed, rows);
}

void ForwardPass::write_logits(std::span<const Row> rows, const LogitsSink& sink) {
  norm(weights_.output_norm(), rows.size());
  std::array<std::uint32_t, Scratch::kLogitRows> wanted{};
  std::size_t count = 0;
  for (std::size_t row = 0; row < rows.size(); ++row) {
    if (rows[row].wants_logits) wanted[count++] = static_cast<std::uint32_t>(row);
    if (count == 0 || (count < wanted.size() && row + 1 < rows.size())) continue;
    const MatmulTask head{.weight = weights_.head(),
                          .input = scratch_.normed,
                          .row_index = wanted.data(),
                          .n_rows = count,
                          .output = scratch_.logits,
                          .output_stride = model_.vocabulary};
    compute_.matmul({&head, 1});
    for (std::size_t i = 0; i < count; ++i) {
      sink(wanted[i], {scratch_.logits + i * model_.vocabulary, model_.vocabulary});
    }
    count = 0;
  }
}

}  // namespace sluice
