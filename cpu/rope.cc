#include <algorithm>

#include "cpu/cpu_compute.h"

namespace sluice {

void CpuCompute::rope(const RopeTask& task) {
  constexpr std::size_t kElementsOfItem =
      64 * 1024;  // some ten microseconds: worth waking a thread
  const std::size_t rows_of_item = std::max<std::size_t>(
      1, kElementsOfItem / std::max<std::size_t>(1, task.heads * task.rotary_dim));
  const std::size_t pairs = task.rotary_dim / 2;
  workers_.for_each((task.rows + rows_of_item - 1) / rows_of_item, [&](std::size_t item, unsigned) {
    const std::size_t end = std::min(task.rows, (item + 1) * rows_of_item);
    for (std::size_t row = item * rows_of_item; row < end; ++row) {
      kernels_.rope(task.x + row * task.stride, task.heads, task.head_dim, task.rotary_dim,
                    task.interleaved, task.cosines + row * pairs, task.sines + row * pairs);
    }
  });
}

}  // namespace sluice
