#include "devices/dense_device.h"

#include <algorithm>
#include <utility>

namespace sluice {
namespace {

/// Of the device's memory, at most, for what a pass works in.
constexpr std::uint64_t kScratchShare = 4;
/// Likewise, for batches.
constexpr std::uint64_t kBatchShare = 32;

/// What so many layers, the last ones, take of a device's memory for passes of so many rows.
class DeviceBytes {
 public:
  DeviceBytes(const ModelDescription& model, const DenseWeights& host, const Operations& operations,
              const DenseDeviceOptions& options)
      : model_(model),
        host_(host),
        options_(options),
        attention_(attention_bytes(model, options.kv_type, operations, options.context,
                                   options.threads)) {}

  ScratchShape scratch_shape(std::uint32_t rows) const {
    return {.rows = rows,
            .eight_bit = options_.eight_bit,
            .attention_bytes = attention_,
            .experts = false};
  }
  std::uint64_t scratch(std::uint32_t rows) const {
    return Scratch::bytes(model_, scratch_shape(rows));
  }
  bool head() const { return options_.end_layer == model_.layers.size(); }
  KvShape kv(std::uint32_t layers) const {
    return kv_shape(model_, options_.kv_type, options_.end_layer - layers, options_.end_layer);
  }
  std::size_t kv_blocks() const { return KvShape::blocks(options_.context) * options_.sequences; }
  std::uint64_t all(std::uint32_t layers, std::uint32_t rows) const {
    const std::uint64_t weights =
        host_.device_bytes(options_.end_layer - layers, options_.end_layer, head());
    const std::uint64_t kept =
        KvPool::bytes(kv(layers), kv_blocks(), options_.seats, /*on_device=*/true);
    return DeviceBackend::whole_pages(scratch(rows)) + DeviceBackend::whole_pages(weights) +
           DeviceBackend::whole_pages(kept);
  }

