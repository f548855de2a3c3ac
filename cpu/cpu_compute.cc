#include "cpu/cpu_compute.h"

#include <oneapi/tbb/info.h>
#include <algorithm>
#include <cstring>
#include <tuple>
#include <utility>

#include "base/canonical.h"
#include "base/strip_layout.h"

namespace sluice {
namespace {

std::size_t divide_up(std::size_t n, std::size_t by) { return (n + by - 1) / by; }

/// How a task's outputs are cut into tiles: weight rows fastest, so that a chunk of activations
/// stays in a core's cache while the weights stream past it.
struct Tiling {
  Tiling(std::size_t weight_rows, std::size_t activation_rows)
      : across(divide_up(weight_rows, kTileWeightRows)),
        down(divide_up(activation_rows, kTileActivationRows)) {}
  std::size_t count() const { return across * down; }
  std::size_t across, down;
};

/// The part of a product that tile `index` is of. Bias and output are for the caller to set.
DotTile tile_of(const WeightMatrix& weight, const Activations& input,
                const std::uint32_t* row_index, std::size_t n_rows, std::size_t first_weight_row,
                std::size_t first_row) {
  DotTile tile;
  tile.format = weight.format;
  tile.row_bytes = weight.row_bytes();
  tile.layout = weight.layout;
  tile.row_step = weight.row_step;
  tile.column_stride = weight.column_stride;
  tile.grid = weight.scales;
  tile.nested = weight.nested;
  tile.first_row = first_weight_row;
  tile.weight = weight.layout == WeightLayout::kPlanes ? weight.data : weight.row(first_weight_row);
  tile.weight_rows = std::min(kTileWeightRows, weight.rows - first_weight_row);
  if (weight.layout == WeightLayout::kColumnStrips) {
    static_assert(kTileWeightRows == kColumnStripRows);
    tile.layout = WeightLayout::kColumns;
    tile.column_stride = tile.weight_rows;
  }
  tile.columns = weight.columns;
  tile.n_rows = std::min(kTileActivationRows, n_rows - first_row);
  tile.values = input.values;
  tile.codes = input.codes;
  tile.scales = input.scales;
  tile.sums = input.sums;
  if (row_index != nullptr) {
    tile.row_index = row_index + first_row;
  } else {
    tile.values += first_row * input.columns;
    if (tile.codes != nullptr) {
      tile.codes += first_row * input.columns;
      tile.scales += first_row * (input.columns / 32);
      tile.sums += first_row * (input.columns / 16);
    }
  }
  return tile;
}

const float* bias_from(const float* bias, std::size_t first_weight_row) {
  return bias == nullptr ? nullptr : bias + first_weight_row;
}

std::size_t strip_rows(WeightLayout layout) {
  return layout == WeightLayout::kStrips ? kStripRows : kColumnStripRows;
}

/// kRows where there is none.
WeightLayout better_layout(const RepackTask& task) {
  const WeightMatrix& weight = *task.weight;
  if (weight.layout != WeightLayout::kRows) return WeightLayout::kRows;
  if (weight.format->quantised()) return WeightLayout::kStrips;
  return weight.format->is_float() && task.sparse_input ? WeightLayout::kColumnStrips
                                                        : WeightLayout::kRows;
}

/// That a worker's memory can turn; only whole ones of sixteen rows, also narrower ones of columns.
std::size_t strips_of(const WeightMatrix& weight, WeightLayout layout) {
  if (layout == WeightLayout::kRows ||
      strip_rows(layout) * weight.row_bytes() > CpuCompute::kScratchBytes) {
    return 0;
  }
  return layout == WeightLayout::kStrips ? weight.rows / kStripRows
                                         : divide_up(weight.rows, kColumnStripRows);
}

/// Rows of numbers → columns of numbers.
void to_columns(const std::byte* from, std::size_t rows, std::size_t columns, std::size_t bytes,
                std::byte* to) {
  for (std::size_t column = 0; column < columns; ++column) {
    for (std::size_t row = 0; row < rows; ++row, to += bytes) {
      std::memcpy(to, from + (row * columns + column) * bytes, bytes);
    }
  }
}

/// Which task an item belongs to, and its number within the task.
std::pair<std::size_t, std::size_t> locate(std::span<const std::size_t> ends, std::size_t item) {
  const auto task =
      static_cast<std::size_t>(std::upper_bound(ends.begin(), ends.end(), item) - ends.begin());
  return {task, task == 0 ? item : item - ends[task - 1]};
}

}  // namespace

CpuCompute::CpuCompute(unsigned threads, Isa isa, AlignedBuffer scratch)
    : workers_(threads),
      kernels_(kernels_of(isa)),
      name_(std::string(isa_name(isa)) + ", " + std::to_string(workers_.count()) +
            (workers_.count() == 1 ? " thread" : " threads")),
      scratch_(std::move(scratch)) {}

void CpuCompute::share_out(std::size_t items, const std::function<void(std::size_t)>& body) {
  workers_.for_each(items, [&](std::size_t item, unsigned) { body(item); });
}

void CpuCompute::quantise(const Activations& activations, std::size_t rows) {
  if (activations.codes == nullptr) return;
  const std::size_t columns = activations.columns;
  constexpr std::size_t kRowsOfItem = 8;  // of a few microseconds together
  workers_.for_each(divide_up(rows, kRowsOfItem), [&](std::size_t item, unsigned) {
    const std::size_t end = std::min(rows, (item + 1) * kRowsOfItem);
    for (std::size_t row = item * kRowsOfItem; row < end; ++row) {
      kernels_.quantise(
          activations.values + row * columns, columns, activations.codes + row * columns,
          activations.scales + row * (columns / 32), activations.sums + row * (columns / 16));
    }
  });
}

void CpuCompute::repack(std::span<const RepackTask> tasks) {
  static_assert(kTileWeightRows % kStripRows == 0);
  item_ends_.clear();
  std::size_t strips = 0;
  for (const RepackTask& task : tasks) {
    item_ends_.push_back(strips += strips_of(*task.weight, better_layout(task)));
  }
  workers_.for_each(strips, [&](std::size_t item, unsigned worker) {
    const auto [task_index, index] = locate(item_ends_, item);
    const RepackTask& task = tasks[task_index];
    const WeightMatrix& weight = *task.weight;
    const std::size_t height = strip_rows(better_layout(task));
    const std::size_t rows = std::min(height, weight.rows - index * height);
    std::byte* const strip = task.data + index * height * weight.row_bytes();
    std::copy_n(strip, rows * weight.row_bytes(), scratch(worker));
    if (weight.format->quantised()) {
      kernels_.to_strip(*weight.format, scratch(worker), weight.row_bytes(), rows,
                        weight.columns / weight.format->block_elements, strip);
    } else {
      to_columns(scratch(worker), rows, weight.columns, weight.format->block_bytes, strip);
    }
  });
  for (const RepackTask& task : tasks) {
    const WeightLayout better = better_layout(task);
    if (strips_of(*task.weight, better) > 0) task.weight->layout = better;
  }
}

template <typename Task, typename Body>
void CpuCompute::for_each_tile(std::span<const Task> tasks, WeightMatrix Task::*weight,
                               const Body& body) {
  item_ends_.clear();
  std::size_t tiles = 0;
  for (const Task& task : tasks) {
    item_ends_.push_back(tiles += Tiling((task.*weight).rows, task.n_rows).count());
  }
  workers_.for_each(tiles, [&](std::size_t item, unsigned worker) {
    const auto [task_index, index] = locate(item_ends_, item);
    const Task& task = tasks[task_index];
    const Tiling tiling((task.*weight).rows, task.n_rows);
    body(task, index % tiling.across * kTileWeightRows, index / tiling.across * kTileActivationRows,
         worker);
  });
}

void CpuCompute::matmul(std::span<const MatmulTask> tasks) {
  for_each_tile(tasks, &MatmulTask::weight,
                [&](const MatmulTask& task, std::size_t first_weight_row, std::size_t first_row,
                    unsigned worker) {
                  DotTile tile = tile_of(task.weight, task.input, task.row_index, task.n_rows,
                                         first_weight_row, first_row);
                  tile.output = task.output + first_row * task.output_stride + first_weight_row;
                  tile.output_stride = task.output_stride;
                  tile.bias = bias_from(task.bias, first_weight_row);
                  kernels_.dot(tile, scratch(worker));
                });
}

// Two loops: a tile of `hidden` is whole groups of its 8-bit form, so the same item quantises it;
// `down` needs whole rows of hidden and waits for all.
void CpuCompute::ffn(std::span<const FfnTask> tasks) {
  static_assert(kTileWeightRows % kActivationGroup == 0);
  static_assert(kDotScratchBytes + 2 * kTileActivationRows * kTileWeightRows * sizeof(float) <=
                kScratchBytes);
  for_each_tile(
      tasks, &FfnTask::gate,
      [&](const FfnTask& task, std::size_t first_weight_row, std::size_t first_row,
          unsigned worker) { make_hidden(task, first_weight_row, first_row, scratch(worker)); });
  for_each_tile(tasks, &FfnTask::down,
                [&](const FfnTask& task, std::size_t first_weight_row, std::size_t first_row,
                    unsigned worker) {
                  DotTile tile = tile_of(task.down, task.hidden, nullptr, task.n_rows,
                                         first_weight_row, first_row);
                  tile.output = task.output + first_row * task.down.rows + first_weight_row;
                  tile.output_stride = task.down.rows;
                  tile.bias = bias_from(task.down_bias, first_weight_row);
                  kernels_.dot(tile, scratch(worker));
                });
}

/// A tile of what the activation makes of gate · x and up · x, in both forms.
void CpuCompute::make_hidden(const FfnTask& task, std::size_t first_weight_row,
                             std::size_t first_row, std::byte* scratch) {
  auto* const gate = reinterpret_cast<float*>(scratch + kDotScratchBytes);
  float* const up = gate + kTileActivationRows * kTileWeightRows;
  DotTile tile;
  for (const auto& [weight, bias, output] :
       {std::tuple(&task.gate, task.gate_bias, gate), std::tuple(&task.up, task.up_bias, up)}) {
    tile = tile_of(*weight, task.input, task.row_index, task.n_rows, first_weight_row, first_row);
    tile.output = output;
    tile.output_stride = kTileWeightRows;
    tile.bias = bias_from(bias, first_weight_row);
    kernels_.dot(tile, scratch);
  }
  const Activations& hidden = task.hidden;
  for (std::size_t r = 0; r < tile.n_rows; ++r) {
    const std::size_t at = (first_row + r) * hidden.columns + first_weight_row;
    kernels_.activate(task.activation, task.alpha, task.limit, gate + r * kTileWeightRows,
                      up + r * kTileWeightRows, hidden.values + at, tile.weight_rows);
    if (hidden.codes == nullptr) continue;
    kernels_.quantise(hidden.values + at, tile.weight_rows, hidden.codes + at,
                      hidden.scales + at / 32, hidden.sums + at / 16);
  }
}

Result<std::unique_ptr<Compute>> make_cpu_compute(unsigned threads, Isa isa) {
  if (!isa_available(isa)) {
    return Status(ErrorCode::kUnsupported,
                  std::string(isa_name(isa)) + " kernels: this machine lacks these instructions");
  }
  // More would only wait for one another; and to try whether they can be made takes memory.
  constexpr unsigned kMostThreads = 512;
  threads = std::min(threads, kMostThreads);
  if (threads == 0) threads = static_cast<unsigned>(std::max(tbb::info::default_concurrency(), 1));
  SLUICE_ASSIGN(AlignedBuffer scratch,
                AlignedBuffer::allocate(threads * CpuCompute::kScratchBytes));
  return std::unique_ptr<Compute>(std::make_unique<CpuCompute>(threads, isa, std::move(scratch)));
}

Result<std::unique_ptr<Compute>> make_cpu_compute(unsigned threads) {
  SLUICE_ASSIGN(const Isa isa, choose_isa());
  return make_cpu_compute(threads, isa);
}

}  // namespace sluice
