// A stream of a CudaDevice as a processor: that operations come to the kernels that
// row_ops_test.cc, delta_net_test.cc and their like are about, and what becomes of errors.

#include "cuda/cuda_operations.h"

#include <memory>
#include <string>

#include "cuda/cuda_device.h"
#include "cuda/upload_ring.h"
#include "tests/cpu/delta_net_layer.h"
#include "tests/cpu/run_attention.h"
#include "tests/cuda/device_memory.h"

namespace sluice::testing {
namespace {

using test::random_floats;

constexpr std::size_t kRows = 3, kColumns = 640, kHeads = 5, kHeadDim = kColumns / kHeads;

/// What some operations work with, on the host or on the device.
struct Rows {
  float *x = nullptr, *y = nullptr, *turns = nullptr;
  Activations activations;
};

/// Each reads what one before it wrote.
void operate(Operations& operations, const Rows& rows) {
  operations.norm({.x = rows.x,
                   .x_stride = kColumns,
                   .epsilon = 1e-5f,
                   .out = rows.y,
                   .out_stride = kColumns,
                   .rows = kRows,
                   .columns = kColumns});
  operations.rope({.x = rows.y,
                   .rows = kRows,
                   .stride = kColumns,
                   .heads = kHeads,
                   .head_dim = kHeadDim,
                   .rotary_dim = kHeadDim,
                   .cosines = rows.turns,
                   .sines = rows.turns + kRows * kHeadDim / 2});
  operations.map({.op = MapOp::kGate,
                  .out = rows.y,
                  .out_stride = kColumns,
                  .x = rows.x,
                  .x_stride = kColumns,
                  .rows = kRows,
                  .columns = kColumns});
  Activations activations = rows.activations;
  activations.values = rows.y;
  operations.quantise(activations, kRows);
}

class CudaOperationsTest : public DeviceTest {
 protected:
  void SetUp() override {
    DeviceTest::SetUp();
    if (IsSkipped()) return;
    device_ = std::move(cuda::CudaDevice::open(0)).value();
    stream_ = device_->make_stream().value();
  }
  Operations& operations() { return device_->operations(stream_); }
  /// Waits for all that the stream was given.
  Status finish() {
    SLUICE_ASSIGN(const DeviceEvent event, device_->record(stream_));
    return device_->finish(event);
  }

