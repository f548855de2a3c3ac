#include "layers/dense_weights.h"

#include <algorithm>
#include <initializer_list>
#include <span>
#include <utility>

#include "base/cancellation.h"
#include "formats/checked_ranges.h"
#include "formats/stored_layout.h"
#include "io/read_range.h"
#include "layers/weight_binder.h"

namespace sluice {
namespace {

/// Reads a tensor whose bytes are not the numbers that are wanted, range by range.
class Converter {
 public:
  Converter(const Checkpoint& checkpoint, BlockReader& reader, const std::vector<FileIndex>& files,
            const std::atomic<bool>* cancel)
      : stored_(checkpoint, reader, files, cancel), scales_(checkpoint, reader, files, cancel) {}

  Status load(const WeightBinder::Conversion& item) {
    return item.tensor->stored ? relay(item) : widen(item);
  }

 private:
  /// Ranges of whole rows, which need not be of one size.
  Status widen(const WeightBinder::Conversion& item) {
    const TensorFormat& format = tensor_format(item.tensor->type);
    auto* to = reinterpret_cast<float*>(item.destination);
    for (const FileRange& range : item.tensor->ranges) {
      SLUICE_ASSIGN(const std::span<const std::byte> bytes, stored_.read(range));
      const std::size_t elements = bytes.size() / format.block_bytes * format.block_elements;
      format.decode(bytes.data(), to, elements);
      to += elements;
    }
    return {};
  }

  Status relay(const WeightBinder::Conversion& item) {
    const TensorInfo& tensor = *item.tensor;
    const std::vector<FileRange>& scale_ranges = tensor.stored->scales;
    const std::size_t elements = tensor.elements() / tensor.ranges.size();
    const std::size_t bytes = item.widen ? elements * sizeof(float) : relaid_bytes(tensor);
    for (std::size_t i = 0; i < tensor.ranges.size(); ++i) {
      std::byte* const to = item.destination + i * bytes;
      SLUICE_ASSIGN(const std::span<const std::byte> stored, stored_.read(tensor.ranges[i]));
      std::span<const std::byte> scales;
      if (!scale_ranges.empty()) {
        SLUICE_ASSIGN(scales, scales_beside(scale_ranges[i]));
      }
      SLUICE_TRY(item.widen ? decode_range(tensor, stored, scales,
                                           {reinterpret_cast<float*>(to), elements})
                            : relay_range(tensor, stored, scales, {to, bytes}));
    }
    return {};
  }

  /// A block has both, mostly.
  Result<std::span<const std::byte>> scales_beside(const FileRange& range) {
    if (stored_.holds(range)) return stored_.held(range);
    return scales_.read(range);
  }

  CheckedRanges stored_, scales_;
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
                                        const std::atomic<bool>* cancel,
                                        const std::function<void(double)>& progress) {
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
  std::uint64_t arrived = 0;
  SLUICE_TRY(read_ranges(reader, reads, cancel, [&](std::size_t more) {
    arrived += more;
    if (progress)
      progress(std::min(1.0, static_cast<double>(arrived) / static_cast<double>(total)));
  }));
  std::vector<RangeInMemory> read;
  for (const auto& [range, to] : binder.pieces()) read.push_back({range, to});
  SLUICE_TRY(CheckedRanges(checkpoint, reader, files, cancel).check(std::move(read)));
  Converter converter(checkpoint, reader, files, cancel);
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

namespace {

bool multiplies(const DeviceBackend& device, const LayerWeights& layer) {
  const AttentionWeights& attention = layer.attention;
  const DeltaNetWeights& net = layer.delta_net;
  const std::initializer_list<const WeightMatrix*> all{&attention.q,
                                                       &attention.k,
                                                       &attention.v,
                                                       &attention.output,
                                                       &attention.latent.q_a,
                                                       &attention.latent.kv,
                                                       &attention.latent.key,
                                                       &attention.latent.value,
                                                       &net.qkv,
                                                       &net.gate,
                                                       &net.alpha,
                                                       &net.beta,
                                                       &net.output,
                                                       &layer.dense.gate,
                                                       &layer.dense.up,
                                                       &layer.dense.down,
                                                       &layer.router.matrix,
                                                       &layer.shared.gate,
                                                       &layer.shared.up,
                                                       &layer.shared.down,
                                                       &layer.shared_gate};
  return std::ranges::all_of(all, [&](const WeightMatrix* matrix) {
    return matrix->format == nullptr || device.multiplies(*matrix);
  });
}

/// Through a piece of pinned memory.
Status upload_all(DeviceBackend& device, StreamIndex stream, std::byte* to,
                  std::span<const std::byte> from) {
  constexpr std::size_t kPiece = std::size_t{8} << 20;
  if (from.empty()) return {};
  SLUICE_ASSIGN(const DeviceBuffer pinned,
                DeviceBuffer::allocate_pinned(device, std::min(kPiece, from.size())));
  for (std::size_t at = 0; at < from.size(); at += kPiece) {
    const auto piece = from.subspan(at, std::min(kPiece, from.size() - at));
    std::ranges::copy(piece, pinned.data());
    SLUICE_TRY(device.upload(stream, to + at, pinned.data(), piece.size()));
    SLUICE_ASSIGN(const DeviceEvent over, device.record(stream));
    SLUICE_TRY(device.finish(over));
  }
  return {};
}

}  // namespace

std::uint32_t DenseWeights::layers_for(const DeviceBackend& device, std::uint32_t end) const {
  if (end == layers_.size() && !device.multiplies(head_)) return 0;
  std::uint32_t count = 0;
  while (count < end && multiplies(device, layers_[end - count - 1])) ++count;
  return count;
}

std::uint64_t DenseWeights::device_bytes(std::uint32_t first, std::uint32_t end, bool head) const {
  return (head ? layer_begins_.front() - head_begin() : 0) + layer_begins_[end] -
         layer_begins_[first];
}

Result<DenseWeights> DenseWeights::copy_to(DeviceBackend& device, StreamIndex stream,
                                           const Checkpoint& checkpoint,
                                           const ModelDescription& model, std::uint32_t first,
                                           std::uint32_t end, bool head) const {
  const std::uint64_t head_bytes = head ? layer_begins_.front() - head_begin() : 0;
  const std::span<const std::byte> all(memory_.data(), memory_.size());
  DenseWeights there;
  SLUICE_ASSIGN(there.there_, DeviceBuffer::allocate(device, device_bytes(first, end, head)));
  std::byte* const to = there.there_.data();
  SLUICE_TRY(upload_all(device, stream, to, all.subspan(head_begin(), head_bytes)));
  SLUICE_TRY(
      upload_all(device, stream, to + head_bytes,
                 all.subspan(layer_begins_[first], layer_begins_[end] - layer_begins_[first])));

  // Bound where all memory would begin if the part that is there were part of it.
  DenseWeights bound;
  if (head) {
    SLUICE_TRY(WeightBinder(checkpoint, model, to - head_begin()).bind(bound));
    there.head_ = bound.head_;
    there.head_bias_ = bound.head_bias_;
    there.output_norm_ = bound.output_norm_;
    bound = {};
  }
  SLUICE_TRY(WeightBinder(checkpoint, model, to + head_bytes - layer_begins_[first]).bind(bound));
  there.layers_.resize(layers_.size());
  for (std::size_t i = first; i < end; ++i) {
    there.layers_[i] = bound.layers_[i];
    there.layers_[i].output_scale = layers_[i].output_scale;
  }
  return there;
}

}  // namespace sluice
