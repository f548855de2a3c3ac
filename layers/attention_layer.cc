#include "layers/attention_layer.h"

#include <algorithm>
#include <array>
#include <cmath>

#include "base/canonical.h"
#include "layers/tasks.h"

namespace sluice {

void AttentionLayer::run(std::uint32_t layer, const AttentionWeights& weights,
                         std::span<const Row> rows) {
  const AttentionDescription& description = model_.layers[layer].attention;
  const AttentionShape shape = attention_shape(description, kv_type_);
  const std::size_t n = rows.size();
  if (description.latent) {
    project_latent(description, weights, n);
  } else {
    project(description, weights, n);
  }
  for (std::size_t row = 0; row < n; ++row) {
    const std::uint32_t position = rows[row].position;
    scratch_.attention_rows[row] = {.kv = rows[row].sequence->layer(layer),
                                    .position = position,
                                    .first = description.first_seen(position)};
  }
  const std::span<const AttentionRow> places(scratch_.attention_rows.data(), n);
  operations_.store_kv(shape, places, scratch_.k, shape.kv_heads * shape.head_dim, scratch_.v,
                       shape.kv_heads * shape.value_dim);
  const Activations attended =
      narrowed(scratch_.attended, std::size_t{description.heads} * description.value_dim);
  operations_.attention(
      {.shape = shape,
       .rows = places,
       .q = scratch_.q,
       .q_stride = shape.heads * shape.head_dim,
       .out = description.latent ? scratch_.latent_values.values : attended.values,
       .out_stride = shape.heads * shape.value_dim,
       .sinks = weights.sinks,
       .memory = scratch_.attention_memory});
  if (description.latent) values_of_latents(description, weights.latent.value, n);
  if (description.output_gate) {
    map(MapOp::kGate, attended.values, attended.columns, scratch_.gate, attended.columns, n,
        attended.columns);
  }
  operations_.quantise(attended, n);
  const MatmulTask output =
      product(weights.output, attended, n, scratch_.block_output, weights.output_bias);
  operations_.matmul({&output, 1});
}

void AttentionLayer::project(const AttentionDescription& shape, const AttentionWeights& weights,
                             std::size_t rows) {
  const std::size_t k_width = std::size_t{shape.kv_heads} * shape.head_dim;
  const auto task = [&](const WeightMatrix& weight, const float* bias, float* output) {
    return product(weight, scratch_.normed, rows, output, bias);
  };
  const std::array projections{
      task(weights.q, weights.q_bias, shape.output_gate ? scratch_.projected : scratch_.q),
      task(weights.k, weights.k_bias, scratch_.k), task(weights.v, weights.v_bias, scratch_.v)};
  operations_.matmul({projections.data(), shape.value_is_key ? 2u : 3u});
  if (shape.value_is_key)
    map(MapOp::kCopy, scratch_.v, k_width, scratch_.k, k_width, rows, k_width);
  if (shape.output_gate) split_gates(shape, rows);
  norm_and_turn(shape, weights, rows);
}

/// Each head's query is followed by its gate.
void AttentionLayer::split_gates(const AttentionDescription& shape, std::size_t rows) {
  const std::size_t dim = shape.head_dim, heads = rows * shape.heads;
  map(MapOp::kCopy, scratch_.q, dim, scratch_.projected, 2 * dim, heads, dim);
  map(MapOp::kCopy, scratch_.gate, dim, scratch_.projected + dim, 2 * dim, heads, dim);
}

void AttentionLayer::norm_and_turn(const AttentionDescription& shape,
                                   const AttentionWeights& weights, std::size_t rows) {
  const std::size_t dim = shape.head_dim;
  const std::size_t q_width = shape.heads * dim, k_width = shape.kv_heads * dim;
  if (shape.qk_norm == QkNorm::kHead) {
    norm_heads(scratch_.q, weights.q_norm, dim, rows * shape.heads);
    norm_heads(scratch_.k, weights.k_norm, dim, rows * shape.kv_heads);
  } else if (shape.qk_norm == QkNorm::kProjection) {
    norm_heads(scratch_.q, weights.q_norm, q_width, rows);
    norm_heads(scratch_.k, weights.k_norm, k_width, rows);
  }
  if (shape.value_norm) {
    norm_heads(scratch_.v, nullptr, shape.value_dim, rows * shape.kv_heads);
  }
  if (shape.clamp) {
    change(MapOp::kClamp, scratch_.q, *shape.clamp, rows, q_width);
    change(MapOp::kClamp, scratch_.k, *shape.clamp, rows, k_width);
    change(MapOp::kClamp, scratch_.v, *shape.clamp, rows, shape.kv_heads * shape.value_dim);
  }
  if (shape.rope) {
    turn(shape, scratch_.q, rows, shape.heads, dim);
    turn(shape, scratch_.k, rows, shape.kv_heads, dim);
    if (shape.qk_norm == QkNorm::kUnweighted) {
      norm_heads(scratch_.q, nullptr, dim, rows * shape.heads);
      norm_heads(scratch_.k, nullptr, dim, rows * shape.kv_heads);
    }
  } else if (shape.temperature_scale != 0) {
    heat(shape, rows);
  }
}

/// Queries of positions far from the beginning are scaled up: all of a run of positions alike.
void AttentionLayer::heat(const AttentionDescription& shape, std::size_t rows) {
  const std::size_t width = shape.heads * shape.head_dim;
  const auto run_of = [&](std::size_t row) {
    return (scratch_.positions[row] + 1) / shape.temperature_length;
  };
  for (std::size_t first = 0, end = 0; first < rows; first = end) {
    const std::uint32_t run = run_of(first);
    for (end = first + 1; end < rows && run_of(end) == run;) ++end;
    const float factor = 1.0f + shape.temperature_scale * static_cast<float>(std::log(run + 1.0));
    change(MapOp::kScale, scratch_.q + first * width, factor, end - first, width);
  }
}

void AttentionLayer::map(MapOp op, float* out, std::size_t out_stride, const float* x,
                         std::size_t x_stride, std::size_t rows, std::size_t columns) {
  operations_.map({.op = op,
                   .out = out,
                   .out_stride = out_stride,
                   .x = x,
                   .x_stride = x_stride,
                   .rows = rows,
                   .columns = columns});
}

/// Rows that lie one after the other, each element by itself.
void AttentionLayer::change(MapOp op, float* values, float factor, std::size_t rows,
                            std::size_t columns) {
  operations_.map({.op = op,
                   .out = values,
                   .out_stride = columns,
                   .factor = factor,
                   .rows = rows,
                   .columns = columns});
}

/// RMS norm, in place, of the beginnings of vectors that are `stride` apart.
void AttentionLayer::norm(float* values, std::size_t stride, const float* weight, float epsilon,
                          std::size_t columns, std::size_t vectors) {
  operations_.norm({.x = values,
                    .x_stride = stride,
                    .weight = weight,
                    .epsilon = epsilon,
                    .out = values,
                    .out_stride = stride,
                    .rows = vectors,
                    .columns = columns});
}

/// The same of vectors that lie one after the other.
void AttentionLayer::norm_heads(float* values, const float* weight, std::size_t columns,
                                std::size_t vectors) {
  norm(values, columns, weight, model_.norm_epsilon, columns, vectors);
}

/// x: `[rows, heads, head_dim]`, of which each head's first dimensions turn.
void AttentionLayer::turn(const AttentionDescription& shape, float* x, std::size_t rows,
                          std::size_t heads, std::size_t head_dim) {
  const RopeDescription& rope = model_.ropes[*shape.rope];
  operations_.rope({.x = x,
                    .rows = rows,
                    .stride = heads * head_dim,
                    .heads = heads,
                    .head_dim = head_dim,
                    .rotary_dim = rope.rotary_dim,
                    .interleaved = rope.interleaved,
                    .cosines = scratch_.cosines[*shape.rope],
                    .sines = scratch_.sines[*shape.rope]});
}

void AttentionLayer::project_latent(const AttentionDescription& shape,
                                    const AttentionWeights& weights, std::size_t rows) {
  const LatentDescription& latent = *shape.latent;
  const std::size_t rank = latent.kv_rank, plain = latent.plain_dim;
  const std::size_t turning = shape.head_dim - plain;
  const std::size_t key_dim = rank + turning;
  const bool narrow = latent.q_rank != 0;
  const Activations& middle = narrow ? scratch_.narrow_query : scratch_.normed;
  const std::array first{product(weights.latent.kv, scratch_.normed, rows, scratch_.k),
                         product(narrow ? weights.latent.q_a : weights.q, scratch_.normed, rows,
                                 narrow ? scratch_.narrow_query.values : scratch_.projected)};
  operations_.matmul(first);
  if (narrow) {
    norm(middle.values, latent.q_rank, weights.latent.q_norm, latent.norm_epsilon, latent.q_rank,
         rows);
    operations_.quantise(middle, rows);
    const MatmulTask second = product(weights.q, middle, rows, scratch_.projected);
    operations_.matmul({&second, 1});
  }
  norm(scratch_.k, key_dim, weights.latent.kv_norm, latent.norm_epsilon, rank, rows);
  turn(shape, scratch_.k + rank, rows, 1, key_dim);

  // What does not turn of a query goes through its head's matrix, the rest comes after that.
  const Activations parts = narrowed(scratch_.plain_query, plain);
  const std::size_t queries = rows * shape.heads;
  map(MapOp::kCopy, parts.values, plain, scratch_.projected, shape.head_dim, queries, plain);
  map(MapOp::kCopy, scratch_.q + rank, key_dim, scratch_.projected + plain, shape.head_dim, queries,
      turning);
  operations_.quantise(parts, rows * shape.heads);
  multiply_heads(weights.latent.key, parts, shape.heads, rows, scratch_.q, key_dim);
  turn(shape, scratch_.q + rank, rows, shape.heads, key_dim);
}

void AttentionLayer::values_of_latents(const AttentionDescription& shape, const WeightMatrix& value,
                                       std::size_t rows) {
  const Activations latents = narrowed(scratch_.latent_values, shape.latent->kv_rank);
  operations_.quantise(latents, rows * shape.heads);
  multiply_heads(value, latents, shape.heads, rows, scratch_.attended.values, shape.value_dim);
}

/// output `[rows, heads, head_stride]`, the beginnings: each head's matrix times its rows of
/// `input`.
void AttentionLayer::multiply_heads(const WeightMatrix& heads_matrix, const Activations& input,
                                    std::size_t heads, std::size_t rows, float* output,
                                    std::size_t head_stride) {
  WeightMatrix part = heads_matrix;
  part.rows = heads_matrix.rows / heads;
  const std::uint32_t* const numbers =
      std::ranges::find(scratch_.head_rows, heads, &Scratch::HeadRows::heads)->rows;
  tasks_.clear();
  for (std::size_t head = 0; head < heads; ++head) {
    part.data = heads_matrix.data + head * part.bytes();
    tasks_.push_back({.weight = part,
                      .input = input,
                      .row_index = numbers + head * scratch_.max_rows,
                      .n_rows = rows,
                      .output = output + head * head_stride,
                      .output_stride = heads * head_stride});
  }
  operations_.matmul(tasks_);
}

}  // namespace sluice