  const std::unique_ptr<Compute> compute_ = test::compute_with(test::available_isas().back(), 1);
  std::unique_ptr<cuda::CudaDevice> device_;
  StreamIndex stream_ = 0;
};

TEST_F(CudaOperationsTest, ComputeWhatTheCpuDoes) {
  auto x = random_floats(kRows * kColumns, 2.0f, 1);
  auto turns = random_floats(kRows * kHeadDim, 1.0f, 2);
  std::vector<float> y(x.size()), scales(x.size() / 32);
  std::vector<std::int8_t> codes(x.size());
  std::vector<std::int16_t> sums(x.size() / 16);
  const DeviceArray<float> x_there{std::span<const float>(x)},
      turns_there{std::span<const float>(turns)}, y_there(y.size()), scales_there(scales.size());
  const DeviceArray<std::int8_t> codes_there(codes.size());
  const DeviceArray<std::int16_t> sums_there(sums.size());
  operate(*compute_, {x.data(),
                      y.data(),
                      turns.data(),
                      {nullptr, codes.data(), scales.data(), sums.data(), kRows, kColumns}});
  operate(operations(),
          {x_there.data(),
           y_there.data(),
           turns_there.data(),
           {nullptr, codes_there.data(), scales_there.data(), sums_there.data(), kRows, kColumns}});
  ASSERT_TRUE(finish().ok());
  EXPECT_EQ(y_there.download(), y);
  EXPECT_EQ(codes_there.download(), codes);
  EXPECT_EQ(scales_there.download(), scales);
  EXPECT_EQ(sums_there.download(), sums);
}

// More rows than go to the device together, each of which sees the one before it, too.
TEST_F(CudaOperationsTest, AttendOverMoreRowsThanAnUploadTakes) {
  const std::size_t n_rows = cuda::UploadRing::kMost<AttentionRow> + 3;
  constexpr std::size_t kDim = 4;
  const AttentionShape shape{.heads = 1,
                             .kv_heads = 1,
                             .head_dim = kDim,
                             .value_dim = kDim,
                             .kv_type = KvType::kF32,
                             .scale = 0.5f};
  auto keys = random_floats(n_rows * kDim, 1.0f, 1);
  auto values = random_floats(n_rows * kDim, 1.0f, 2);
  auto queries = random_floats(n_rows * kDim, 1.0f, 3);
  const std::size_t n_blocks = n_rows / kKvBlock + 1;
  const std::size_t of_keys = kKvBlock * kDim * sizeof(float);
  std::vector<std::byte> cache(n_blocks * 2 * of_keys);
  const DeviceArray<std::byte> cache_there(cache.size());
  std::vector<std::byte*> blocks, blocks_at;
  for (std::size_t i = 0; i < n_blocks; ++i) {
    blocks.push_back(cache.data() + i * 2 * of_keys);
    blocks_at.push_back(cache_there.data() + i * 2 * of_keys);
  }
  const DeviceArray<std::byte*> blocks_there{std::span<std::byte* const>(blocks_at)};
  std::vector<AttentionRow> rows, rows_there;
  for (std::uint32_t i = 0; i < n_rows; ++i) {
    rows.push_back({{blocks.data(), 0, of_keys}, i, i - (i > 0)});
    rows_there.push_back({{blocks_there.data(), 0, of_keys}, i, i - (i > 0)});
  }
  std::vector<float> want(n_rows * kDim);
  compute_->store_kv(shape, rows, keys.data(), kDim, values.data(), kDim);
  test::run_attention(*compute_, shape, rows, queries.data(), kDim, want.data(), kDim, nullptr);

  const DeviceArray<float> keys_there{std::span<const float>(keys)},
      values_there{std::span<const float>(values)}, queries_there{std::span<const float>(queries)},
      out(want.size());
  operations().store_kv(shape, rows_there, keys_there.data(), kDim, values_there.data(), kDim);
  operations().attention({.shape = shape,
                          .rows = rows_there,
                          .q = queries_there.data(),
                          .q_stride = kDim,
                          .out = out.data(),
                          .out_stride = kDim,
                          .memory = {}});
  ASSERT_TRUE(finish().ok());
  EXPECT_EQ(out.download(), want);
}

TEST_F(CudaOperationsTest, AnErrorComesAtTheNextRecordAndNothingIsDoneInBetween) {
  const std::vector<float> ones(96, 1.0f);
  const DeviceArray<float> there{std::span<const float>(ones)};
  const DeviceArray<std::int8_t> codes(96);
  operations().quantise({.values = there.data(), .codes = codes.data(), .rows = 2, .columns = 48},
                        2);
  const MapTask twice{
      .op = MapOp::kScale, .out = there.data(), .factor = 2.0f, .rows = 1, .columns = 96};
  operations().map(twice);
  const Status status = finish();
  EXPECT_EQ(status.code(), ErrorCode::kInternal);
  EXPECT_NE(status.message().find("quantising"), std::string::npos) << status.message();
  EXPECT_TRUE(finish().ok()) << "it is told once";
  EXPECT_EQ(there.download(), ones);
  operations().map(twice);
  EXPECT_TRUE(finish().ok());
  EXPECT_EQ(there.download(), std::vector<float>(96, 2.0f));
}

TEST_F(CudaOperationsTest, OtherStreamsHaveTheirOwnErrors) {
  const StreamIndex other = device_->make_stream().value();
  operations().delta_net({.shape = {1, 1, 5000, 16, 4, false}, .rows = 1});
  EXPECT_TRUE(device_->record(other).ok());
  const Status status = device_->record(stream_).status();
  EXPECT_EQ(status.code(), ErrorCode::kUnsupported);
  EXPECT_NE(status.message().find("delta nets with keys of 5000"), std::string::npos)
      << status.message();
}

#ifdef SLUICE_CUDA_HOST_SHIM

TEST_F(CudaOperationsTest, AnyCallOfThemMayFail) {
  const test::DeltaNetLayer layer({1, 1, 8, 8, 2, false}, {1});
  test::DeltaNetResult result{std::vector<float>(8), layer.first_states};
  std::vector<float> qkv = layer.qkv;
  float* const state = result.states[0].data();
  const auto give = [&](Operations& operations) {
    const std::vector<float*> states(1, state);
    operations.map({.op = MapOp::kScale, .out = qkv.data(), .rows = 1, .columns = 8});
    operations.delta_net({.shape = layer.shape,
                          .rows = 1,
                          .states = states.data(),
                          .qkv = qkv.data(),
                          .conv_weight = layer.conv_weight.data(),
                          .alpha = layer.alpha.data(),
                          .beta = layer.beta.data(),
                          .a = layer.a.data(),
                          .dt_bias = layer.dt_bias.data(),
                          .gate = layer.gate.data(),
                          .norm_weight = layer.norm_weight.data(),
                          .norm_epsilon = 1e-5f,
                          .out = result.out.data()});
  };
  namespace host_shim = cuda::host_shim;
  host_shim::fail_call(0);
  give(operations());
  const std::uint64_t calls = host_shim::calls();
  EXPECT_GE(calls, 4u);
  for (std::uint64_t nth = 1; nth <= calls; ++nth) {
    for (const bool late : {false, true}) {
      host_shim::fail_call(0);
      const auto device = std::move(cuda::CudaDevice::open(0)).value();
      const StreamIndex stream = device->make_stream().value();
      host_shim::fail_call(nth, cudaErrorLaunchFailure, late);
      give(device->operations(stream));
      EXPECT_EQ(device->record(stream).status().code(), ErrorCode::kDeviceLost) << nth;
    }
  }
  host_shim::fail_call(0);
}

#endif

}  // namespace
}  // namespace sluice::testing
