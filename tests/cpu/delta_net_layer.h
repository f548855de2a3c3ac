#pragma once
// Gated delta nets to compute, and what the CPU makes of them.

#include <gtest/gtest.h>

#include <algorithm>
#include <bit>
#include <cmath>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "base/aligned_buffer.h"
#include "tests/cpu/kv_cache_fixture.h"

namespace sluice::test {

/// A layer's weights and some sequences' inputs, one row after another.
struct DeltaNetLayer {
  DeltaNetLayer(const DeltaNetShape& shape_in, std::vector<std::size_t> lengths_in)
      : shape(shape_in), lengths(std::move(lengths_in)) {
    for (const std::size_t length : lengths) rows += length;
    const std::size_t heads = shape.value_heads, inner = heads * shape.value_dim;
    qkv = random_floats(rows * shape.channels(), 1.5f, 1);
    conv_weight = random_floats(shape.channels() * shape.kernel, 0.6f, 2);
    alpha = random_floats(rows * heads, 2.0f, 3);
    beta = random_floats(rows * heads, 2.0f, 4);
    dt_bias = random_floats(heads, 1.0f, 5);
    a = random_floats(heads, 0.5f, 6);
    for (float& value : a) value = -std::exp(value) * 0.2f;
    gate = random_floats(rows * inner, 1.0f, 7);
    norm_weight = random_floats(shape.value_dim, 1.0f, 8);
    for (std::size_t i = 0; i < lengths.size(); ++i) {
      first_states.push_back(random_floats(shape.floats(), 0.3f, 9 + static_cast<unsigned>(i)));
    }
  }

  DeltaNetShape shape;
  std::vector<std::size_t> lengths;
  std::size_t rows = 0;
  std::vector<float> qkv, conv_weight, alpha, beta, a, dt_bias, gate, norm_weight;
  std::vector<std::vector<float>> first_states;
  static constexpr float kEpsilon = 1e-6f;
};

struct DeltaNetResult {
  std::vector<float> out;
  std::vector<std::vector<float>> states;
};

/// NaN is NaN.
inline bool same_floats(std::span<const float> a, std::span<const float> b) {
  return std::equal(a.begin(), a.end(), b.begin(), b.end(), [](float x, float y) {
    return (x != x && y != y) || std::bit_cast<std::uint32_t>(x) == std::bit_cast<std::uint32_t>(y);
  });
}
/// Bits of the parts that mean something: padding may be anything.
inline void expect_same(const DeltaNetLayer& layer, const DeltaNetResult& got,
                        const DeltaNetResult& want, const std::string& what) {
  EXPECT_TRUE(same_floats(got.out, want.out)) << what;
  const DeltaNetShape& shape = layer.shape;
  for (std::size_t i = 0; i < got.states.size(); ++i) {
    const std::span<const float> a(got.states[i]), b(want.states[i]);
    const std::size_t inputs = shape.conv_state_floats(), matrices = shape.matrices_offset();
    EXPECT_TRUE(same_floats(a.first(inputs), b.first(inputs))) << what;
    EXPECT_TRUE(same_floats(a.subspan(matrices, shape.state_floats()),
                            b.subspan(matrices, shape.state_floats())))
        << what;
  }
}

/// All rows in calls of at most `chunk` rows.
inline DeltaNetResult run(const DeltaNetLayer& layer, Compute& compute, std::size_t chunk) {
  const std::size_t channels = layer.shape.channels(), heads = layer.shape.value_heads;
  const std::size_t inner = heads * layer.shape.value_dim;
  const std::size_t floats = layer.shape.floats();
  auto memory = AlignedBuffer::allocate(layer.lengths.size() * floats * sizeof(float)).value();
  auto* const states = reinterpret_cast<float*>(memory.data());
  std::vector<float*> places;
  for (std::size_t i = 0; i < layer.lengths.size(); ++i) {
    std::copy(layer.first_states[i].begin(), layer.first_states[i].end(), states + i * floats);
    places.insert(places.end(), layer.lengths[i], states + i * floats);
  }
  DeltaNetResult result;
  result.out.assign(layer.rows * inner, NAN);
  std::vector<float> qkv = layer.qkv;
  for (std::size_t row = 0; row < layer.rows; row += chunk) {
    compute.delta_net({.shape = layer.shape,
                       .rows = std::min(chunk, layer.rows - row),
                       .states = places.data() + row,
                       .qkv = qkv.data() + row * channels,
                       .conv_weight = layer.conv_weight.data(),
                       .alpha = layer.alpha.data() + row * heads,
                       .beta = layer.beta.data() + row * heads,
                       .a = layer.a.data(),
                       .dt_bias = layer.dt_bias.data(),
                       .gate = layer.gate.data() + row * inner,
                       .norm_weight = layer.norm_weight.data(),
                       .norm_epsilon = DeltaNetLayer::kEpsilon,
                       .out = result.out.data() + row * inner});
  }
  for (std::size_t i = 0; i < layer.lengths.size(); ++i) {
    result.states.emplace_back(states + i * floats, states + (i + 1) * floats);
  }
  return result;
}

}  // namespace sluice::test
