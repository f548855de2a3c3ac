#include "engine/dense_weights.h"

#include <span>

#include "base/cancellation.h"
#include "engine/weight_binder.h"
#include "formats/stored_layout.h"
#include "io/read_range.h"

namespace sluice {
namespace {

/// Reads a tensor whose bytes are not the numbers that are wanted, range by range.
class Converter {
 public:
  Converter(BlockReader& reader, const std::vector<FileIndex>& files,
            const std::atomic<bool>* cancel)
      : reader_(reader), files_(files), cancel_(cancel) {}

  Status load(const WeightBinder::Conversion& item) {
    const TensorInfo& tensor = *item.tensor;
    const std::size_t elements = tensor.elements() / tensor.ranges.size();
    const TensorFormat& format = tensor_format(tensor.type);
    const std::size_t bytes = item.widen ? elements * sizeof(float) : format.bytes(elements);
    for (std::size_t i = 0; i < tensor.ranges.size(); ++i) {
      std::byte* const to = item.destination + i * bytes;
      auto* const floats = reinterpret_cast<float*>(to);
      SLUICE_TRY(read(tensor.ranges[i], stored_));
      if (!tensor.stored) {
        format.decode(stored_.data(), floats, elements);
        continue;
      }
      scales_.clear();
      if (!tensor.stored->scales.empty()) SLUICE_TRY(read(tensor.stored->scales[i], scales_));
      SLUICE_TRY(item.widen ? decode_range(tensor, stored_, scales_, {floats, elements})
                            : relay_range(tensor, stored_, scales_, {to, bytes}));
    }
    return {};
  }

 private:
  Status read(const FileRange& range, std::vector<std::byte>& bytes) {
    bytes.resize(range.bytes);
    return read_range(reader_, files_[range.file], range.offset, bytes, cancel_);
  }

  BlockReader& reader_;
  const std::vector<FileIndex>& files_;
  const std::atomic<bool>* const cancel_;
  std::vector<std::byte> stored_, scales_;
};

}  // namespace

Result<std::uint64_t> DenseWeights::bytes(const Checkpoint& checkpoint,
                                          const ModelDescription& model) {
  WeightBinder binder(checkpoint, model, nullptr);
  DenseWeights unplaced;
  SLUICE_TRY(binder.bind(unplaced));
  return binder.bytes();
}

Result<DenseWeights> DenseWeights::load(const Checkpoint& checkpoint, const ModelDescription& model,
                                        BlockReader& reader, const std::vector<FileIndex>& files,
                                        const std::atomic<bool>* cancel) {
  SLUICE_ASSIGN(const std::uint64_t total, bytes(checkpoint, model));
  DenseWeights weights;
  SLUICE_ASSIGN(weights.memory_, AlignedBuffer::allocate(total));
  weights.memory_.prefer_huge_pages();
  WeightBinder binder(checkpoint, model, weights.memory_.data());
  SLUICE_TRY(binder.bind(weights));

  std::vector<RangeRead> reads;
  for (const auto& [range, to] : binder.pieces()) {
    reads.push_back({files[range.file], range.offset, {to, range.bytes}});
  }
  SLUICE_TRY(read_ranges(reader, reads, cancel));
  Converter converter(reader, files, cancel);
  for (const WeightBinder::Conversion& item : binder.conversions()) {
    SLUICE_TRY(converter.load(item));
  }
  return weights;
}

Status DenseWeights::repack(Compute& compute, const std::atomic<bool>* cancel) {
  const bool tied = head_.data == embedding_.data;
  std::vector<RepackTask> tasks;
  const auto add = [&](WeightMatrix& matrix) {
    if (matrix.format == nullptr) return;
    tasks.push_back({&matrix, memory_.data() + (matrix.data - memory_.data())});
  };
  const auto add_network = [&](FfnWeights& network) {
    add(network.gate);
    add(network.up);
    add(network.down);
  };
  add(head_);
  compute.repack(tasks);
  for (LayerWeights& layer : layers_) {
    SLUICE_TRY(check_cancelled(cancel));
    tasks.clear();
    AttentionWeights& attention = layer.attention;
    for (WeightMatrix* matrix : {&attention.q, &attention.k, &attention.v, &attention.output,
                                 &attention.latent.q_a, &attention.latent.kv}) {
      add(*matrix);
    }
    for (WeightMatrix* matrix :
         {&layer.delta_net.qkv, &layer.delta_net.gate, &layer.delta_net.output}) {
      add(*matrix);
    }
    add_network(layer.dense);
    add_network(layer.shared);
    compute.repack(tasks);
  }
  if (tied) embedding_ = head_;
  return {};
}

}  // namespace sluice
