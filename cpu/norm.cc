#include <algorithm>

#include "cpu/cpu_compute.h"

namespace sluice {

void CpuCompute::norm(const NormTask& task) {
  constexpr std::size_t kElementsOfItem =
      64 * 1024;  // some ten microseconds: worth waking a thread
  const std::size_t rows_of_item =
      std::max<std::size_t>(1, kElementsOfItem / std::max<std::size_t>(1, task.columns));
  workers_.for_each((task.rows + rows_of_item - 1) / rows_of_item, [&](std::size_t item, unsigned) {
    const std::size_t end = std::min(task.rows, (item + 1) * rows_of_item);
    for (std::size_t row = item * rows_of_item; row < end; ++row) {
      kernels_.norm(task, task.x + row * task.x_stride, task.out + row * task.out_stride);
    }
  });
}

}  // namespace sluice