 private:
  const ModelDescription& model_;
  const DenseWeights& host_;
  const DenseDeviceOptions& options_;
  const std::size_t attention_;
};

}  // namespace

Result<std::unique_ptr<DenseDevice>> DenseDevice::create(const Checkpoint& checkpoint,
                                                         const ModelDescription& model,
                                                         const DenseWeights& host,
                                                         DeviceBackend& device,
                                                         const DenseDeviceOptions& options) {
  SLUICE_ASSIGN(const DeviceBackend::Memory memory, device.memory());
  const std::uint64_t all = std::min(options.vram, memory.free);
  const std::uint64_t for_batches =
      DeviceBackend::whole_pages(std::min(device.batch_bytes(), all / kBatchShare));
  const std::uint64_t vram = all - for_batches;
  std::unique_ptr<DenseDevice> made(new DenseDevice(model, device));
  SLUICE_ASSIGN(made->stream_, device.make_stream());
  Operations& operations = device.operations(made->stream_);
  std::uint32_t layers = host.layers_for(device, options.end_layer);
  if (layers == 0) {
    return Status(ErrorCode::kUnsupported,
                  std::string(device.name()) + " cannot compute the model's layers");
  }
  layers = std::min(layers, options.end_layer - options.first_layer);
  const DeviceBytes bytes(model, host, operations, options);
  std::uint32_t rows = std::max(1u, options.rows);
  while (rows > 1 && bytes.scratch(rows) > vram / kScratchShare) rows = (rows + 1) / 2;
  while (layers > 0 && bytes.all(layers, rows) > vram) --layers;
  if (layers == 0) {
    return Status(ErrorCode::kBudget, std::string(device.name()) + " has no room for a layer");
  }
  made->end_layer_ = options.end_layer;
  made->first_layer_ = options.end_layer - layers;
  made->index_ = options.index;
  made->max_rows_ = rows;
  made->bytes_ = bytes.all(layers, rows) + for_batches;
  SLUICE_ASSIGN(made->scratch_, Scratch::create_on(device, model, bytes.scratch_shape(rows)));
  SLUICE_ASSIGN(made->kv_,
                KvPool::create(bytes.kv(layers), bytes.kv_blocks(), options.seats, &device));
  SLUICE_ASSIGN(made->weights_, host.copy_to(device, made->stream_, checkpoint, model,
                                             made->first_layer_, made->end_layer_, bytes.head()));
  made->part_ = std::make_unique<DensePart>(model, made->weights_, operations, made->scratch_,
                                            options.kv_type);
  return made;
}

template <typename T>
Status DenseDevice::upload(T* to, const T* from, std::size_t count) {
  return note(device_.upload(stream_, reinterpret_cast<std::byte*>(to),
                             reinterpret_cast<const std::byte*>(from), count * sizeof(T)));
}

template <typename T>
Status DenseDevice::download(T* to, const T* from, std::size_t count) {
  return note(device_.download(stream_, reinterpret_cast<std::byte*>(to),
                               reinterpret_cast<const std::byte*>(from), count * sizeof(T)));
}

Status DenseDevice::download(const Activations& to, const Activations& from, std::size_t rows) {
  const std::size_t count = rows * from.columns;
  SLUICE_TRY(download(to.values, from.values, count));
  if (to.codes == nullptr) return {};
  SLUICE_TRY(download(to.codes, from.codes, count));
  SLUICE_TRY(download(to.scales, from.scales, count / 32));
  return download(to.sums, from.sums, count / 16);
}

Status DenseDevice::note(Status status) {
  if (status.ok()) return status;
  if (open()) closed_ = status.message();
  open_ = false;
  return Status(ErrorCode::kDeviceLost, closed_);
}

/// The work of each of a pass's batches is the next pass's, if that has as many rows.
void DenseDevice::open_batch() {
  if (in_batch_ || rows_.size() > kBatchedRows) return;
  device_.begin_batch(stream_, std::uint64_t{rows_.size()} << 32 | batches_++);
  in_batch_ = true;
}

Status DenseDevice::close_batch() {
  if (!std::exchange(in_batch_, false)) return {};
  return note(device_.end_batch(stream_));
}

Result<DeviceEvent> DenseDevice::record() {
  SLUICE_TRY(close_batch());
  auto event = device_.record(stream_);
  SLUICE_TRY(note(event.status()));
  return event;
}

Status DenseDevice::wait() {
  SLUICE_ASSIGN(const DeviceEvent event, record());
  return note(device_.finish(event));
}

Status DenseDevice::begin(const Scratch& host, std::span<const Row> rows) {
  host_ = &host;
  rows_.assign(rows.begin(), rows.end());
  for (Row& row : rows_) {
    row.sequence = row.sequence->twin(index_);
    SLUICE_TRY(note(row.sequence->settle(device_, stream_)));
  }
  if (!numbered_) SLUICE_TRY(upload_numbers(host));
  batches_ = 0;
  open_batch();
  std::copy_n(host.positions.begin(), rows.size(), scratch_.positions.begin());
  for (std::size_t rope = 0; rope < model_.ropes.size(); ++rope) {
    const std::size_t pairs = rows.size() * (model_.ropes[rope].rotary_dim / 2);
    SLUICE_TRY(upload(scratch_.cosines[rope], host.cosines[rope], pairs));
    SLUICE_TRY(upload(scratch_.sines[rope], host.sines[rope], pairs));
  }
  return upload(scratch_.residual, host.residual, rows.size() * model_.hidden);
}

Status DenseDevice::upload_numbers(const Scratch& host) {
  for (std::size_t i = 0; i < host.head_rows.size(); ++i) {
    SLUICE_TRY(upload(scratch_.head_rows[i].rows, host.head_rows[i].rows,
                      host.head_rows[i].heads * host.max_rows));
  }
  numbered_ = true;
  return {};
}

Status DenseDevice::show_residual() {
  SLUICE_TRY(download(host_->residual, scratch_.residual, rows_.size() * model_.hidden));
  SLUICE_ASSIGN(shown_, record());
  open_batch();
  return {};
}

Status DenseDevice::shown() { return note(device_.finish(shown_)); }

Status DenseDevice::fetch(std::uint32_t layer) {
  const std::size_t rows = rows_.size();
  SLUICE_TRY(download(host_->scores, scratch_.scores, rows * model_.router.experts));
  SLUICE_TRY(download(host_->normed, scratch_.normed, rows));
  if (model_.router.input == RouterInput::kOwnNorm) {
    SLUICE_TRY(download(host_->router_input, scratch_.router_input, rows));
  }
  SLUICE_ASSIGN(const DeviceEvent event, record());
  open_batch();
  part_->share(layer, rows);
  SLUICE_TRY(close_batch());
  return note(device_.finish(event));
}

Status DenseDevice::bring() {
  open_batch();
  return upload(scratch_.block_output, host_->block_output, rows_.size() * model_.hidden);
}

Status DenseDevice::fetch_logits(std::size_t count) {
  open_batch();
  SLUICE_TRY(upload(scratch_.logit_rows, host_->logit_rows, count));
  part_->logits(count);
  SLUICE_TRY(download(host_->logits, scratch_.logits, count * model_.vocabulary));
  return wait();
}

/// Also where it is closed and the device is not lost: what was under way reads what others have
/// next.
Status DenseDevice::end() {
  if (open()) return wait();
  (void)close_batch();
  Result<DeviceEvent> event = device_.record(stream_);
  if (!event.ok()) event = device_.record(stream_);  // of what was refused before, only once
  if (event.ok()) (void)device_.finish(*event);
  return Status(ErrorCode::kDeviceLost, closed_);
}

}  // namespace sluice
