// The row kernels against the CPU's, bit for bit: on the CPU through the shim and, from the same
// source, on a device.

#include "cuda/row_ops.h"

#include <functional>
#include <limits>

#include "tests/cpu/kv_cache_fixture.h"
#include "tests/cuda/device_memory.h"
#include "tests/cuda/plain_rows.h"

namespace sluice::testing {
namespace {

using test::random_floats;

constexpr float kInfinity = std::numeric_limits<float>::infinity();
constexpr float kNan = std::numeric_limits<float>::quiet_NaN();

class RowOpsTest : public DeviceTest {
 protected:
  const std::unique_ptr<Compute> compute_ = test::compute_with(test::available_isas().back(), 1);
};

DeviceArray<float> put(const std::vector<float>& values) {
  return DeviceArray<float>(std::span<const float>(values));
}

::testing::AssertionResult same(const std::vector<float>& got, const std::vector<float>& want) {
  for (std::size_t i = 0; i < want.size(); ++i) {
    if (!same_bits(got[i], want[i])) {
      return ::testing::AssertionFailure() << got[i] << " instead of " << want[i] << " at " << i;
    }
  }
  return ::testing::AssertionSuccess();
}

TEST_F(RowOpsTest, QuantisesByRule1) {
  std::mt19937 random(1);
  constexpr std::uint32_t kRows = 3, kColumns = 352;
  std::vector<float> values = normal_values(kRows * kColumns, random);
  for (std::size_t i = 0; i < 32; ++i) {
    values[i] = 0.0f;                               // no largest element
    values[32 + i] *= 1e-40f;                       // 127 / amax is infinite
    values[64 + i] *= 1e37f;                        // near the largest float
    values[96 + i] = static_cast<float>(i) + 0.5f;  // halves go to even
    values[128 + i] = i == 7 ? -1e-30f : 0.0f;      // the largest is negative and alone
  }
  values[96 + 31] = 127.0f;
  const PlainRows want = quantise_plainly(values);
  in_every_thread_order([&] {
    const DeviceArray<float> input = put(values);
    const DeviceArray<std::int8_t> codes(values.size());
    const DeviceArray<float> scales(values.size() / 32);
    const DeviceArray<std::int16_t> sums(values.size() / 16);
    const Activations activations{.values = input.data(),
                                  .codes = codes.data(),
                                  .scales = scales.data(),
                                  .sums = sums.data(),
                                  .rows = kRows,
                                  .columns = kColumns};
    ASSERT_EQ(cuda::launch_quantise(activations, kRows, nullptr), cudaSuccess);
    EXPECT_EQ(codes.download(), want.codes);
    EXPECT_EQ(scales.download(), want.scales);
    EXPECT_EQ(sums.download(), want.sums);
  });
}

TEST_F(RowOpsTest, QuantisesNoMoreThanItIsAsked) {
  const std::vector<float> values(2 * 64, 1.0f);
  const DeviceArray<float> input = put(values), scales(4);
  const DeviceArray<std::int8_t> codes(values.size());
  const DeviceArray<std::int16_t> sums(8);
  Activations activations{.values = input.data(),
                          .codes = codes.data(),
                          .scales = scales.data(),
                          .sums = sums.data(),
                          .rows = 2,
                          .columns = 64};
  ASSERT_EQ(cuda::launch_quantise(activations, 1, nullptr), cudaSuccess);
  const std::vector<std::int8_t> got = codes.download();
  EXPECT_EQ(got[63], 127);
  EXPECT_EQ(got[64], static_cast<std::int8_t>(0xcd));
  EXPECT_EQ(cuda::launch_quantise(activations, 0, nullptr), cudaSuccess);
  activations.columns = 48;
  EXPECT_EQ(cuda::launch_quantise(activations, 1, nullptr), cudaErrorInvalidValue);
  activations.codes = nullptr;
  EXPECT_EQ(cuda::launch_quantise(activations, 1, nullptr), cudaSuccess)
      << "there is no 8-bit form";
}

TEST_F(RowOpsTest, QuantisesWhatIsNotANumberToNone) {
  std::mt19937 random(3);
  for (std::size_t at = 32; at < 64; ++at) {
    std::vector<float> values = normal_values(96, random);
    values[at] = kNan;
    const DeviceArray<float> input = put(values), scales(3);
    const DeviceArray<std::int8_t> codes(values.size());
    const DeviceArray<std::int16_t> sums(6);
    ASSERT_EQ(cuda::launch_quantise({.values = input.data(),
                                     .codes = codes.data(),
                                     .scales = scales.data(),
                                     .sums = sums.data(),
                                     .rows = 1,
                                     .columns = 96},
                                    1, nullptr),
              cudaSuccess);
    const std::vector<float> got = scales.download();
    EXPECT_TRUE(std::isfinite(got[0]) && std::isnan(got[1]) && std::isfinite(got[2])) << at;
  }
}

TEST_F(RowOpsTest, GatesOverTheFloats) {
  // Every so-many-th bit pattern, all signs and exponents, and the edges of canonical_exp.
#ifdef SLUICE_CUDA_HOST_SHIM
  constexpr std::uint32_t kStep = 40961;
#else
  constexpr std::uint32_t kStep = 257;
#endif
  std::vector<float> values;
  for (std::uint64_t bits = 0; bits < std::uint64_t{1} << 32; bits += kStep) {
    values.push_back(std::bit_cast<float>(static_cast<std::uint32_t>(bits)));
  }
  for (const float edge : {87.3f, 88.7f, 0.0f, 0.34657359f, 104.0f}) {
    for (const float x : {edge, std::nextafter(edge, 200.0f), std::nextafter(edge, -200.0f)}) {
      values.push_back(x);
      values.push_back(-x);
    }
  }
  const DeviceArray<float> gates = put(values), output = put(values);
  ASSERT_EQ(cuda::launch_map({.op = MapOp::kGate,
                              .out = output.data(),
                              .x = gates.data(),
                              .rows = 1,
                              .columns = values.size()},
                             nullptr),
            cudaSuccess);
  const std::vector<float> got = output.download();
  for (std::size_t i = 0; i < values.size(); ++i) {
    const float gate = 1.0f / (1.0f + canonical_exp(-values[i]));
    ASSERT_TRUE(same_bits(got[i], values[i] * gate)) << values[i] << ": " << got[i];
  }
}

TEST_F(RowOpsTest, MapsAsTheCpuDoes) {
  struct Layout {
    std::size_t rows, columns, out_stride, x_stride;
  };
  constexpr Layout kLayouts[] = {
      {1, 1, 1, 1}, {3, 7, 9, 8}, {20, 300, 303, 600}, {2, 9000, 9000, 9001}};
  for (const MapOp op : {MapOp::kFill, MapOp::kCopy, MapOp::kAdd, MapOp::kAddGated, MapOp::kScale,
                         MapOp::kGate, MapOp::kClamp}) {
    for (const Layout& layout : kLayouts) {
      auto out = random_floats(layout.rows * layout.out_stride, 2.0f, 1);
      auto x = random_floats(layout.rows * layout.x_stride, 30.0f, 2);
      out.front() = kNan;
      out.back() = -kInfinity;
      x.back() = kInfinity;
      const auto gates = random_floats(layout.rows, 3.0f, 3);
      const bool reads_x = op != MapOp::kFill && op != MapOp::kScale && op != MapOp::kClamp;
      const auto task = [&](float* to, const float* from, const float* of_rows) {
        return MapTask{.op = op,
                       .out = to,
                       .out_stride = layout.out_stride,
                       .x = reads_x ? from : nullptr,
                       .x_stride = reads_x ? layout.x_stride : 0,
                       .gates = op == MapOp::kAddGated ? of_rows : nullptr,
                       .factor = 0.7f,
                       .rows = layout.rows,
                       .columns = layout.columns};
      };
      const DeviceArray<float> there = put(out), x_there = put(x), gates_there = put(gates);
      compute_->map(task(out.data(), x.data(), gates.data()));
      ASSERT_EQ(cuda::launch_map(task(there.data(), x_there.data(), gates_there.data()), nullptr),
                cudaSuccess);
      EXPECT_TRUE(same(there.download(), out)) << static_cast<int>(op) << ' ' << layout.columns;
    }
  }
  EXPECT_EQ(cuda::launch_map({.columns = 5}, nullptr), cudaSuccess);
}

struct NormCase {
  NormKind kind;
  bool weight, bias;
};
constexpr NormCase kNormCases[] = {
    {NormKind::kRms, true, false},   {NormKind::kRms, false, false},
    {NormKind::kRms, true, true},    {NormKind::kLayer, true, true},
    {NormKind::kLayer, false, true}, {NormKind::kLayer, false, false}};

void expect_cpus_norms(Compute& compute, const NormCase& of, std::size_t rows, std::size_t columns,
                       bool in_place) {
  const std::size_t x_stride = columns + 5, out_stride = in_place ? x_stride : columns + 2;
  auto x = random_floats(rows * x_stride, 4.0f, 1);
  for (float& value : x) value += 1.0f;  // a mean to subtract
  if (rows > 2) {
    x[0] = kNan;
    x[x_stride] = kInfinity;
    std::fill_n(x.begin() + static_cast<long>(2 * x_stride), columns, -0.0f);
  }
  const auto weight = random_floats(columns, 1.0f, 2), bias = random_floats(columns, 1.0f, 3);
  const DeviceArray<float> weight_there = put(weight), bias_there = put(bias);
  auto want = in_place ? x : std::vector<float>(rows * out_stride, 3.0f);
  NormTask task{.kind = of.kind,
                .x = in_place ? want.data() : x.data(),
                .x_stride = x_stride,
                .weight = of.weight ? weight.data() : nullptr,
                .bias = of.bias ? bias.data() : nullptr,
                .epsilon = 1e-6f,
                .out = want.data(),
                .out_stride = out_stride,
                .rows = rows,
                .columns = columns};
  const DeviceArray<float> out = put(want), x_there = put(x);
  compute.norm(task);
  task.x = in_place ? out.data() : x_there.data();
  task.weight = of.weight ? weight_there.data() : nullptr;
  task.bias = of.bias ? bias_there.data() : nullptr;
  task.out = out.data();
  ASSERT_EQ(cuda::launch_norm(task, nullptr), cudaSuccess);
  EXPECT_TRUE(same(out.download(), want))
      << rows << " x " << columns << (in_place ? ", in place" : "")
      << (of.kind == NormKind::kLayer ? ", layer" : ", RMS") << (of.weight ? ", weight" : "")
      << (of.bias ? ", bias" : "");
}

TEST_F(RowOpsTest, NormsAsTheCpuDoes) {
  in_every_thread_order([&] {
    for (const NormCase& of : kNormCases) {
      for (const bool in_place : {false, true}) {
        for (const std::size_t columns : {1u, 15u, 64u, 128u, 512u, 513u, 2048u + 24u}) {
          expect_cpus_norms(*compute_, of, 5, columns, in_place);
        }
        expect_cpus_norms(*compute_, of, 1, 17000, in_place);
      }
    }
    // As the heads of many rows are.
    expect_cpus_norms(*compute_, kNormCases[0], 1003, 128, true);
  });
  EXPECT_EQ(cuda::launch_norm({.columns = 64}, nullptr), cudaSuccess);
}

TEST_F(RowOpsTest, TurnsAsTheCpuDoes) {
  struct Layout {
    std::size_t rows, heads, head_dim, rotary_dim;
  };
  constexpr Layout kLayouts[] = {{1, 1, 2, 2},  {3, 4, 128, 128}, {5, 3, 64, 20}, {70, 1, 64, 64},
                                 {2, 2, 10, 6}, {2, 40, 96, 64},  {9, 2, 7, 5},   {1, 3, 8, 0}};
  for (const Layout& layout : kLayouts) {
    for (const bool interleaved : {false, true}) {
      const std::size_t stride = layout.heads * layout.head_dim + 7;
      const std::size_t pairs = layout.rotary_dim / 2;
      auto x = random_floats(layout.rows * stride, 1.0f, 1);
      // Of no angle, since a product's rounding is all that counts.
      const auto cosines = random_floats(layout.rows * pairs, 1.0f, 2);
      const auto sines = random_floats(layout.rows * pairs, 1.0f, 3);
      const DeviceArray<float> there = put(x), cosines_there = put(cosines),
                               sines_there = put(sines);
      const auto task = [&](float* rows, const float* cosine, const float* sine) {
        return RopeTask{.x = rows,
                        .rows = layout.rows,
                        .stride = stride,
                        .heads = layout.heads,
                        .head_dim = layout.head_dim,
                        .rotary_dim = layout.rotary_dim,
                        .interleaved = interleaved,
                        .cosines = cosine,
                        .sines = sine};
      };
      compute_->rope(task(x.data(), cosines.data(), sines.data()));
      ASSERT_EQ(
          cuda::launch_rope(task(there.data(), cosines_there.data(), sines_there.data()), nullptr),
          cudaSuccess);
      EXPECT_TRUE(same(there.download(), x))
          << layout.rotary_dim << " of " << layout.head_dim << (interleaved ? ", interleaved" : "");
    }
  }
}

}  // namespace
}  // namespace sluice::testing
