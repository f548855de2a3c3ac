#pragma once
// What the forward pass asks of a processor: a handful of operations over rows. Every one follows
// the canonical order (base/canonical.h), so an output element depends on its own row's inputs
// alone: not on the other rows, the number of threads, or who computes it.
//
// Pointers of tasks are to the processor's own memory, but for the lists that tasks bring along: of
// tasks, of attention's rows, of delta nets' states, which are the host's and read by the call.

#include <cstddef>
#include <cstdint>
#include <span>

#include "base/nested_planes.h"
#include "base/tensor_format.h"

namespace sluice {

/// How a matrix lies in memory: row by row as in most files, turned for a device to multiply faster
/// (base/strip_layout.h), column by column: some files' experts, or a strip of rows after the
/// other; or in groups of planes (base/nested_planes.h).
enum class WeightLayout : std::uint8_t { kRows, kStrips, kColumns, kColumnStrips, kPlanes };

/// Factors of a matrix's numbers, one for each block of `block_rows` x `block_columns`, row after
/// row of blocks; the last blocks are cut off. FP8 codes have them beside them.
struct ScaleGrid {
  const TensorFormat* format = nullptr;  // F32, F16 or BF16; null: there are none
  const std::byte* data = nullptr;       // anywhere: of any alignment
  std::size_t block_rows = 0;
  std::size_t block_columns = 0;

  /// Bytes before the factors of row `row` of a matrix that is `columns` wide.
  std::size_t row_offset(std::size_t row, std::size_t columns) const {
    const std::size_t across = (columns + block_columns - 1) / block_columns;
    return row / block_rows * across * format->block_bytes;
  }
};

/// A weight matrix `[rows, columns]`, each row a run of blocks. Column by column it is of F32, F16
/// or BF16, and element (row, column) is number row * row_step + column * column_stride: the gate
/// or up half, or every second row, of a tensor that has both.
struct WeightMatrix {
  const TensorFormat* format = nullptr;
  const std::byte* data = nullptr;
  std::size_t rows = 0;     // outputs
  std::size_t columns = 0;  // inputs
  WeightLayout layout = WeightLayout::kRows;
  std::size_t row_step = 1;       // of kColumns, as below
  std::size_t column_stride = 0;  // in elements
  ScaleGrid scales = {};          // of kRows
  NestedView nested = {};         // of kPlanes, whose format is nested.form->format()
  std::size_t row_bytes() const { return format->bytes(columns); }
  std::size_t bytes() const {
    return layout == WeightLayout::kPlanes ? nested.bytes(rows, columns) : rows * row_bytes();
  }
  /// Where the row begins; with kStrips, for a row that begins a strip.
  const std::byte* row(std::size_t index) const {
    return data + index * (layout == WeightLayout::kColumns ? row_step * format->block_bytes
                                                            : row_bytes());
  }
};

/// Rows of activations that meet weights. `codes` null: quantised weights meet them in float32.
struct Activations {
  float* values = nullptr;       // [rows, columns]
  std::int8_t* codes = nullptr;  // [rows, columns]           8-bit form, see canonical.h rule 1
  float* scales = nullptr;       // [rows, columns / 32]
  std::int16_t* sums = nullptr;  // [rows, columns / 16]
  std::size_t rows = 0;
  std::size_t columns = 0;

