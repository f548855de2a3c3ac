#include <algorithm>

#include "cpu/cpu_compute.h"

namespace sluice {

void CpuCompute::rms_norm(const float* x, std::size_t x_stride, const float* weight, float eps,
                          float* out, std::size_t out_stride, std::size_t rows,
                          std::size_t columns) {
  constexpr std::size_t kElementsOfItem =
      64 * 1024;  // some ten microseconds: worth waking a thread
  const std::size_t rows_of_item = std::max<std::size_t>(1, kElementsOfItem / columns);
  workers_.for_each((rows + rows_of_item - 1) / rows_of_item, [&](std::size_t item, unsigned) {
    const std::size_t end = std::min(rows, (item + 1) * rows_of_item);
    for (std::size_t row = item * rows_of_item; row < end; ++row) {
      kernels_.rms_norm(x + row * x_stride, weight, eps, out + row * out_stride, columns);
    }
  });
}

}  // namespace sluice
