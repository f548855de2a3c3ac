#include "devices/made_up_experts.h"

#include <algorithm>
#include <cstring>

#include "base/size.h"
#include "experts/device_copy.h"
#include "hybrid/cost_curve.h"
#include "layers/scratch.h"
#include "layers/tasks.h"

namespace sluice {
namespace {

/// More than the last level of most caches holds.
constexpr std::uint64_t kBeyondCaches = std::uint64_t{64} << 20;
constexpr std::uint32_t kMostRows = 1u << (CostCurve::kKnots - 1);
/// Of the memory, at most, for what experts read and write.
constexpr std::uint64_t kScratchShare = 4;

constexpr auto whole_pages = DeviceBackend::whole_pages;

/// A byte that is the upper one of a float is 0x20 to 0x3f: whatever the type, and wherever it
/// begins, that is a number from 2^-95 to 2.
void make_up(std::byte* bytes, std::size_t count) {
  std::uint64_t state = 1;
  for (std::size_t i = 0; i + 8 <= count; i += 8) {
    state = state * 6364136223846793005u + 1442695040888963407u;
    const std::uint64_t drawn = (state ^ state >> 29) & 0x1f1f1f1f1f1f1f1fu;
    const std::uint64_t eight = drawn | 0x2020202020202020u;
    std::memcpy(bytes + i, &eight, sizeof eight);
  }
}

void shift(WeightMatrix& matrix, std::size_t bytes) {
  matrix.data += bytes;
  if (matrix.scales.data != nullptr) matrix.scales.data += bytes;
}

struct Sizes {
  std::uint64_t input = 0, hidden = 0, outputs = 0;
  std::uint64_t all() const { return input + hidden + outputs; }
};

Sizes sizes_of(const ModelDescription& model, std::uint32_t rows, bool eight_bit) {
  return {whole_pages(Activations::bytes(rows, model.hidden, eight_bit)),
          whole_pages(Activations::bytes(rows, model.expert_ffn, eight_bit)),
          whole_pages(std::uint64_t{rows} * model.hidden * sizeof(float))};
}

}  // namespace

Result<MadeUpExperts> MadeUpExperts::make(const ModelDescription& model, const ExpertLayer& layer,
                                          DeviceBackend& device, Compute& compute,
                                          const MadeUpExpertsOptions& options) {
  MadeUpExperts made;
  made.device_backend_ = &device;
  made.bytes_ = device_copy_bytes(layer, 0, layer.parts_there(0));
  made.stride_ = whole_pages(made.bytes_);
  made.eight_bit_ = options.eight_bit;
  made.hidden_size_ = model.hidden;
  const std::uint64_t least = std::min(options.host_bytes, options.device_bytes);
  made.rows_ = kMostRows;
  while (made.rows_ > kLeastRows &&
         (made.rows_ / 2 >= options.rows ||
          sizes_of(model, made.rows_, options.eight_bit).all() > least / kScratchShare)) {
    made.rows_ /= 2;
  }
  const Sizes sizes = sizes_of(model, made.rows_, options.eight_bit);
  const std::uint64_t row = whole_pages(model.hidden * sizeof(float));
  const std::uint64_t pinned = made.stride_ + sizes.input + row;
  const auto copies = [&](std::uint64_t bytes, std::uint64_t taken) {
    const std::uint64_t room = bytes > taken ? (bytes - taken) / made.stride_ : 0;
    const std::uint64_t enough = std::max<std::uint64_t>(2, kBeyondCaches / made.stride_);
    return std::min({room, enough, std::max<std::uint64_t>(2, options.experts)});
  };
  made.host_.copies = copies(options.host_bytes, pinned + sizes.hidden + sizes.outputs);
  made.device_.copies = copies(options.device_bytes, sizes.all());
  if (made.experts() < 2) {
    return Status(ErrorCode::kBudget, format_size(least) + " hold no two experts of " +
                                          format_size(made.bytes_) +
                                          " beside what they read and write");
  }
  const std::uint64_t host_weights = made.host_.copies * made.stride_;
  const std::uint64_t device_weights = made.device_.copies * made.stride_;
  SLUICE_ASSIGN(made.memory_, AlignedBuffer::allocate(host_weights + sizes.hidden + sizes.outputs));
  SLUICE_ASSIGN(made.pinned_, DeviceBuffer::allocate_pinned(device, pinned));
  SLUICE_ASSIGN(made.device_memory_, DeviceBuffer::allocate(device, device_weights + sizes.all()));
  made.place(made.host_, model, layer, made.memory_.data());
  made.place(made.device_, model, layer, made.device_memory_.data());
  made.pinned_input_ = made.pinned_.data() + made.stride_;
  made.pinned_output_ = made.pinned_input_ + sizes.input;
  made.device_input_ = made.device_memory_.data() + device_weights + sizes.hidden + sizes.outputs;
  made.host_.first.input =
      Activations::carve(made.pinned_input_, made.rows_, model.hidden, options.eight_bit);
  made.device_.first.input =
      Activations::carve(made.device_input_, made.rows_, model.hidden, options.eight_bit);
  made.staged_ = sluice::device_weights(layer, 0, layer.parts_there(0), made.pinned_.data());
  made.fill(model, compute);
  SLUICE_TRY(made.fill_device());
  return made;
}

/// Weights, then what experts hold between two matrices, then outputs.
void MadeUpExperts::place(Side& side, const ModelDescription& model, const ExpertLayer& layer,
                          std::byte* memory) const {
  const ExpertWeights weights = device_weights(layer, 0, layer.parts_there(0), memory);
  side.weights = memory;
  side.first = ffn_task(model, weights.gate, weights.up, weights.down);
  const Sizes sizes = sizes_of(model, rows_, eight_bit_);
  std::byte* const hidden = memory + side.copies * stride_;
  side.hidden = Activations::carve(hidden, rows_, model.expert_ffn, eight_bit_);
  side.outputs = reinterpret_cast<float*>(hidden + sizes.hidden);
  side.tasks.reserve(side.copies);
}

/// The host's are turned as the experts of its cache are; what is copied to the device is not.
void MadeUpExperts::fill(const ModelDescription& model, Compute& compute) {
  make_up(pinned_.data(), stride_);
  std::memcpy(host_.weights, pinned_.data(), stride_);
  std::vector<RepackTask> turned;
  for (const auto matrix : {&FfnTask::gate, &FfnTask::up, &FfnTask::down}) {
    WeightMatrix& weight = host_.first.*matrix;
    turned.push_back(
        {.weight = &weight,
         .data = host_.weights + (weight.data - host_.weights),
         .sparse_input = matrix == &FfnTask::down && model.activation == Activation::kRelu});
  }
  compute.repack(turned);
  const auto copy = [&](std::size_t i) {
    std::memcpy(host_.weights + (i + 1) * stride_, host_.weights, stride_);
  };
  compute.share_out(host_.copies - 1, copy);

  const Activations& input = host_.first.input;
  std::uint32_t state = 1;
  for (std::size_t i = 0; i < input.rows * input.columns; ++i) {
    state = state * 1664525u + 1013904223u;
    input.values[i] = static_cast<float>(state >> 8) / (1 << 23) - 1;
  }
  compute.quantise(input, input.rows);
}

Status MadeUpExperts::fill_device() {
  SLUICE_ASSIGN(const StreamIndex stream, device_backend_->make_stream());
  for (std::size_t i = 0; i < device_.copies; ++i) {
    SLUICE_TRY(
        device_backend_->upload(stream, device_.weights + i * stride_, pinned_.data(), stride_));
  }
  SLUICE_TRY(device_backend_->upload(stream, device_input_, pinned_input_,
                                     Activations::bytes(rows_, hidden_size_, eight_bit_)));
  SLUICE_ASSIGN(const DeviceEvent filled, device_backend_->record(stream));
  return device_backend_->finish(filled);
}

std::span<const FfnTask> MadeUpExperts::tasks(Side& side, std::size_t experts,
                                              std::uint32_t rows) const {
  side.tasks.clear();
  for (std::size_t i = 0; i < experts; ++i) {
    FfnTask task = side.first;
    for (WeightMatrix* matrix : {&task.gate, &task.up, &task.down}) {
      shift(*matrix, side.next * stride_);
    }
    side.next = (side.next + 1) % side.copies;
    task.n_rows = rows;
    task.hidden = slice_rows(side.hidden, i * rows, rows);
    task.output = side.outputs + i * rows * hidden_size_;
    side.tasks.push_back(task);
  }
  return side.tasks;
}

void MadeUpExperts::stage(Compute& compute) {
  const FfnTask& task = on_host(1, 1).front();
  write_device_copy({task.gate, task.up, task.down}, staged_, pinned_.data(), compute);
}

Status MadeUpExperts::upload(StreamIndex stream, std::uint64_t bytes) {
  return device_backend_->upload(stream, device_.weights, pinned_.data(), bytes);
}

Status MadeUpExperts::send_row(StreamIndex stream) {
  return device_backend_->upload(stream, device_input_, pinned_input_,
                                 Activations::bytes(1, hidden_size_, eight_bit_));
}

Status MadeUpExperts::fetch_row(StreamIndex stream) {
  return device_backend_->download(stream, pinned_output_,
                                   reinterpret_cast<const std::byte*>(device_.outputs),
                                   hidden_size_ * sizeof(float));
}

}  // namespace sluice
