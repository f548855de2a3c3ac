#pragma once
// Weights × few rows of activations (decode), as canonical.h's rules 2 and 3 have it, and what
// becomes of the products. One launch takes many matrices of one kind, such as the chosen experts
// of a layer.
//
// All pointers are to device memory and must stay valid until the launch has run on its stream.

#include <cstddef>
#include <cstdint>

#include "base/operations.h"
#include "base/nested_planes.h"
#include "base/tensor_format.h"
#include "cuda/runtime.h"

namespace sluice::cuda {

/// Rows of 8-bit activations, canonical.h's rule 1; each array 16-byte aligned.
struct QuantisedRows {
  std::int8_t* codes = nullptr;  // [rows, columns]
  float* scales = nullptr;       // [rows, columns / 32]
  std::int16_t* sums = nullptr;  // [rows, columns / 16]
};

/// A matrix [rows, columns]: blocks row after row, or planes.
struct GemvWeight {
  const std::byte* data = nullptr;  // 16-byte aligned
  // Of planes: where each group that the width has begins, from data on; multiples of 4.
  std::int64_t at[kMostNestedGroups] = {};
};

/// One matrix, or the two of a gated unit, and the activation rows that meet it. With
/// w · x[r, :] + its bias, x[r, :] = input[row_index ? row_index[r] : r, :],
///
///     neither up nor gate:  output[r, :] = weight's
///     up:                   act(weight's, up's)
///     gate:                 act(gate[r, :], weight's)
///
/// of which the last two come in float32 into `output` and in 8 bits into `hidden`, unless null.
struct GemvTask {
  GemvWeight weight;
  GemvWeight up;  // data null: there is none
  QuantisedRows input;
  const float* values = nullptr;             // [*, columns]: the input where it is in float32
  const std::uint32_t* row_index = nullptr;  // [n_rows] or null
  const float* bias = nullptr;               // [rows] or null
  const float* up_bias = nullptr;            // [rows] or null
  const float* gate = nullptr;               // [n_rows, output_stride] or null; may be output
  float* output = nullptr;                   // [n_rows, output_stride]
  QuantisedRows hidden;             // [n_rows, rows]; rows a multiple of 32 where there is any
  std::uint32_t rows = 0;           // of weight: outputs
  std::uint32_t n_rows = 0;         // of activations, at most kMaxGemvRows; 0 is no work
  std::uint32_t output_stride = 0;  // in floats
  Activation activation = Activation::kSilu;
  float alpha = 0, limit = 0;  // of kClampedSwiglu
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
  bool in_float = false;         // activations are float32, rule 3; else in 8 bits, rule 2
  std::uint32_t shared_limit = 227 << 10;  // shared memory that a block may have, in bytes
  const NestedForm* form = nullptr;        // of planes, the host's: their form, and at which width
  std::uint32_t width = 0;
};

/// Whether there is a kernel for such weights and activations.
bool has_gemv(const GemvLaunch& launch);

/// Runs tasks[0, n_tasks), an array in device memory (so that a captured graph may see other
/// experts at each replay). `tile`, of rule 2: null for one that is fair on any device.
/// cudaErrorInvalidValue where there is no kernel, or a size is out of its bounds.
cudaError_t launch_gemv(const GemvLaunch& launch, const GemvTask* tasks, cudaStream_t stream,
                        const GemvTile* tile = nullptr);

}  // namespace sluice::cuda
