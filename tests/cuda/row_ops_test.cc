// The row kernels, bit for bit against canonical.h: on the CPU through the shim and, from the same
// source, on a device.

#include "cuda/row_ops.h"

#include <limits>

#include "tests/cuda/device_memory.h"
#include "tests/cuda/plain_rows.h"

namespace sluice::testing {
namespace {

class RowOpsTest : public DeviceTest {};

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
    const DeviceArray<float> input{std::span<const float>(values)};
    const DeviceArray<std::int8_t> codes(values.size());
    const DeviceArray<float> scales(values.size() / 32);
    const DeviceArray<std::int16_t> sums(values.size() / 16);
    ASSERT_EQ(cuda::launch_quantise(input.data(), kRows, kColumns,
                                    {codes.data(), scales.data(), sums.data()}, nullptr),
              cudaSuccess);
    EXPECT_EQ(codes.download(), want.codes);
    EXPECT_EQ(scales.download(), want.scales);
    EXPECT_EQ(sums.download(), want.sums);
  });
  EXPECT_EQ(cuda::launch_quantise(nullptr, 1, 48, {}, nullptr), cudaErrorInvalidValue);
}

TEST_F(RowOpsTest, QuantisesWhatIsNotANumberToNone) {
  std::mt19937 random(3);
  for (std::size_t at = 32; at < 64; ++at) {
    std::vector<float> values = normal_values(96, random);
    values[at] = std::numeric_limits<float>::quiet_NaN();
    const DeviceArray<float> input{std::span<const float>(values)};
    const DeviceArray<std::int8_t> codes(values.size());
    const DeviceArray<float> scales(values.size() / 32);
    const DeviceArray<std::int16_t> sums(values.size() / 16);
    ASSERT_EQ(cuda::launch_quantise(input.data(), 1, 96, {codes.data(), scales.data(), sums.data()},
                                    nullptr),
              cudaSuccess);
    const std::vector<float> got = scales.download();
    EXPECT_TRUE(std::isfinite(got[0]) && std::isnan(got[1]) && std::isfinite(got[2])) << at;
  }
}

TEST_F(RowOpsTest, SiluOverTheFloats) {
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
  const DeviceArray<float> input{std::span<const float>(values)};
  const DeviceArray<float> output(values.size());
  ASSERT_EQ(cuda::launch_silu(input.data(), output.data(), values.size(), nullptr), cudaSuccess);
  const std::vector<float> got = output.download();
  for (std::size_t i = 0; i < values.size(); ++i) {
    ASSERT_TRUE(same_bits(got[i], canonical_silu(values[i]))) << values[i] << ": " << got[i];
  }
}

// Rule 6 over rule 3.
std::vector<float> norm_plainly(const float* x, const std::vector<float>& weight, float eps) {
  const std::size_t n = weight.size();
  float total = 0;
  for (std::size_t begin = 0; begin < n; begin += kSegment) {
    float lanes[kFloatLanes] = {};
    for (std::size_t i = begin; i < std::min(n, begin + kSegment); ++i) {
      lanes[i % kFloatLanes] = std::fma(x[i], x[i], lanes[i % kFloatLanes]);
    }
    total += reduce_lanes(lanes);
  }
  const float inverse = 1.0f / std::sqrt(total / static_cast<float>(n) + eps);
  std::vector<float> out(n);
  for (std::size_t i = 0; i < n; ++i) out[i] = x[i] * inverse * weight[i];
  return out;
}

TEST_F(RowOpsTest, NormsByRule6) {
  std::mt19937 random(2);
  for (const std::uint32_t columns : {1u, 40u, 512u, 2048u + 24u, 17000u}) {
    constexpr std::uint32_t kRows = 2;
    const std::size_t stride = columns + 5;
    const std::vector<float> x = normal_values(kRows * stride, random);
    const std::vector<float> weight = normal_values(columns, random);
    in_every_thread_order([&] {
      const DeviceArray<float> rows{std::span<const float>(x)};
      const DeviceArray<float> device_weight{std::span<const float>(weight)};
      ASSERT_EQ(cuda::launch_rms_norm(rows.data(), stride, device_weight.data(), 1e-6f, rows.data(),
                                      stride, kRows, columns, nullptr),
                cudaSuccess);
      const std::vector<float> got = rows.download();
      for (std::uint32_t r = 0; r < kRows; ++r) {
        const std::vector<float> want = norm_plainly(x.data() + r * stride, weight, 1e-6f);
        for (std::uint32_t i = 0; i < columns; ++i) {
          ASSERT_TRUE(same_bits(got[r * stride + i], want[i])) << columns << " at " << i;
        }
        for (std::size_t i = columns; i < stride; ++i) {
          ASSERT_EQ(got[r * stride + i], x[r * stride + i]);
        }
      }
    });
  }
}

}  // namespace
}  // namespace sluice::testing
