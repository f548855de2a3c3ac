#pragma once
// Products of weights and rows of activations, as canonical.h's rules 2 and 3 have them, and what
// becomes of them: what kernels are told. gemv.h has those for few rows of activations, gemm.h
// those for many; which of them computes a product changes no bit.
//
// All pointers are to device memory and must stay valid until the launch has run on its stream.

#include <cstddef>
#include <cstdint>

#include "base/nested_planes.h"
#include "base/operations.h"
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
struct ProductWeight {
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
struct ProductTask {
  ProductWeight weight;
  ProductWeight up;  // data null: there is none
  QuantisedRows input;
  const float* values = nullptr;             // [*, columns]: the input where it is in float32
  const std::uint32_t* row_index = nullptr;  // [n_rows] or null
  const float* bias = nullptr;               // [rows] or null
  const float* up_bias = nullptr;            // [rows] or null
  const float* gate = nullptr;               // [n_rows, output_stride] or null; may be output
  float* output = nullptr;                   // [n_rows, output_stride]
  QuantisedRows hidden;             // [n_rows, rows]; rows a multiple of 32 where there is any
  std::uint32_t rows = 0;           // of weight: outputs
  std::uint32_t n_rows = 0;         // of activations; 0 is no work
  std::uint32_t output_stride = 0;  // in floats
  Activation activation = Activation::kSilu;
  float alpha = 0, limit = 0;  // of kClampedSwiglu
};

/// Tasks that share format, columns and a bound of their sizes. One launch takes many matrices of
/// one kind, such as the chosen experts of a layer.
struct ProductLaunch {
  TensorType type = TensorType::kQ4_0;
  std::uint32_t columns = 0;   // a multiple of the format's block
  std::uint32_t max_rows = 0;  // of any task
  std::uint32_t n_tasks = 0;
  std::uint32_t max_n_rows = 1;  // of any task, at most kMaxGemvRows or kMaxGemmRows
  bool gated = false;            // some task has `up`
  bool in_float = false;         // activations are float32, rule 3; else in 8 bits, rule 2
  std::uint32_t shared_limit = 227 << 10;  // shared memory that a block may have, in bytes
  const NestedForm* form = nullptr;        // of planes, the host's: their form, and at which width
  std::uint32_t width = 0;
};

/// Of a grid's second dimension, and so of a launch.
inline constexpr std::uint32_t kMostLaunchTasks = 65535;

}  // namespace sluice::cuda
