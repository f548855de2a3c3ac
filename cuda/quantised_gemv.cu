#include "cuda/quantised_gemv.h"

#include "cuda/quantised_gemv.cuh"
#include "cuda/weight_units.cuh"

namespace sluice::cuda {
namespace {

bool valid(const ProductLaunch& launch, const GemvTile& tile) {
  const auto power_of_two_to_8 = [](std::uint32_t n) {
    return n == 1 || n == 2 || n == 4 || n == 8;
  };
  return power_of_two_to_8(tile.rows_per_warp) && power_of_two_to_8(tile.segments) &&
         tile.stages >= 1 && tile.stages <= 3 &&
         launch.max_n_rows * tile.rows_per_warp * tile.segments <= kWarp;
}

/// Whole rows of up to 2048 columns, so that their copies are one run a warp and chains are many;
/// less where a block's memory does not hold it.
template <typename Unit>
GemvTile fair_tile(const ProductLaunch& launch) {
  GemvTile tile = {.rows_per_warp = 4, .segments = 4, .stages = 2};
  while (launch.max_n_rows * tile.rows_per_warp * tile.segments > kWarp) tile.segments /= 2;
  while (GemvLayout<Unit>(tile, launch).total_bytes > launch.shared_limit && tile.segments > 1) {
    tile.segments /= 2;
  }
  return tile;
}

template <typename Unit>
cudaError_t launch_format(const ProductLaunch& launch_of, const ProductTask* tasks, cudaStream_t stream,
                          const GemvTile* wanted) {
  if (launch_of.columns % Unit::kElements != 0) return cudaErrorInvalidValue;
  const GemvTile tile = wanted != nullptr ? *wanted : fair_tile<Unit>(launch_of);
  if (!valid(launch_of, tile)) return cudaErrorInvalidValue;
  const GemvLayout<Unit> layout(tile, launch_of);
  const dim3 grid = {(launch_of.max_rows + kBlockRows - 1) / kBlockRows, launch_of.n_tasks, 1};
  return launch(gemv_kernel<Unit>, grid, dim3{layout.warps * kWarp, 1, 1}, layout.total_bytes,
                stream, tasks, tile, launch_of);
}

}  // namespace

QuantisedGemv* quantised_gemv(TensorType type) {
  return visit_unit(type, [](auto unit) -> QuantisedGemv* {
    return launch_format<typename decltype(unit)::type>;
  });
}

}  // namespace sluice::cuda
