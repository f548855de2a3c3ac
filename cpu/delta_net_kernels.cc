// Gated delta net. The state of a value head is a matrix [key_dim, value_dim] whose columns know
// nothing of one another: lanes are columns, and a tile of them is small enough to stay near the
// core between being read for what it says of the key and being changed.

#include "cpu/delta_net_kernels.h"

#include "base/canonical.h"
#include "cpu/activation_lanes.h"
#include "cpu/kernels.h"
#include "cpu/norm_kernels.h"

namespace sluice::SLUICE_ISA {
namespace {

constexpr std::size_t kRowsTogether = 64;                // rows that a tile goes through at a time
constexpr std::size_t kTileLanes = kTile >= 16 ? 4 : 2;  // of a tile, as registers allow

inline std::size_t at_most(std::size_t n, std::size_t limit) { return n < limit ? n : limit; }

/// The first n <= 16 lanes.
inline Lanes load_some(const float* p, std::size_t n) {
  return n == kLanes ? lanes_load(p) : lanes_load_part(p, n);
}
inline void store_some(float* p, Lanes a, std::size_t n) {
  if (n == kLanes) {
    lanes_store(p, a);
  } else {
    lanes_store_part(p, a, n);
  }
}

inline float first_lane(Lanes a) {
  float lanes[kLanes];
  lanes_store(lanes, a);
  return lanes[0];
}

/// Rows of neighbouring channels, `stride` floats apart.
struct Channels {
  float* x = nullptr;        // [n_rows, n]
  float* history = nullptr;  // [before, n]: the positions before the first row's, oldest first
  std::size_t stride = 0;
  std::size_t n = 0, n_rows = 0, before = 0;

