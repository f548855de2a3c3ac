#include "cpu/cpu_compute.h"

namespace sluice {

// Two loops over the heads, whose channels a convolution keeps apart: all of a key head's channels
// must be there before a value head uses them.
void CpuCompute::delta_net(const DeltaNetTask& task) {
  static_assert(kDeltaNetScratchBytes <= kScratchBytes);
  const DeltaNetShape& shape = task.shape;
  delta_net_runs_.clear();  // where each sequence's rows begin, and where the last end
  for (std::size_t row = 0; row < task.rows; ++row) {
    if (row == 0 || task.states[row] != task.states[row - 1]) delta_net_runs_.push_back(row);
  }
  const std::size_t runs = delta_net_runs_.size();
  delta_net_runs_.push_back(task.rows);
  const auto for_each_head = [&](std::size_t heads, const auto& body) {
    workers_.for_each(runs * heads, [&](std::size_t item, unsigned worker) {
      const std::size_t first = delta_net_runs_[item / heads];
      body(first, delta_net_runs_[item / heads + 1] - first, item % heads, worker);
    });
  };
  for_each_head(2 * std::size_t{shape.key_heads} + shape.value_heads,
                [&](std::size_t first, std::size_t rows, std::size_t head, unsigned worker) {
                  kernels_.delta_net_convolve(task, first, rows, head, scratch(worker));
                });
  for_each_head(shape.value_heads,
                [&](std::size_t first, std::size_t rows, std::size_t head, unsigned) {
                  kernels_.delta_net_recur(task, first, rows, head);
                });
}

}  // namespace sluice
