#pragma once
// Quantised weights × few rows of 8-bit activations (decode), canonical.h's rule 2, with the blocks
// read as the file has them. One launch takes many matrices of one format, such as the chosen
// experts of a layer.
//
// All pointers are to device memory and must stay valid until the launch has run on its stream.

#include <cstddef>
#include <cstdint>

#include "base/tensor_format.h"
#include "cuda/runtime.h"

namespace sluice::cuda {

/// Rows of 8-bit activations, canonical.h's rule 1; each array 16-byte aligned.
struct QuantisedRows {
  std::int8_t* codes = nullptr;  // [rows, columns]
  float* scales = nullptr;       // [rows, columns / 32]
  std::int16_t* sums = nullptr;  // [rows, columns / 16]
};

/// One matrix, or the two of a gated unit, and the activation rows that meet it:
///
///     up null:  output[r, i] = weight[i, :] · x[r, :] + bias[i]
///     else:     h[r, i] = silu(weight[i, :] · x[r, :]) * (up[i, :] · x[r, :]), stored in 8 bits in
///     `hidden`
///               and, unless null, in float32 in `output`
///
/// with x[r, :] = input[row_index ? row_index[r] : r, :].
struct GemvTask {
  const std::byte* weight = nullptr;  // [rows, columns] in blocks, 16-byte aligned
  const std::byte* up = nullptr;      // [rows, columns] in blocks, 16-byte aligned, or null
  QuantisedRows input;
  const std::uint32_t* row_index = nullptr;  // [n_rows] or null
  const float* bias = nullptr;               // [rows] or null
  float* output = nullptr;                   // [n_rows, output_stride]
  QuantisedRows hidden;             // [n_rows, rows]; rows a multiple of 32 where up is given
  std::uint32_t rows = 0;           // of weight: outputs
  std::uint32_t n_rows = 0;         // of activations, at most kMaxGemvRows; 0 is no work
  std::uint32_t output_stride = 0;  // in floats
};

inline constexpr std::uint32_t kMaxGemvRows = 4;

/// How a launch is cut; changes no bit of the result.
struct GemvTile {
  std::uint32_t rows_per_warp = 4;  // a block is 32 weight rows: 1, 2, 4 or 8
  std::uint32_t segments = 2;  // segments of 512 columns that a warp stages at once: 1, 2, 4 or 8
  std::uint32_t stages = 2;    // pieces under way a warp: 1 to 3
};

/// Tasks that share format, columns and a bound of their sizes.
struct GemvLaunch {
  TensorType type = TensorType::kQ4_0;
  std::uint32_t columns = 0;   // a multiple of the format's block
  std::uint32_t max_rows = 0;  // of any task
  std::uint32_t n_tasks = 0;
  std::uint32_t max_n_rows = 1;  // of any task; 1 to kMaxGemvRows
  bool gated = false;            // some task has `up`
};

/// A fair choice for any device.
GemvTile gemv_tile(const GemvLaunch& launch);

/// Runs tasks[0, n_tasks), an array in device memory (so that a captured graph may see other
/// experts at each replay). cudaErrorInvalidValue where the format has no kernel, or a size is out
/// of its bounds.
cudaError_t launch_gemv(const GemvLaunch& launch, const GemvTile& tile, const GemvTask* tasks,
                        cudaStream_t stream);
inline cudaError_t launch_gemv(const GemvLaunch& launch, const GemvTask* tasks,
                               cudaStream_t stream) {
  return launch_gemv(launch, gemv_tile(launch), tasks, stream);
}

}  // namespace sluice::cuda
