#include "engine/dense_weights.h"

#include <fmt/format.h>

#include <span>
#include <string>

#include "io/read_range.h"

namespace sluice {

/// Walks over every tensor that a description asks for, in one order, and gives each a place in one
/// buffer. Run without memory it only counts; run with memory it fills in the pointers and notes
/// what to read.
class WeightBinder {
 public:
  WeightBinder(const Checkpoint& checkpoint, const ModelDescription& model, std::byte* memory)
      : checkpoint_(checkpoint), model_(model), memory_(memory) {}

  Status bind(DenseWeights& weights) {
    const std::size_t hidden = model_.hidden;
    SLUICE_TRY(matrix("token_embd.weight", model_.vocabulary, hidden, weights.embedding_));
    weights.head_ = weights.embedding_;
    if (checkpoint_.find("output.weight") != nullptr) {
      SLUICE_TRY(matrix("output.weight", model_.vocabulary, hidden, weights.head_));
    }
    SLUICE_TRY(vector("output_norm.weight", hidden, weights.output_norm_));
    weights.layers_.resize(model_.layers.size());
    for (std::size_t i = 0; i < model_.layers.size(); ++i) {
      prefix_ = fmt::format("blk.{}.", i);
      SLUICE_TRY(attention(weights.layers_[i]));
      SLUICE_TRY(feed_forward(model_.layers[i], weights.layers_[i]));
    }
    return {};
  }

  std::uint64_t bytes() const { return used_; }

  /// What `bind` placed: raw bytes to read, and vectors to widen to float32 afterwards.
  struct Pending {
    const TensorInfo* tensor;
    std::byte* destination;
    bool widen;
  };
  const std::vector<Pending>& pending() const { return pending_; }

 private:
  Status attention(LayerWeights& layer) {
    const AttentionDescription& shape = model_.attention;
    const std::size_t hidden = model_.hidden;
    const std::size_t q = std::size_t{shape.heads} * shape.head_dim;
    const std::size_t k = std::size_t{shape.kv_heads} * shape.head_dim;
    const std::size_t v = std::size_t{shape.kv_heads} * shape.value_dim;
    SLUICE_TRY(vector(prefix_ + "attn_norm.weight", hidden, layer.attention_norm));
    SLUICE_TRY(matrix(prefix_ + "attn_q.weight", q, hidden, layer.q));
    SLUICE_TRY(matrix(prefix_ + "attn_k.weight", k, hidden, layer.k));
    SLUICE_TRY(matrix(prefix_ + "attn_v.weight", v, hidden, layer.v));
    SLUICE_TRY(matrix(prefix_ + "attn_output.weight", hidden,
                      std::size_t{shape.heads} * shape.value_dim, layer.output));
    SLUICE_TRY(optional_vector(prefix_ + "attn_q.bias", q, layer.q_bias));
    SLUICE_TRY(optional_vector(prefix_ + "attn_k.bias", k, layer.k_bias));
    SLUICE_TRY(optional_vector(prefix_ + "attn_v.bias", v, layer.v_bias));
    SLUICE_TRY(optional_vector(prefix_ + "attn_output.bias", hidden, layer.output_bias));
    if (shape.qk_norm != QkNorm::kNone) {
      const bool per_head = shape.qk_norm == QkNorm::kHead;
      SLUICE_TRY(
          vector(prefix_ + "attn_q_norm.weight", per_head ? shape.head_dim : q, layer.q_norm));
      SLUICE_TRY(
          vector(prefix_ + "attn_k_norm.weight", per_head ? shape.head_dim : k, layer.k_norm));
    }
    return {};
  }

  Status feed_forward(const LayerDescription& shape, LayerWeights& layer) {
    const std::size_t hidden = model_.hidden;
    SLUICE_TRY(vector(prefix_ + "ffn_norm.weight", hidden, layer.ffn_norm));
    if (shape.sparse)
      SLUICE_TRY(
          matrix(prefix_ + "ffn_gate_inp.weight", model_.router.experts, hidden, layer.router));
    if (shape.ffn != 0) {
      const std::string suffix = shape.sparse ? "_shexp.weight" : ".weight";
      SLUICE_TRY(matrix(prefix_ + "ffn_gate" + suffix, shape.ffn, hidden, layer.ffn.gate));
      SLUICE_TRY(matrix(prefix_ + "ffn_up" + suffix, shape.ffn, hidden, layer.ffn.up));
      SLUICE_TRY(matrix(prefix_ + "ffn_down" + suffix, hidden, shape.ffn, layer.ffn.down));
    } else if (!shape.sparse) {
      return Status(
          ErrorCode::kCorrupt,
          fmt::format("the tensor '{}ffn_gate.weight' is missing or has no shape", prefix_));
    }
    if (shape.shared_expert && checkpoint_.find(prefix_ + "ffn_gate_inp_shexp.weight") != nullptr) {
      SLUICE_TRY(matrix(prefix_ + "ffn_gate_inp_shexp.weight", 1, hidden, layer.shared_gate));
    }
    return {};
  }