  /// Bytes that `carve` needs. The 8-bit form exists only where columns is a multiple of 32.
  static std::size_t bytes(std::size_t rows, std::size_t columns, bool with_codes);
  /// Lays the arrays out in `memory`, 64-byte aligned each. REQUIRES: memory is 64-byte aligned and
  /// holds `bytes(…)`.
  static Activations carve(std::byte* memory, std::size_t rows, std::size_t columns,
                           bool with_codes);
};

/// output[r, :] = weight · input[row_index ? row_index[r] : r] + bias, for r in [0, n_rows).
struct MatmulTask {
  WeightMatrix weight;
  Activations input;
  const std::uint32_t* row_index = nullptr;
  std::size_t n_rows = 0;
  float* output = nullptr;  // [n_rows, output_stride], the first weight.rows of each are written
  std::size_t output_stride = 0;  // in floats
  const float* bias = nullptr;    // [weight.rows] or null
};

/// How a gate's and an up projection's outputs become one: f(gate) * up, or gpt-oss's clamped form
/// (base/canonical.h, rule 4).
enum class Activation : std::uint8_t { kSilu, kGeluTanh, kGelu, kRelu, kClampedSwiglu };

/// output[r, :] = down · act(gate · x + gate_bias, up · x + up_bias) + down_bias, with
/// x = input[row_index ? row_index[r] : r].
struct FfnTask {
  WeightMatrix gate, up, down;
  Activation activation = Activation::kSilu;
  float alpha = 0, limit = 0;        // of kClampedSwiglu
  const float* gate_bias = nullptr;  // [rows of that matrix] or null, as those below
  const float* up_bias = nullptr;
  const float* down_bias = nullptr;
  Activations input;
  const std::uint32_t* row_index = nullptr;
  std::size_t n_rows = 0;
  Activations hidden;  // scratch [>= n_rows, gate.rows], codes present exactly when input.codes is
  float* output = nullptr;  // [n_rows, down.rows]
};

enum class KvType : std::uint8_t { kF32, kF16, kQ8_0 };
/// Bytes of one head's vector. kQ8_0 stores GGUF's Q8_0 blocks and needs head_dim to be a multiple
/// of 32.
std::size_t kv_vector_bytes(KvType type, std::size_t head_dim);

/// One layer of one sequence's KV cache: position p is in block p / kKvBlock. From `keys` and
/// `values` bytes on, a block has the layer's keys and values of kKvBlock positions:
/// `[kv_heads][kKvBlock]` vectors of kv_vector_bytes each.
struct KvView {
  std::byte* const* blocks = nullptr;
  std::size_t keys = 0, values = 0;
};

/// One row's place: which sequence, where it stands, and the first position that it sees.
struct AttentionRow {
  KvView kv;
  std::uint32_t position =
      0;  // sees positions [first, position]; its own key and value are stored already
  std::uint32_t first = 0;
};

struct AttentionShape {
  std::size_t heads = 0, kv_heads = 0, head_dim = 0, value_dim = 0;
  KvType kv_type = KvType::kF16;
  float scale = 0;
  // Values are the first value_dim elements of the keys: store_kv stores keys alone, and no others
  // are read. Latent attention keeps its compressed rows so. REQUIRES: value_dim <= head_dim.
  bool value_in_key = false;
};

/// out `[rows, heads, value_dim]` = softmax(scale · q·Kᵀ, sink) · V for q `[rows, heads,
/// head_dim]`, rows a stride of floats apart.
struct AttentionTask {
  AttentionShape shape;
  std::span<const AttentionRow> rows;
  const float* q = nullptr;
  std::size_t q_stride = 0;
  float* out = nullptr;
  std::size_t out_stride = 0;
  // [heads] or null: a logit of each head that takes part in the softmax and in nothing else.
  const float* sinks = nullptr;
  // 64-byte aligned; attention_bytes of the shape, of the rows' sequences and of the threads that
  // the limit leaves.
  std::span<std::byte> memory;
};

enum class NormKind : std::uint8_t { kRms, kLayer };

/// kRms: out = x / sqrt(mean(x²) + epsilon) * weight + bias; kLayer: the same of x - mean(x).
/// out may be x.
struct NormTask {
  NormKind kind = NormKind::kRms;
  const float* x = nullptr;  // [rows, columns], x_stride floats apart
  std::size_t x_stride = 0;
  const float* weight = nullptr;  // [columns]; null: none
  const float* bias = nullptr;    // [columns]; null: none
  float epsilon = 0;
  float* out = nullptr;  // [rows, columns], out_stride floats apart
  std::size_t out_stride = 0;
  std::size_t rows = 0, columns = 0;
};

/// Rotates pairs by angles whose cosine and sine the caller tabulated: `[rows, rotary_dim / 2]`.
struct RopeTask {
  float* x = nullptr;  // [rows, heads, head_dim], stride in floats between rows
  std::size_t rows = 0, stride = 0, heads = 0, head_dim = 0, rotary_dim = 0;
  bool interleaved = false;  // pairs (2i, 2i+1) instead of (i, i + rotary_dim / 2)
  const float* cosines = nullptr;
  const float* sines = nullptr;
};

/// A gated delta net: heads of queries and keys that a convolution has seen, and of values, each of
/// which keeps a matrix [key_dim, value_dim] as its state.
struct DeltaNetShape {
  std::uint32_t key_heads = 0, value_heads = 0, key_dim = 0, value_dim = 0;
  std::uint32_t kernel = 0;  // positions that the convolution sees; 1 to 2048
  // Value head v uses key head v mod key_heads, else v / (value_heads / key_heads).
  bool value_heads_tiled = false;

