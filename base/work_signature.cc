#include "base/work_signature.h"

#include <cstring>
#include <type_traits>

#include "base/row_runs.h"

// Tasks are taken apart by names for all of their members: one with a new member does not compile
// until the member has its place here.

namespace sluice {

enum class WorkSignature::Kind : std::uint8_t {
  kNorm,
  kMap,
  kQuantise,
  kMatmul,
  kFfn,
  kRope,
  kStoreKv,
  kAttention,
  kDeltaNet,
  kCombine,
  kUpload,
  kDownload,
};

template <typename... Numbers>
void WorkSignature::put(const Numbers&... numbers) {
  static_assert(((std::is_arithmetic_v<Numbers> || std::is_pointer_v<Numbers> ||
                  std::is_enum_v<Numbers>)&&...));
  const std::size_t at = bytes_.size();
  bytes_.resize(at + (sizeof(Numbers) + ...));
  std::byte* to = bytes_.data() + at;
  ((std::memcpy(to, &numbers, sizeof(Numbers)), to += sizeof(Numbers)), ...);
}

void WorkSignature::put(const WeightMatrix& weight) {
  const auto& [format, data, rows, columns, layout, row_step, column_stride, scales, nested] =
      weight;
  put(format, data, rows, columns, layout, row_step, column_stride);
  const auto& [scale_format, scale_data, block_rows, block_columns] = scales;
  put(scale_format, scale_data, block_rows, block_columns);
  const auto& [form, width, at] = nested;
  put(form, width);
  for (const std::int64_t group : at) put(group);
}

void WorkSignature::put(const Activations& rows) {
  const auto& [values, codes, scales, sums, n_rows, columns] = rows;
  put(values, codes, scales, sums, n_rows, columns);
}

void WorkSignature::put(const AttentionShape& shape) {
  const auto& [heads, kv_heads, head_dim, value_dim, kv_type, scale, value_in_key] = shape;
  put(heads, kv_heads, head_dim, value_dim, kv_type, scale, value_in_key);
}

void WorkSignature::put(const DeltaNetShape& shape) {
  const auto& [key_heads, value_heads, key_dim, value_dim, kernel, tiled] = shape;
  put(key_heads, value_heads, key_dim, value_dim, kernel, tiled);
}

void WorkSignature::put(std::span<const AttentionRow> rows) {
  put(rows.size());
  for (std::size_t row = 0; row < rows.size();) {
    const RowRun run = row_run(rows, row);
    row += run.count;
    put(run.count, blocks_made_for(blocks_seen(rows[run.first], rows[row - 1])));
  }
}

void WorkSignature::add(const NormTask& task) {
  const auto& [kind, x, x_stride, weight, bias, epsilon, out, out_stride, rows, columns] = task;
  put(Kind::kNorm, kind, x, x_stride, weight, bias, epsilon, out, out_stride, rows, columns);
}

void WorkSignature::add(const MapTask& task) {
  const auto& [op, out, out_stride, x, x_stride, gates, factor, rows, columns] = task;
  put(Kind::kMap, op, out, out_stride, x, x_stride, gates, factor, rows, columns);
}

void WorkSignature::add_quantise(const Activations& activations, std::size_t rows) {
  put(Kind::kQuantise, rows);
  put(activations);
}

void WorkSignature::add(std::span<const MatmulTask> tasks) {
  put(Kind::kMatmul, tasks.size());
  for (const MatmulTask& task : tasks) {
    const auto& [weight, input, row_index, n_rows, output, output_stride, bias] = task;
    put(weight);
    put(input);
    put(row_index, n_rows, output, output_stride, bias);
  }
}

void WorkSignature::add(std::span<const FfnTask> tasks) {
  put(Kind::kFfn, tasks.size());
  for (const FfnTask& task : tasks) {
    const auto& [gate, up, down, activation, alpha, limit, gate_bias, up_bias, down_bias, input,
                 row_index, n_rows, hidden, output] = task;
    put(gate);
    put(up);
    put(down);
    put(input);
    put(hidden);
    put(activation, alpha, limit, gate_bias, up_bias, down_bias, row_index, n_rows, output);
  }
}

void WorkSignature::add(const RopeTask& task) {
  const auto& [x, rows, stride, heads, head_dim, rotary_dim, interleaved, cosines, sines] = task;
  put(Kind::kRope, x, rows, stride, heads, head_dim, rotary_dim, interleaved, cosines, sines);
}

void WorkSignature::add_store_kv(const AttentionShape& shape, std::span<const AttentionRow> rows,
                                 const float* keys, std::size_t key_stride, const float* values,
                                 std::size_t value_stride) {
  put(Kind::kStoreKv, keys, key_stride, values, value_stride);
  put(shape);
  put(rows);
}

void WorkSignature::add(const AttentionTask& task) {
  const auto& [shape, rows, q, q_stride, out, out_stride, sinks, memory] = task;
  put(Kind::kAttention, q, q_stride, out, out_stride, sinks, memory.data(), memory.size());
  put(shape);
  put(rows);
}

void WorkSignature::add(const DeltaNetTask& task) {
  const auto& [shape, rows, states, qkv, conv_weight, alpha, beta, a, dt_bias, gate, norm_weight,
               norm_epsilon, out] = task;
  put(Kind::kDeltaNet, rows, qkv, conv_weight, alpha, beta, a, dt_bias, gate, norm_weight,
      norm_epsilon, out);
  put(shape);
  for (std::size_t row = 1; row < rows; ++row) put(states[row] == states[row - 1]);
}

void WorkSignature::add(const CombineTask& task) {
  const auto& [outputs, places, weights, out, rows, ranks, columns] = task;
  put(Kind::kCombine, outputs, places, weights, out, rows, ranks, columns);
}

void WorkSignature::add_upload(const std::byte* device, const std::byte* host, std::size_t bytes) {
  put(Kind::kUpload, device, host, bytes);
}

void WorkSignature::add_download(const std::byte* host, const std::byte* device,
                                 std::size_t bytes) {
  put(Kind::kDownload, host, device, bytes);
}

}  // namespace sluice
