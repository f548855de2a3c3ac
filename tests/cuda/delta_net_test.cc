// The delta net's kernels against the CPU's, bit for bit: on the CPU through the shim and, from the
// same source, on a device.

#include "cuda/delta_net.h"

#include <limits>

#include "tests/cpu/delta_net_layer.h"
#include "tests/cuda/device_memory.h"

namespace sluice::testing {
namespace {

using cuda::delta_net_runs;
using cuda::DeltaNetRun;
using cuda::launch_delta_net;
using test::DeltaNetLayer;
using test::DeltaNetResult;

/// All rows in calls of at most `chunk` rows.
DeltaNetResult run_on_device(const DeltaNetLayer& layer, std::size_t chunk) {
  const std::size_t channels = layer.shape.channels(), heads = layer.shape.value_heads;
  const std::size_t inner = heads * layer.shape.value_dim;
  const auto put = [](const std::vector<float>& values) {
    return DeviceArray<float>(std::span<const float>(values));
  };
  const DeviceArray<float> qkv = put(layer.qkv), conv_weight = put(layer.conv_weight),
                           alpha = put(layer.alpha), beta = put(layer.beta), a = put(layer.a),
                           dt_bias = put(layer.dt_bias), gate = put(layer.gate),
                           norm_weight = put(layer.norm_weight);
  const DeviceArray<float> out(layer.rows * inner);
  std::vector<DeviceArray<float>> states;
  std::vector<float*> places;
  for (std::size_t i = 0; i < layer.lengths.size(); ++i) {
    states.push_back(put(layer.first_states[i]));
    places.insert(places.end(), layer.lengths[i], states.back().data());
  }
  for (std::size_t row = 0; row < layer.rows; row += chunk) {
    const DeltaNetTask task{.shape = layer.shape,
                            .rows = std::min(chunk, layer.rows - row),
                            .states = places.data() + row,
                            .qkv = qkv.data() + row * channels,
                            .conv_weight = conv_weight.data(),
                            .alpha = alpha.data() + row * heads,
                            .beta = beta.data() + row * heads,
                            .a = a.data(),
                            .dt_bias = dt_bias.data(),
                            .gate = gate.data() + row * inner,
                            .norm_weight = norm_weight.data(),
                            .norm_epsilon = DeltaNetLayer::kEpsilon,
                            .out = out.data() + row * inner};
    std::vector<DeltaNetRun> runs;
    delta_net_runs(task, runs);
    const DeviceArray<DeltaNetRun> there{std::span<const DeltaNetRun>(runs)};
    // Runs may be cut between any two.
    const std::size_t some = runs.size() / 2;
    EXPECT_EQ(launch_delta_net(task, std::span(runs).first(some), there.data(), nullptr),
              cudaSuccess);
    EXPECT_EQ(launch_delta_net(task, std::span(runs).subspan(some), there.data() + some, nullptr),
              cudaSuccess);
    // The host's copy of the runs is not the device's.
    EXPECT_EQ(cudaDeviceSynchronize(), cudaSuccess);
  }
  DeltaNetResult result;
  result.out = out.download();
  for (const DeviceArray<float>& state : states) result.states.push_back(state.download());
  return result;
}

void expect_cpus_bits(const DeltaNetLayer& layer, std::span<const std::size_t> chunks) {
  const DeltaNetResult want =
      test::run(layer, *test::compute_with(test::available_isas().back(), 1), layer.rows);
  in_every_thread_order([&] {
    for (const std::size_t chunk : chunks) {
      test::expect_same(layer, run_on_device(layer, chunk), want,
                        "calls of " + std::to_string(chunk) + " rows");
    }
  });
}

struct Case {
  const char* name;
  DeltaNetShape shape;
  std::vector<std::size_t> lengths;
};

class DeltaNetCases : public DeviceTest, public ::testing::WithParamInterface<Case> {};

TEST_P(DeltaNetCases, HaveTheCpusBitsHoweverRowsAreDivided) {
  const DeltaNetLayer layer(GetParam().shape, GetParam().lengths);
  expect_cpus_bits(layer, std::vector<std::size_t>{layer.rows, 1, 7});
}

INSTANTIATE_TEST_SUITE_P(
    Shapes, DeltaNetCases,
    ::testing::Values(Case{"published", {1, 2, 128, 128, 4, false}, {6, 3}},
                      Case{"narrower", {2, 4, 64, 64, 4, true}, {11, 1, 4}},
                      Case{"ragged", {3, 3, 20, 37, 3, false}, {9, 2}},
                      Case{"odd_keys", {1, 2, 7, 5, 2, false}, {40, 1, 1, 35}},
                      Case{"tiled", {2, 6, 32, 16, 4, true}, {3, 70}},
                      Case{"wide_keys", {1, 1, 254, 70, 4, false}, {5, 1}},
                      Case{"fewer_columns_than_threads", {1, 1, 1024, 10, 2, false}, {2}},
                      Case{"wide_values", {1, 2, 16, 600, 4, false}, {5}},
                      Case{"no_convolution", {1, 2, 16, 16, 1, false}, {13}},
                      Case{"long_convolution", {1, 1, 24, 16, 700, false}, {40}},
                      Case{"longest_convolution", {1, 1, 4, 5, 2048, false}, {9, 2}}),
    [](const auto& param_info) { return std::string(param_info.param.name); });

class DeltaNetTest : public DeviceTest {};

// More rows than a block looks at together, and than its ring of inputs holds.
TEST_F(DeltaNetTest, LongRuns) {
  const DeltaNetLayer layer({1, 1, 64, 33, 4, false}, {230, 1, 66});
  expect_cpus_bits(layer, std::vector<std::size_t>{layer.rows, 100});
}

// As decoding has them: a row each, of more sequences than a launch takes.
TEST_F(DeltaNetTest, ManySequences) {
  const DeltaNetLayer layer({1, 2, 8, 12, 4, false}, std::vector<std::size_t>(130, 1));
  expect_cpus_bits(layer, std::vector<std::size_t>{layer.rows});
}

TEST_F(DeltaNetTest, NumbersAtTheEnds) {
  constexpr float kInfinity = std::numeric_limits<float>::infinity();
  DeltaNetLayer layer({1, 2, 16, 20, 4, false}, {7, 9, 2});
  const float edges[] = {0.0f,      -0.0f,      87.4f,  -87.4f,
                         88.8f,     -88.8f,     1e30f,  -1e30f,
                         kInfinity, -kInfinity, 1e-30f, std::numeric_limits<float>::denorm_min()};
  for (std::size_t i = 0; i < std::size(edges); ++i) {
    layer.alpha[2 * i] = edges[i];
    layer.beta[3 * i % layer.beta.size()] = edges[i];
    layer.gate[41 * i] = edges[i];
  }
  const std::size_t channels = layer.shape.channels();
  std::fill_n(layer.qkv.begin(), 16, 0.0f);  // a query of zeros
  std::fill_n(layer.first_states[0].begin(), 3 * channels, 0.0f);
  layer.qkv[8 * channels + 17] = std::numeric_limits<float>::quiet_NaN();  // a key's
  layer.qkv[16 * channels + 35] = kInfinity;                               // a value's
  expect_cpus_bits(layer, std::vector<std::size_t>{layer.rows, 4});
}

TEST_F(DeltaNetTest, RefusesShapesWithoutKernels) {
  DeltaNetShape shape{
      .key_heads = 1, .value_heads = 2, .key_dim = 16, .value_dim = 16, .kernel = 4};
  EXPECT_TRUE(cuda::has_delta_net(shape));
  EXPECT_EQ(launch_delta_net({.shape = shape}, {}, nullptr, nullptr), cudaSuccess) << "of no rows";
  shape.key_dim = 1025;
  EXPECT_FALSE(cuda::has_delta_net(shape));
  const DeltaNetRun run{.rows = 1};
  EXPECT_EQ(launch_delta_net({.shape = shape, .rows = 1}, {&run, 1}, nullptr, nullptr),
            cudaErrorInvalidValue);
}

}  // namespace
}  // namespace sluice::testing
