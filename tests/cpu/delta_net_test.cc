#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <string>

#include "tests/cpu/delta_net_layer.h"
#include "tests/cpu/tested_kernels.h"

namespace sluice {
namespace {

using test::available_isas;
using test::compute_with;
using test::expect_same;
using test::run;
using Layer = test::DeltaNetLayer;
using Result = test::DeltaNetResult;

/// A float or a double, with rule 8's steps: in float, word for word; in double, the definition,
/// whose order does not matter.
template <typename Real>
struct Arithmetic;
template <>
struct Arithmetic<float> {
  static float fma(float a, float b, float c) { return std::fma(a, b, c); }
  static float exp(float x) { return canonical_exp(x); }
  static float silu(float x) { return canonical_silu(x); }
  static float softplus(float x) { return canonical_softplus(x); }
  static float sum_of_squares(const std::vector<float>& x) {
    float total = 0.0f;
    for (std::size_t segment = 0; segment < x.size(); segment += kSegment) {
      float lanes[kFloatLanes] = {};
      for (std::size_t i = segment; i < std::min(x.size(), segment + kSegment); ++i) {
        lanes[i % kFloatLanes] = std::fma(x[i], x[i], lanes[i % kFloatLanes]);
      }
      total += reduce_lanes(lanes);
    }
    return total;
  }
};
template <>
struct Arithmetic<double> {
  static double fma(double a, double b, double c) { return a * b + c; }
  static double exp(double x) { return std::exp(x); }
  static double silu(double x) { return x / (1.0 + std::exp(-x)); }
  static double softplus(double x) {
    return std::log1p(std::exp(-std::fabs(x))) + std::max(x, 0.0);
  }
  static double sum_of_squares(const std::vector<double>& x) {
    double total = 0.0;
    for (const double value : x) total += value * value;
    return total;
  }
};

/// The recurrence from its definition, row after row: S *= decay, delta = beta (v - Sᵀk),
/// S += k deltaᵀ, out = Sᵀq.
template <typename Real>
Result reference(const Layer& layer, std::vector<double>* exact_out) {
  using Math = Arithmetic<Real>;
  const DeltaNetShape& shape = layer.shape;
  const std::size_t channels = shape.channels(), kernel = shape.kernel;
  const std::size_t keys = shape.key_heads, heads = shape.value_heads;
  const std::size_t key_dim = shape.key_dim, value_dim = shape.value_dim;
  Result result;
  std::size_t row = 0;
  for (std::size_t sequence = 0; sequence < layer.lengths.size(); ++sequence) {
    const std::vector<float>& first = layer.first_states[sequence];
    std::vector<std::vector<Real>> inputs;  // the convolution's
    for (std::size_t i = 0; i + 1 < kernel; ++i) {
      const auto from = first.begin() + static_cast<long>(i * channels);
      inputs.emplace_back(from, from + static_cast<long>(channels));
    }
    const auto matrices = first.begin() + static_cast<long>(shape.matrices_offset());
    std::vector<Real> state(matrices, matrices + static_cast<long>(shape.state_floats()));
    for (std::size_t r = 0; r < layer.lengths[sequence]; ++r, ++row) {
      const auto from = layer.qkv.begin() + static_cast<long>(row * channels);
      inputs.emplace_back(from, from + static_cast<long>(channels));
      std::vector<Real> x(channels);
      for (std::size_t c = 0; c < channels; ++c) {
        Real sum = 0;
        for (std::size_t tap = 0; tap < kernel; ++tap) {
          sum = Math::fma(layer.conv_weight[c * kernel + tap],
                          inputs[inputs.size() - kernel + tap][c], sum);
        }
        x[c] = Math::silu(sum);
      }
      const auto normalised = [&](std::size_t head, Real scale) {
        const auto begin = x.begin() + static_cast<long>(head * key_dim);
        std::vector<Real> vector(begin, begin + static_cast<long>(key_dim));
        const Real inverse =
            Real{1} / std::sqrt(Math::sum_of_squares(vector) + Real{kDeltaNetEpsilon});
        for (Real& value : vector) value = value * inverse * scale;
        return vector;
      };
      for (std::size_t head = 0; head < heads; ++head) {
        const std::size_t key_head = shape.value_heads_tiled ? head % keys : head / (heads / keys);
        const auto q = normalised(key_head, Real{1} / std::sqrt(static_cast<Real>(key_dim)));
        const auto k = normalised(keys + key_head, Real{1});
        const std::size_t at = row * heads + head;
        const Real step = Math::softplus(Real{layer.alpha[at]} + Real{layer.dt_bias[head]});
        const Real decay = Math::exp(Real{layer.a[head]} * step);
        const Real beta = Real{1} / (Real{1} + Math::exp(-Real{layer.beta[at]}));
        Real* const s = state.data() + head * key_dim * value_dim;
        std::vector<Real> out(value_dim);
        for (std::size_t v = 0; v < value_dim; ++v) {
          Real seen = 0;
          for (std::size_t i = 0; i < key_dim; ++i) {
            seen = Math::fma(k[i], s[i * value_dim + v], seen);
          }
          const Real value = x[2 * keys * key_dim + head * value_dim + v];
          const Real delta = beta * (value - decay * seen);
          for (std::size_t i = 0; i < key_dim; ++i) {
            Real& place = s[i * value_dim + v];
            place = Math::fma(k[i], delta, decay * place);
            out[v] = Math::fma(q[i], place, out[v]);
          }
        }
        const Real inverse =
            Real{1} / std::sqrt(Math::sum_of_squares(out) / static_cast<Real>(value_dim) +
                                Real{Layer::kEpsilon});
        for (std::size_t v = 0; v < value_dim; ++v) {
          const Real gate = Math::silu(layer.gate[at * value_dim + v]);
          const Real normed = out[v] * inverse * Real{layer.norm_weight[v]} * gate;
          result.out.push_back(static_cast<float>(normed));
          if (exact_out != nullptr) exact_out->push_back(static_cast<double>(normed));
        }
      }
    }
    std::vector<float> end(shape.floats());
    for (std::size_t i = 0; i + 1 < kernel; ++i) {
      const std::vector<Real>& input = inputs[inputs.size() - kernel + 1 + i];
      std::transform(input.begin(), input.end(), end.begin() + static_cast<long>(i * channels),
                     [](Real value) { return static_cast<float>(value); });
    }
    std::transform(state.begin(), state.end(),
                   end.begin() + static_cast<long>(shape.matrices_offset()),
                   [](Real value) { return static_cast<float>(value); });
    result.states.push_back(std::move(end));
  }
  return result;
}

/// Every product and sum rounds relative to what it handles, which the normalised key and decay
/// keep from growing: the bound is for the roundings of a row, as often as a state remembers rows.
void expect_near(const Layer& layer, const Result& got) {
  std::vector<double> exact;
  const Result want = reference<double>(layer, &exact);
  const double tolerance = 0x1p-24 * 12.0 * (static_cast<double>(layer.shape.key_dim) + 40.0);
  double worst = 0.0;
  for (std::size_t i = 0; i < exact.size(); ++i) {
    worst = std::max(worst, std::fabs(got.out[i] - exact[i]));
    ASSERT_NEAR(got.out[i], exact[i], tolerance * (1.0 + std::fabs(exact[i]))) << i;
  }
  EXPECT_GT(worst, 0.0);
  for (std::size_t s = 0; s < want.states.size(); ++s) {
    for (std::size_t i = 0; i < want.states[s].size(); ++i) {
      const bool padding =
          i >= layer.shape.conv_state_floats() && i < layer.shape.matrices_offset();
      if (padding || i >= layer.shape.matrices_offset() + layer.shape.state_floats()) continue;
      ASSERT_NEAR(got.states[s][i], want.states[s][i], tolerance) << s << ", " << i;
    }
  }
}

struct Case {
  const char* name;
  DeltaNetShape shape;
  std::vector<std::size_t> lengths;
};

class DeltaNetCases : public ::testing::TestWithParam<Case> {};

TEST_P(DeltaNetCases, EveryInstructionSetFollowsTheCanonicalOrder) {
  const Layer layer(GetParam().shape, GetParam().lengths);
  const Result want = reference<float>(layer, nullptr);
  expect_near(layer, want);
  for (const Isa isa : available_isas()) {
    for (const unsigned threads : {1u, 2u, 3u}) {
      const auto compute = compute_with(isa, threads);
      for (const std::size_t chunk : {layer.rows, std::size_t{1}, std::size_t{7}}) {
        expect_same(layer, run(layer, *compute, chunk), want,
                    std::string(compute->name()) + ", chunks of " + std::to_string(chunk));
      }
    }
  }
}

INSTANTIATE_TEST_SUITE_P(
    Shapes, DeltaNetCases,
    ::testing::Values(Case{"published", {2, 4, 128, 128, 4, false}, {20}},
                      Case{"tiled", {2, 6, 32, 64, 4, true}, {11, 1, 75}},
                      Case{"ragged", {3, 3, 20, 37, 3, false}, {9, 2}},
                      Case{"wide_values", {1, 2, 16, 176, 4, false}, {5, 5}},
                      Case{"no_convolution", {1, 2, 16, 16, 1, false}, {13}},
                      Case{"long_convolution", {1, 1, 24, 16, 700, false}, {6}}),
    [](const auto& param_info) { return std::string(param_info.param.name); });

// A run that is longer than the rows that go through a tile together.
TEST(DeltaNet, LongRuns) {
  const Layer layer({1, 2, 32, 80, 4, false}, {150});
  expect_same(layer, run(layer, *compute_with(Isa::kGeneric, 2), 150),
              reference<float>(layer, nullptr), "150 rows");
}

TEST(DeltaNet, EmulatedKernelsAgree) {
  const Layer layer({2, 4, 24, 40, 4, false}, {6});
  const Result want = reference<float>(layer, nullptr);
  const std::size_t inner = layer.shape.value_heads * layer.shape.value_dim;
  for (const testing::TestedKernels& tested : testing::tested_kernels()) {
    auto scratch = AlignedBuffer::allocate(kDeltaNetScratchBytes).value();
    Result got;
    got.out.assign(layer.rows * inner, NAN);
    got.states = layer.first_states;
    std::vector<float> qkv = layer.qkv;
    std::vector<float*> places(layer.rows, got.states[0].data());
    const DeltaNetTask task{.shape = layer.shape,
                            .rows = layer.rows,
                            .states = places.data(),
                            .qkv = qkv.data(),
                            .conv_weight = layer.conv_weight.data(),
                            .alpha = layer.alpha.data(),
                            .beta = layer.beta.data(),
                            .a = layer.a.data(),
                            .dt_bias = layer.dt_bias.data(),
                            .gate = layer.gate.data(),
                            .norm_weight = layer.norm_weight.data(),
                            .norm_epsilon = Layer::kEpsilon,
                            .out = got.out.data()};
    for (std::size_t head = 0; head < 2 * layer.shape.key_heads + layer.shape.value_heads; ++head) {
      tested.kernels->delta_net_convolve(task, 0, layer.rows, head, scratch.data());
    }
    for (std::size_t head = 0; head < layer.shape.value_heads; ++head) {
      tested.kernels->delta_net_recur(task, 0, layer.rows, head);
    }
    expect_same(layer, got, want, tested.name);
  }
}

TEST(DeltaNet, NoRows) {
  compute_with(Isa::kGeneric, 2)->delta_net({.shape = {1, 1, 16, 16, 4, false}});
}

}  // namespace
}  // namespace sluice
