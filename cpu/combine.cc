#include <algorithm>

#include "cpu/cpu_compute.h"

namespace sluice {
namespace {

/// Columns [first, first + columns) of a row.
void combine_row(const CombineTask& task, std::size_t row, std::size_t first, std::size_t columns) {
  float* const out = task.out + row * task.columns + first;
  std::fill_n(out, columns, 0.0f);
  for (std::size_t rank = 0; rank < task.ranks; ++rank) {
    const std::uint32_t place = task.places[row * task.ranks + rank];
    if (place == CombineTask::kLeftOut) continue;
    const float weight = task.weights[row * task.ranks + rank];
    const float* const output = task.outputs + place * task.columns + first;
    for (std::size_t i = 0; i < columns; ++i) out[i] += weight * output[i];
  }
}

}  // namespace

void CpuCompute::combine(const CombineTask& task) {
  constexpr std::size_t kTerms = 16 * 1024;  // some microseconds: worth waking a thread
  const std::size_t ranks = std::max<std::size_t>(1, task.ranks);
  const std::size_t width = std::min(task.columns, std::max<std::size_t>(512, kTerms / ranks));
  if (width == 0) return;
  const std::size_t across = (task.columns + width - 1) / width;
  const std::size_t rows_of_item = std::max<std::size_t>(1, kTerms / (width * ranks));
  const std::size_t down = (task.rows + rows_of_item - 1) / rows_of_item;
  workers_.for_each(down * across, [&](std::size_t item, unsigned) {
    const std::size_t end = std::min(task.rows, (item / across + 1) * rows_of_item);
    const std::size_t first = item % across * width;
    for (std::size_t row = item / across * rows_of_item; row < end; ++row) {
      combine_row(task, row, first, std::min(width, task.columns - first));
    }
  });
}

}  // namespace sluice
