#include "devices/device_scratch.h"

#include <algorithm>
#include <cstring>
#include <utility>

#include "base/nested_planes.h"

namespace sluice {
namespace {

std::size_t padded(std::size_t bytes) { return (bytes + 63) / 64 * 64; }

/// Where each array of a mirror for so many rows begins, and where the last one ends.
struct Places {
  Places(const ModelDescription& model, std::size_t rows, bool eight_bit) {
    const std::size_t places = rows * model.router.top_k;
    const std::size_t inputs = model.router.weights_scale_input ? places : rows;
    // Of each place its row; of each row's experts their places and weights.
    constexpr std::size_t kNumbers = 2 * sizeof(std::uint32_t) + sizeof(float);
    hidden = padded(Activations::bytes(inputs, model.hidden, eight_bit) + places * kNumbers);
    outputs = hidden + Activations::bytes(places, model.expert_ffn, eight_bit);
    end = DeviceBackend::whole_pages(outputs + places * model.hidden * sizeof(float));
  }
  std::size_t hidden = 0, outputs = 0, end = 0;
};

std::array<std::pair<const float*, std::size_t>, 3> bias_arrays(const ModelDescription& model,
                                                                const LayerWeights& layer) {
  const std::size_t experts = model.router.experts;
  const auto array = [](const float* from, std::size_t count) {
    return std::pair(from, from == nullptr ? 0 : count);
  };
  return {array(layer.expert_biases.gate, experts * model.expert_ffn),
          array(layer.expert_biases.up, experts * model.expert_ffn),
          array(layer.expert_biases.down, experts * model.hidden)};
}

}  // namespace

std::uint64_t DeviceScratch::bytes(const ModelDescription& model, std::size_t rows,
                                   bool eight_bit) {
  return Places(model, rows, eight_bit).end;
}

std::uint64_t DeviceScratch::bias_bytes(const ModelDescription& model,
                                        std::span<const LayerWeights> layers) {
  std::uint64_t bytes = 0;
  for (const LayerWeights& layer : layers) {
    for (const auto& [from, count] : bias_arrays(model, layer)) {
      bytes += padded(count * sizeof(float));
    }
  }
  return DeviceBackend::whole_pages(bytes);
}

std::uint64_t DeviceScratch::host_bytes(const ModelDescription& model) {
  return Places(model, kPackedRows, /*eight_bit=*/true).hidden;
}

Result<DeviceScratch> DeviceScratch::create(const ModelDescription& model,
                                            std::span<const LayerWeights> layers,
                                            DeviceBackend& device, std::size_t rows, bool eight_bit,
                                            std::uint64_t most) {
  DeviceScratch scratch;
  scratch.device_ = &device;
  scratch.hidden_ = model.hidden;
  while (rows > 1 && bytes(model, rows, eight_bit) > most) rows = (rows + 1) / 2;
  for (;;) {
    auto memory = DeviceBuffer::allocate(device, bytes(model, rows, eight_bit));
    if (memory.ok()) {
      scratch.memory_ = std::move(*memory);
      break;
    }
    if (memory.status().code() != ErrorCode::kBudget || rows == 1) return memory.status();
    rows = (rows + 1) / 2;
  }
  scratch.max_rows_ = rows;
  SLUICE_ASSIGN(scratch.packed_, DeviceBuffer::allocate_pinned(device, host_bytes(model)));
  SLUICE_ASSIGN(scratch.stream_, device.make_stream());
  SLUICE_TRY(scratch.upload_biases(model, layers));
  scratch.carve(model, eight_bit);
  return scratch;
}

void DeviceScratch::carve(const ModelDescription& model, bool eight_bit) {
  const Places at(model, max_rows_, eight_bit);
  const std::size_t places = max_rows_ * model.router.top_k;
  input_memory_ = memory_.data();
  expert_hidden_ =
      Activations::carve(memory_.data() + at.hidden, places, model.expert_ffn, eight_bit);
  outputs_ = reinterpret_cast<float*>(memory_.data() + at.outputs);
  const std::size_t most = model.router.experts * kMostNestedGroups;
  tasks_.reserve(most);
  runs_.reserve(most);
  pieces_.reserve(7);
  launches_.reserve(model.router.experts + 1);
}

Status DeviceScratch::upload_biases(const ModelDescription& model,
                                    std::span<const LayerWeights> layers) {
  layers_.resize(layers.size());
  const std::uint64_t bytes = bias_bytes(model, layers);
  if (bytes == 0) return {};
  SLUICE_ASSIGN(biases_, DeviceBuffer::allocate(*device_, bytes));
  SLUICE_ASSIGN(const DeviceBuffer pinned, DeviceBuffer::allocate_pinned(*device_, bytes));
  std::size_t at = 0;
  for (std::size_t i = 0; i < layers.size(); ++i) {
    const auto arrays = bias_arrays(model, layers[i]);
    for (std::size_t k = 0; k < arrays.size(); ++k) {
      const auto [from, count] = arrays[k];
      if (from == nullptr) continue;
      std::memcpy(pinned.data() + at, from, count * sizeof(float));
      layers_[i].host[k] = from;
      layers_[i].device[k] = reinterpret_cast<const float*>(biases_.data() + at);
      at += padded(count * sizeof(float));
    }
  }
  SLUICE_TRY(device_->upload(stream_, biases_.data(), pinned.data(), bytes));
  SLUICE_ASSIGN(const DeviceEvent event, device_->record(stream_));
  return device_->finish(event);
}

template <typename T>
void DeviceScratch::take(T* to, const T* from, std::size_t count) {
  pieces_.push_back({reinterpret_cast<std::byte*>(to), reinterpret_cast<const std::byte*>(from),
                     count * sizeof(T)});
}

Status DeviceScratch::begin(const ExpertRows& rows) {
  rows_ = rows;
  pieces_.clear();
  over_.reset();
  const Scratch& scratch = *rows.scratch;
  const std::size_t inputs = rows.input.rows;
  std::byte* at = input_memory_;
  if (rows.neighbour && rows.neighbour->input.values != nullptr) {
    input_ = slice_rows(rows.neighbour->input, 0, inputs);
  } else {
    const bool codes = rows.input.codes != nullptr;
    const std::size_t count = inputs * hidden_;
    input_ = Activations::carve(at, inputs, hidden_, codes);
    at += Activations::bytes(inputs, hidden_, codes);
    take(input_.values, rows.input.values, count);
    if (codes) {
      take(input_.codes, rows.input.codes, count);
      take(input_.scales, rows.input.scales, count / 32);
      take(input_.sums, rows.input.sums, count / 16);
    }
  }
  index_ = reinterpret_cast<std::uint32_t*>(at);
  output_place_ = index_ + rows.places;
  take(index_, scratch.grouped_rows, rows.places);
  std::size_t numbers = rows.places;
  if (rows.neighbour) {
    const std::size_t pairs = rows.rows * rows.ranks;
    weights_ = reinterpret_cast<float*>(output_place_ + pairs);
    take(output_place_, scratch.output_place, pairs);
    take(weights_, scratch.expert_weights, pairs);
    numbers += 2 * pairs;
  }
  return upload_taken(static_cast<std::size_t>(at - input_memory_) +
                      numbers * sizeof(std::uint32_t));
}

/// Into so many bytes from input_memory_ on; in one piece, if that is worth copying it once more.
Status DeviceScratch::upload_taken(std::size_t bytes) {
  const bool packed = bytes <= packed_.size();
  for (const Piece& piece : pieces_) {
    if (packed) {
      std::memcpy(packed_.data() + (piece.to - input_memory_), piece.from, piece.bytes);
    } else {
      SLUICE_TRY(device_->upload(stream_, piece.to, piece.from, piece.bytes));
    }
  }
  return packed ? device_->upload(stream_, input_memory_, packed_.data(), bytes) : Status();
}

void DeviceScratch::add(std::uint32_t layer, const FfnTask& task) {
  const std::size_t first = place_of(task);
  FfnTask there = task;
  const Biases& biases = layers_[layer];
  std::size_t k = 0;
  for (const auto bias : {&FfnTask::gate_bias, &FfnTask::up_bias, &FfnTask::down_bias}) {
    if (task.*bias != nullptr) there.*bias = biases.device[k] + (task.*bias - biases.host[k]);
    ++k;
  }
  const auto skipped = static_cast<std::size_t>(task.input.values - rows_.input.values) / hidden_;
  there.input = slice_rows(input_, skipped, input_.rows - skipped);
  if (task.row_index != nullptr) {
    there.row_index = index_ + (task.row_index - rows_.scratch->grouped_rows);
  }
  there.hidden = slice_rows(expert_hidden_, first, task.n_rows);
  there.output = outputs_ + first * hidden_;
  tasks_.push_back(there);
  if (!rows_.neighbour) add_run(first, task.n_rows);
}

/// Those that follow one another are one.
void DeviceScratch::add_run(std::size_t first, std::size_t count) {
  if (!runs_.empty() && runs_.back().first + runs_.back().count == first) {
    runs_.back().count += count;
  } else {
    runs_.push_back({first, count});
  }
}

Result<DeviceEvent> DeviceScratch::launch() {
  if (tasks_.empty()) return device_->record(stream_);
  Span span;
  SLUICE_ASSIGN(span.begun, device_->record(stream_));
  device_->operations(stream_).ffn(tasks_);
  SLUICE_ASSIGN(span.over, device_->record(stream_));
  launches_.push_back(span);
  tasks_.clear();
  return span.over;
}

Status DeviceScratch::fetch() {
  for (const Run& run : runs_) {
    SLUICE_TRY(device_->download(
        stream_, reinterpret_cast<std::byte*>(rows_.scratch->expert_outputs + run.first * hidden_),
        reinterpret_cast<const std::byte*>(outputs_ + run.first * hidden_),
        run.count * hidden_ * sizeof(float)));
  }
  runs_.clear();
  return {};
}

Status DeviceScratch::bring(std::span<const FfnTask> computed) {
  if (!rows_.neighbour) return {};
  for (const FfnTask& task : computed) add_run(place_of(task), task.n_rows);
  // In the neighbour's stream, which has nothing to do meanwhile: what is computed is not held up.
  for (const Run& run : runs_) {
    SLUICE_TRY(device_->upload(
        rows_.neighbour->stream, reinterpret_cast<std::byte*>(outputs_ + run.first * hidden_),
        reinterpret_cast<const std::byte*>(rows_.scratch->expert_outputs + run.first * hidden_),
        run.count * hidden_ * sizeof(float)));
  }
  runs_.clear();
  return {};
}

Status DeviceScratch::sum() {
  const StreamIndex stream = rows_.neighbour->stream;
  SLUICE_ASSIGN(over_, device_->record(stream_));
  SLUICE_TRY(device_->wait(stream, *over_));
  device_->operations(stream).combine({.outputs = outputs_,
                                       .places = output_place_,
                                       .weights = weights_,
                                       .out = rows_.neighbour->sum,
                                       .rows = rows_.rows,
                                       .ranks = rows_.ranks,
                                       .columns = hidden_});
  return {};
}

Result<double> DeviceScratch::wait() {
  if (!over_) {
    SLUICE_ASSIGN(over_, device_->record(stream_));
  }
  SLUICE_TRY(device_->finish(*over_));
  double seconds = 0;
  for (const Span& span : launches_) {
    SLUICE_ASSIGN(const double took, device_->seconds_between(span.begun, span.over));
    seconds += took;
  }
  launches_.clear();
  return seconds;
}

void DeviceScratch::forget() {
  tasks_.clear();
  runs_.clear();
  launches_.clear();
  over_.reset();
}

}  // namespace sluice