  /// Of the convolution: queries [key_heads, key_dim], keys likewise, values [value_heads,
  /// value_dim].
  std::size_t channels() const;
  /// A sequence's state: the convolution's last inputs [kernel - 1, channels], the oldest first,
  std::size_t conv_state_floats() const;
  /// and, from matrices_offset on, [value_heads, key_dim, value_dim];
  std::size_t state_floats() const;
  std::size_t matrices_offset() const;
  /// both together, each part filled up to 64 bytes. A new sequence's is all zeros.
  std::size_t floats() const;
};

/// Rows of gated delta nets (base/canonical.h, rule 8). Each reads and changes its sequence's
/// state, so rows of one sequence stand next to one another, in order.
struct DeltaNetTask {
  DeltaNetShape shape;
  std::size_t rows = 0;
  float* const* states = nullptr;      // [rows]: of each row's sequence, 64-byte aligned
  float* qkv = nullptr;                // [rows, channels], before the convolution; overwritten
  const float* conv_weight = nullptr;  // [channels, kernel]
  const float* alpha = nullptr;        // [rows, value_heads]: raw projections
  const float* beta = nullptr;         // [rows, value_heads]
  const float* a = nullptr;            // [value_heads]: a head decays by exp(a softplus(…))
  const float* dt_bias = nullptr;      // [value_heads]
  const float* gate = nullptr;         // [rows, value_heads, value_dim]
  const float* norm_weight = nullptr;  // [value_dim]
  float norm_epsilon = 0;
  float* out = nullptr;  // [rows, value_heads, value_dim]
};

/// What becomes of each element of `out`, from what it was and from `x` at its place.
enum class MapOp : std::uint8_t {
  kFill,      // factor
  kCopy,      // x
  kAdd,       // out + factor * x, each rounded
  kAddGated,  // out + sigmoid(gates[row]) * x
  kScale,     // out * factor
  kGate,      // out * sigmoid(x): 1 / (1 + exp(-x)) with rule 4's exp
  kClamp,     // out, no further from zero than factor; NaN stays NaN
};

/// `[rows, columns]`, rows of `out` and `x` their strides in floats apart.
struct MapTask {
  MapOp op = MapOp::kCopy;
  float* out = nullptr;
  std::size_t out_stride = 0;
  const float* x = nullptr;  // null where it is not read; apart from out
  std::size_t x_stride = 0;
  const float* gates = nullptr;  // [rows], of kAddGated
  float factor = 1;
  std::size_t rows = 0, columns = 0;
};

/// out[r, :] = Σ of weights[r, rank] * outputs[places[r, rank], :], over a row's ranks in order:
/// rule 9 of canonical.h.
struct CombineTask {
  static constexpr std::uint32_t kLeftOut = ~0u;  // in a place's stead: no expert's

  const float* outputs = nullptr;         // [*, columns]
  const std::uint32_t* places = nullptr;  // [rows, ranks]
  const float* weights = nullptr;         // [rows, ranks]
  float* out = nullptr;                   // [rows, columns], apart from outputs
  std::size_t rows = 0, ranks = 0, columns = 0;
};

class Operations {
 public:
  virtual ~Operations() = default;

  /// Norms of rows: rule 6 of canonical.h.
  virtual void norm(const NormTask& task) = 0;
  virtual void map(const MapTask& task) = 0;
  /// Fills the 8-bit form of rows [0, rows) from `values`; nothing where `codes` is null.
  virtual void quantise(const Activations& activations, std::size_t rows) = 0;
  virtual void matmul(std::span<const MatmulTask> tasks) = 0;
  virtual void ffn(std::span<const FfnTask> tasks) = 0;
  virtual void rope(const RopeTask& task) = 0;
  /// Stores keys `[rows, kv_heads, head_dim]` and values `[rows, kv_heads, value_dim]` at each
  /// row's position; with shape.value_in_key keys alone.
  virtual void store_kv(const AttentionShape& shape, std::span<const AttentionRow> rows,
                        const float* keys, std::size_t key_stride, const float* values,
                        std::size_t value_stride) = 0;
  /// Working memory for `attention` over sequences of at most `positions` by `threads` threads.
  virtual std::size_t attention_bytes(const AttentionShape& shape, std::size_t positions,
                                      unsigned threads) const = 0;
  /// Rule 5 of canonical.h.
  virtual void attention(const AttentionTask& task) = 0;
  /// Rule 8 of canonical.h. How rows are divided among calls changes no bit.
  virtual void delta_net(const DeltaNetTask& task) = 0;
  virtual void combine(const CombineTask& task) = 0;
};

}  // namespace sluice