  Result<const TensorInfo*> tensor(const std::string& name) const {
    const TensorInfo* found = checkpoint_.find(name);
    if (found == nullptr)
      return Status(ErrorCode::kCorrupt, fmt::format("the tensor '{}' is missing", name));
    return found;
  }

  Status matrix(const std::string& name, std::size_t rows, std::size_t columns,
                WeightMatrix& matrix) {
    SLUICE_ASSIGN(const TensorInfo* found, tensor(name));
    // A matrix of one row is often written as a vector.
    const bool one_row = rows == 1 && found->shape.size() == 1 && found->shape[0] == columns;
    if (!one_row &&
        (found->shape.size() != 2 || found->shape[0] != rows || found->shape[1] != columns)) {
      return Status(ErrorCode::kCorrupt,
                    fmt::format("the tensor '{}' should be {} x {} and is {}", name, rows, columns,
                                fmt::join(found->shape, " x ")));
    }
    const TensorFormat* format = find_tensor_format(found->type);
    if (format == nullptr) {
      return Status(ErrorCode::kUnsupported,
                    fmt::format("the tensor '{}' has type {}, which this version does not read",
                                name, static_cast<std::uint32_t>(found->type)));
    }
    matrix = {.format = format,
              .data = place(*found, found->bytes(), false),
              .rows = rows,
              .columns = columns};
    return {};
  }

  Status vector(const std::string& name, std::size_t length, const float*& values) {
    SLUICE_ASSIGN(const TensorInfo* found, tensor(name));
    const TensorFormat* format = find_tensor_format(found->type);
    if (found->shape.size() != 1 || found->shape[0] != length || format == nullptr ||
        format->quantised()) {
      return Status(ErrorCode::kCorrupt,
                    fmt::format("the tensor '{}' should be a float vector of {} and is {}", name,
                                length, fmt::join(found->shape, " x ")));
    }
    values = reinterpret_cast<const float*>(place(*found, length * sizeof(float), true));
    return {};
  }

  Status optional_vector(const std::string& name, std::size_t length, const float*& values) {
    return checkpoint_.find(name) == nullptr ? Status() : vector(name, length, values);
  }

  std::byte* place(const TensorInfo& tensor, std::uint64_t bytes, bool widen) {
    std::byte* destination = memory_ == nullptr ? nullptr : memory_ + used_;
    used_ += (bytes + 63) / 64 * 64;
    pending_.push_back({&tensor, destination, widen});
    return destination;
  }

  const Checkpoint& checkpoint_;
  const ModelDescription& model_;
  std::byte* memory_;
  std::uint64_t used_ = 0;
  std::string prefix_;
  std::vector<Pending> pending_;
};

Result<std::uint64_t> DenseWeights::bytes(const Checkpoint& checkpoint,
                                          const ModelDescription& model) {
  WeightBinder binder(checkpoint, model, nullptr);
  DenseWeights unplaced;
  SLUICE_TRY(binder.bind(unplaced));
  return binder.bytes();
}

Result<DenseWeights> DenseWeights::load(const Checkpoint& checkpoint, const ModelDescription& model,
                                        BlockReader& reader, const std::vector<FileIndex>& files) {
  SLUICE_ASSIGN(const std::uint64_t total, bytes(checkpoint, model));
  DenseWeights weights;
  SLUICE_ASSIGN(weights.memory_, AlignedBuffer::allocate(total));
  weights.memory_.prefer_huge_pages();
  WeightBinder binder(checkpoint, model, weights.memory_.data());
  SLUICE_TRY(binder.bind(weights));

  std::vector<std::byte> raw;
  std::vector<RangeRead> reads;
  for (const WeightBinder::Pending& item : binder.pending()) {
    if (item.widen) continue;
    const FileRange& range = item.tensor->ranges[0];
    reads.push_back({files[range.file], range.offset, {item.destination, range.bytes}});
  }
  SLUICE_TRY(read_ranges(reader, reads));
  for (const WeightBinder::Pending& item : binder.pending()) {
    if (!item.widen) continue;
    const FileRange& range = item.tensor->ranges[0];
    raw.resize(range.bytes);
    SLUICE_TRY(read_range(reader, files[range.file], range.offset, raw));
    tensor_format(item.tensor->type)
        .decode(raw.data(), reinterpret_cast<float*>(item.destination), item.tensor->elements());
  }
  return weights;
}

void DenseWeights::repack(Compute& compute) {
  const bool tied = head_.data == embedding_.data;
  std::vector<RepackTask> tasks;
  const auto add = [&](WeightMatrix& matrix) {
    if (matrix.format == nullptr) return;
    tasks.push_back({&matrix, memory_.data() + (matrix.data - memory_.data())});
  };
  add(head_);
  for (LayerWeights& layer : layers_) {
    for (WeightMatrix* matrix : {&layer.q, &layer.k, &layer.v, &layer.output, &layer.ffn.gate,
                                 &layer.ffn.up, &layer.ffn.down}) {
      add(*matrix);
    }
  }
  compute.repack(tasks);
  if (tied) embedding_ = head_;
}

}  // namespace sluice