  /// Position `index` counted from the history's first.
  const float* at(std::size_t index) const {
    return index < before ? history + index * stride : x + (index - before) * stride;
  }
};

/// Convolution and SiLU in place; then the history is that of the row to come. `weights` is
/// [before + 1, n], `kept` holds [before, n].
void convolve(const Channels& channels, const float* weights, float* kept) {
  const std::size_t n = channels.n;
  for (std::size_t i = 0; i < channels.before; ++i) {
    std::memcpy(kept + i * n, channels.at(channels.n_rows + i), n * sizeof(float));
  }
  // From the last row to the first: no row looks at those after it, so they may be overwritten.
  for (std::size_t row = channels.n_rows; row-- > 0;) {
    for (std::size_t c = 0; c < n; c += kLanes) {
      const std::size_t some = at_most(n - c, kLanes);
      Lanes sum = lanes_zero();
      for (std::size_t tap = 0; tap <= channels.before; ++tap) {
        sum = lanes_fma(load_some(weights + tap * n + c, some),
                        load_some(channels.at(row + tap) + c, some), sum);
      }
      store_some(channels.x + row * channels.stride + c, silu(sum), some);
    }
  }
  for (std::size_t i = 0; i < channels.before; ++i) {
    std::memcpy(channels.history + i * channels.stride, kept + i * n, n * sizeof(float));
  }
}

/// x → scale * x / |x|.
void normalise(float* x, std::size_t n, float scale) {
  const Lanes inverse = lanes_set(1.0f / __builtin_sqrtf(sum_of_squares(x, n) + kDeltaNetEpsilon));
  const Lanes scales = lanes_set(scale);
  lanes_combine(x, x, x, n, [&](Lanes value, Lanes) { return value * inverse * scales; });
}

/// What one row does to a value head.
struct Step {
  const float* query;  // [key_dim]
  const float* key;    // [key_dim]
  const float* value;  // [value_dim]
  float decay, beta;
  float* out;  // [value_dim]
};

/// A step's columns [column, column + (D - 1) * 16 + last) of a state, for last <= 16.
template <std::size_t D>
inline void step_columns(const Step& step, float* state, std::size_t key_dim, std::size_t value_dim,
                         std::size_t column, std::size_t last) {
  // Only the last lanes of a row may be fewer than sixteen, and they go alone.
  const auto load = [&](const float* p) { return D == 1 ? load_some(p, last) : lanes_load(p); };
  const auto store = [&](float* p, Lanes a) {
    if (D == 1) {
      store_some(p, a, last);
    } else {
      lanes_store(p, a);
    }
  };
  state += column;
  Lanes delta[D], out[D];
  for (std::size_t j = 0; j < D; ++j) delta[j] = out[j] = lanes_zero();
  for (std::size_t i = 0; i < key_dim; ++i) {
    const Lanes key = lanes_set(step.key[i]);
#pragma GCC unroll 4
    for (std::size_t j = 0; j < D; ++j) {
      delta[j] = lanes_fma(key, load(state + i * value_dim + j * kLanes), delta[j]);
    }
  }
  const Lanes decay = lanes_set(step.decay), beta = lanes_set(step.beta);
#pragma GCC unroll 4
  for (std::size_t j = 0; j < D; ++j) {
    delta[j] = beta * (load(step.value + column + j * kLanes) - decay * delta[j]);
  }
  for (std::size_t i = 0; i < key_dim; ++i) {
    const Lanes key = lanes_set(step.key[i]), query = lanes_set(step.query[i]);
#pragma GCC unroll 4
    for (std::size_t j = 0; j < D; ++j) {
      float* const place = state + i * value_dim + j * kLanes;
      const Lanes now = lanes_fma(key, delta[j], decay * load(place));
      store(place, now);
      out[j] = lanes_fma(query, now, out[j]);
    }
  }
#pragma GCC unroll 4
  for (std::size_t j = 0; j < D; ++j) store(step.out + column + j * kLanes, out[j]);
}

}  // namespace

void delta_net_convolve(const DeltaNetTask& task, std::size_t first_row, std::size_t n_rows,
                        std::size_t head, std::byte* scratch) {
  const DeltaNetShape& shape = task.shape;
  const std::size_t kernel = shape.kernel;
  const std::size_t keys = shape.key_heads, stride = shape.channels();
  const bool is_value = head >= 2 * keys;
  const std::size_t width = is_value ? shape.value_dim : shape.key_dim;
  const std::size_t first =
      is_value ? 2 * keys * shape.key_dim + (head - 2 * keys) * width : head * width;
  float* const x = task.qkv + first_row * stride + first;
  float* const history = task.states[first_row] + first;

  // As many channels at a time as scratch has room for.
  const std::size_t room = kDeltaNetScratchBytes / (2 * kernel * sizeof(float)) / kLanes * kLanes;
  auto* const weights = reinterpret_cast<float*>(scratch);
  for (std::size_t begin = 0; begin < width; begin += room) {
    const std::size_t n = at_most(width - begin, room);
    for (std::size_t c = 0; c < n; ++c) {
      const float* taps = task.conv_weight + (first + begin + c) * kernel;
      for (std::size_t tap = 0; tap < kernel; ++tap) weights[tap * n + c] = taps[tap];
    }
    convolve({.x = x + begin,
              .history = history + begin,
              .stride = stride,
              .n = n,
              .n_rows = n_rows,
              .before = kernel - 1},
             weights, weights + kernel * n);
  }
  if (is_value) return;
  const float scale = head < keys ? 1.0f / __builtin_sqrtf(static_cast<float>(width)) : 1.0f;
  for (std::size_t row = 0; row < n_rows; ++row) normalise(x + row * stride, width, scale);
}

void delta_net_recur(const DeltaNetTask& task, std::size_t first_row, std::size_t n_rows,
                     std::size_t value_head) {
  const DeltaNetShape& shape = task.shape;
  const std::size_t key_dim = shape.key_dim, value_dim = shape.value_dim;
  const std::size_t keys = shape.key_heads, values = shape.value_heads;
  const std::size_t key_head =
      shape.value_heads_tiled ? value_head % keys : value_head / (values / keys);
  float* const state =
      task.states[first_row] + shape.matrices_offset() + value_head * key_dim * value_dim;
  const NormTask norm_task{
      .weight = task.norm_weight, .epsilon = task.norm_epsilon, .columns = value_dim};

  for (std::size_t begin = 0; begin < n_rows; begin += kRowsTogether) {
    const std::size_t count = at_most(n_rows - begin, kRowsTogether);
    Step steps[kRowsTogether];
    for (std::size_t i = 0; i < count; ++i) {
      const std::size_t row = first_row + begin + i;
      const std::size_t at = row * values + value_head;
      const float* const qkv = task.qkv + row * shape.channels();
      const Lanes softened = softplus(lanes_set(task.alpha[at] + task.dt_bias[value_head]));
      steps[i] = {.query = qkv + key_head * key_dim,
                  .key = qkv + (keys + key_head) * key_dim,
                  .value = qkv + 2 * keys * key_dim + value_head * value_dim,
                  .decay = first_lane(lanes_exp(lanes_set(task.a[value_head]) * softened)),
                  .beta = first_lane(sigmoid(lanes_set(task.beta[at]))),
                  .out = task.out + at * value_dim};
    }
    std::size_t column = 0;
    for (; column + kTileLanes * kLanes <= value_dim; column += kTileLanes * kLanes) {
      for (std::size_t i = 0; i < count; ++i) {
        step_columns<kTileLanes>(steps[i], state, key_dim, value_dim, column, kLanes);
      }
    }
    for (; column < value_dim; column += kLanes) {
      for (std::size_t i = 0; i < count; ++i) {
        step_columns<1>(steps[i], state, key_dim, value_dim, column,
                        at_most(value_dim - column, kLanes));
      }
    }
    for (std::size_t i = 0; i < count; ++i) {
      float* const out = steps[i].out;
      norm(norm_task, out, out);
      lanes_combine(task.gate + (out - task.out), out, out, value_dim,
                    [](Lanes gate, Lanes normed) { return normed * silu(gate); });
    }
  }
}

}  // namespace sluice::SLUICE_ISA
