#pragma once
// The kernel table: what one instruction set can do, as plain functions over raw pointers. No
// kernel knows of threads.
//
// Each `*_kernels.cc` is compiled once per instruction set, with that set's flags and with the
// macros
//     SLUICE_ISA        the namespace that its code lives in: generic, avx2, avx512 or avx512vnni
//     SLUICE_ISA_LEVEL  0, 1, 2 or 3, in the same order
// so that one source has all of them (cpu/CMakeLists.txt). Two rules keep wide instructions out of
// code that every machine runs: everything lives in that namespace, in an anonymous one, or is a
// macro-like intrinsic; and nothing inline is shared with other files: no std algorithms or
// containers, no function of base/ (its constants are fine). A test looks for shared symbols in
// these object files.

#include <cstddef>
#include <cstdint>

#include "base/operations.h"
#include "base/tensor_format.h"
#include "cpu/attention.h"
#include "cpu/isa.h"

namespace sluice {

/// A tile of weight rows against some rows of activations:
/// output[r * output_stride + i] = weight row i · activation row (row_index ? row_index[r] : r) (+
/// bias[i]).
struct DotTile {
  const TensorFormat* format = nullptr;
  const std::byte* weight = nullptr;          // [weight_rows, row_bytes]
  WeightLayout layout = WeightLayout::kRows;  // kStrips: the first row begins a strip
  std::size_t row_bytes = 0;
  std::size_t row_step = 1, column_stride = 0;  // of kColumns, as in WeightMatrix
  ScaleGrid grid;                               // of the whole matrix,
  NestedView nested;                            // likewise; `weight` is where the matrix begins,
  std::size_t first_row = 0;                    // of which this is the first weight row
  std::size_t weight_rows = 0;
  std::size_t columns = 0;

  // Activations as in base/compute.h; codes null: `values` are used.
  const float* values = nullptr;  // [*, columns]
  const std::int8_t* codes =
      nullptr;  // [*, columns]; REQUIRES: within ±127, as canonical.h's rule 1 makes them
  const float* scales = nullptr;       // [*, columns / 32]
  const std::int16_t* sums = nullptr;  // [*, columns / 16]
  const std::uint32_t* row_index = nullptr;
  std::size_t n_rows = 0;

  float* output = nullptr;
  std::size_t output_stride = 0;
  const float* bias = nullptr;  // [weight_rows] or null
};

/// The most weight rows and activation rows of one DotTile: the driver cuts matrices into such
/// tiles.
inline constexpr std::size_t kTileWeightRows = 64;
inline constexpr std::size_t kTileActivationRows = 128;
/// Scratch that `dot` wants, 64-byte aligned.
inline constexpr std::size_t kDotScratchBytes = 256 * 1024;

/// Scratch that `delta_net_convolve` wants, 64-byte aligned.
inline constexpr std::size_t kDeltaNetScratchBytes = 256 * 1024;

struct Kernels {
  /// One row, `columns` a multiple of 32: rule 1 of canonical.h.
  void (*quantise)(const float* values, std::size_t columns, std::int8_t* codes, float* scales,
                   std::int16_t* sums);
  void (*dot)(const DotTile& tile, std::byte* scratch);
  /// Turns n_blocks blocks of n_rows <= 16 rows, row_bytes apart, into a strip
  /// (base/strip_layout.h). Lanes from n_rows on repeat the last row.
  void (*to_strip)(const TensorFormat& format, const std::byte* rows, std::size_t row_bytes,
                   std::size_t n_rows, std::size_t n_blocks, std::byte* strip);
  /// out[i] = what the activation makes of gate[i] and up[i]: rule 4. alpha and limit are
  /// kClampedSwiglu's. out may be gate or up.
  void (*activate)(Activation activation, float alpha, float limit, const float* gate,
                   const float* up, float* out, std::size_t n);
  /// One row of a task's norm: rule 6. out may be x.
  void (*norm)(const NormTask& task, const float* x, float* out);
  /// The heads of one row, head_dim floats apart, in place: rule 7. Cosines and sines are
  /// [rotary_dim / 2].
  void (*rope)(float* x, std::size_t heads, std::size_t head_dim, std::size_t rotary_dim,
               bool interleaved, const float* cosines, const float* sines);
  /// One kv head of a run of rows: rule 5.
  void (*attention)(const AttentionItem& item);
  /// Gated delta net, rule 8, in two steps of a sequence's rows (delta_net_kernels.h).
  void (*delta_net_convolve)(const DeltaNetTask& task, std::size_t first_row, std::size_t n_rows,
                             std::size_t head, std::byte* scratch);
  void (*delta_net_recur)(const DeltaNetTask& task, std::size_t first_row, std::size_t n_rows,
                          std::size_t value_head);
  /// One head's vector of n floats into the KV cache's form (kv_vectors.h).
  void (*store_kv_vector)(KvType type, const float* in, std::size_t n, std::byte* out);
};

namespace generic {
extern const Kernels kKernels;
}
#if defined(__x86_64__)
namespace avx2 {
extern const Kernels kKernels;
}
namespace avx512 {
extern const Kernels kKernels;
}
namespace avx512vnni {
extern const Kernels kKernels;
}
#endif

/// The table of an instruction set. REQUIRES: isa_available(isa).
const Kernels& kernels_of(Isa isa);

}  // namespace sluice
