#include <algorithm>

#include "base/canonical.h"
#include "cpu/cpu_compute.h"

namespace sluice {
namespace {

float sigmoid(float x) { return 1.0f / (1.0f + canonical_exp(-x)); }

void map_row(const MapTask& task, std::size_t row) {
  float* const out = task.out + row * task.out_stride;
  const float* const x = task.x + row * task.x_stride;
  const float factor = task.op == MapOp::kAddGated ? sigmoid(task.gates[row]) : task.factor;
  switch (task.op) {
    case MapOp::kFill:
      std::fill_n(out, task.columns, factor);
      break;
    case MapOp::kCopy:
      std::copy_n(x, task.columns, out);
      break;
    case MapOp::kAdd:
    case MapOp::kAddGated:
      for (std::size_t i = 0; i < task.columns; ++i) out[i] += factor * x[i];
      break;
    case MapOp::kScale:
      for (std::size_t i = 0; i < task.columns; ++i) out[i] *= factor;
      break;
    case MapOp::kGate:
      for (std::size_t i = 0; i < task.columns; ++i) out[i] *= sigmoid(x[i]);
      break;
    case MapOp::kClamp:
      for (std::size_t i = 0; i < task.columns; ++i) out[i] = std::clamp(out[i], -factor, factor);
      break;
  }
}

}  // namespace

void CpuCompute::map(const MapTask& task) {
  constexpr std::size_t kElementsOfItem = 16 * 1024;  // some microseconds: worth waking a thread
  const std::size_t rows_of_item =
      std::max<std::size_t>(1, kElementsOfItem / std::max<std::size_t>(1, task.columns));
  workers_.for_each((task.rows + rows_of_item - 1) / rows_of_item, [&](std::size_t item, unsigned) {
    const std::size_t end = std::min(task.rows, (item + 1) * rows_of_item);
    for (std::size_t row = item * rows_of_item; row < end; ++row) map_row(task, row);
  });
}

}  // namespace sluice
