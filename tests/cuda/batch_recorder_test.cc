// Steps of decoding as batches: whatever becomes graphs, and whatever comes between, has the bits
// of the CPU, which is given one operation after the other.

#include "cuda/batch_recorder.h"

#include <cstring>
#include <memory>
#include <random>

#include "cuda/cuda_device.h"
#include "tests/cpu/delta_net_layer.h"
#include "tests/cuda/attention_case.h"

namespace sluice::testing {
namespace {

using cuda::BatchRecorder;
using cuda::BatchStatistics;
using cuda::CudaDevice;
using test::random_floats;

constexpr std::size_t kHeads = 2, kDim = 8, kWidth = kHeads * kDim, kPositions = 200;
constexpr std::size_t kSequences = 2;
constexpr std::uint64_t kKey = 5;

const AttentionShape kAttention{.heads = kHeads,
                                .kv_heads = kHeads,
                                .head_dim = kDim,
                                .value_dim = kDim,
                                .kv_type = KvType::kF16,
                                .scale = 0.3f};
const DeltaNetShape kDeltaNet{1, 1, 8, 8, 2, false};

/// What a step works with: one processor's memory, laid out alike on both.
struct Places {
  explicit Places(float* memory) : next(memory) {
    for (float** const array : {&x, &normed, &attended, &turns, &projected, &alpha, &beta, &a,
                                &dt_bias, &gate, &norm_weight, &recurrent}) {
      *array = take(kWidth);
    }
    matrix = take(kWidth * kWidth);
    qkv = take(kDeltaNet.channels());
    conv_weight = take(kDeltaNet.channels() * kDeltaNet.kernel);
    for (float*& state : states) state = take(kDeltaNet.floats());
  }
  float* take(std::size_t floats) {
    float* const taken = next;
    next += (floats + 15) / 16 * 16;
    return taken;
  }
  float* next;
  float *x, *normed, *attended, *turns, *projected, *alpha, *beta, *a, *dt_bias, *gate,
      *norm_weight, *recurrent, *matrix, *qkv, *conv_weight;
  float* states[kSequences];
  KvView caches[kSequences] = {};
  std::span<std::byte> attention_memory;
};
const std::size_t kFloats =
    static_cast<std::size_t>(Places(nullptr).next - static_cast<float*>(nullptr));

/// One step of one sequence. What is to be read comes into x.
struct Step {
  std::size_t sequence = 0;
  std::uint32_t position = 0;
  float factor = 1;       // part of the work itself
  bool rotates = true;    // likewise
  bool recurrent = true;  // likewise
};

void give(Operations& operations, const Places& at, const Step& step) {
  const auto matrix_of = [&](const float* data) {
    return WeightMatrix{&tensor_format(TensorType::kF32), reinterpret_cast<const std::byte*>(data),
                        kWidth, kWidth};
  };
  operations.norm({.x = at.x,
                   .x_stride = kWidth,
                   .epsilon = 1e-5f,
                   .out = at.normed,
                   .out_stride = kWidth,
                   .rows = 1,
                   .columns = kWidth});
  const MatmulTask product{.weight = matrix_of(at.matrix),
                           .input = {.values = at.normed, .rows = 1, .columns = kWidth},
                           .n_rows = 1,
                           .output = at.projected,
                           .output_stride = kWidth};
  operations.matmul({&product, 1});
  if (step.rotates) {
    operations.rope({.x = at.projected,
                     .rows = 1,
                     .stride = kWidth,
                     .heads = kHeads,
                     .head_dim = kDim,
                     .rotary_dim = kDim,
                     .cosines = at.turns,
                     .sines = at.turns + kDim / 2});
  }
  const AttentionRow row{at.caches[step.sequence], step.position, 0};
  operations.store_kv(kAttention, {&row, 1}, at.projected, kWidth, at.x, kWidth);
  operations.attention({.shape = kAttention,
                        .rows = {&row, 1},
                        .q = at.projected,
                        .q_stride = kWidth,
                        .out = at.attended,
                        .out_stride = kWidth,
                        .memory = at.attention_memory});
  const auto add = [&](const float* x, std::size_t columns) {
    operations.map({.op = MapOp::kAdd,
                    .out = at.x,
                    .out_stride = kWidth,
                    .x = x,
                    .x_stride = kWidth,
                    .factor = step.factor,
                    .rows = 1,
                    .columns = columns});
  };
  add(at.attended, kWidth);
  if (!step.recurrent) return;
  operations.map({.op = MapOp::kCopy,
                  .out = at.qkv,
                  .out_stride = kWidth,
                  .x = at.x,
                  .x_stride = kWidth,
                  .rows = 1,
                  .columns = kWidth});
  operations.delta_net({.shape = kDeltaNet,
                        .rows = 1,
                        .states = &at.states[step.sequence],
                        .qkv = at.qkv,
                        .conv_weight = at.conv_weight,
                        .alpha = at.alpha,
                        .beta = at.beta,
                        .a = at.a,
                        .dt_bias = at.dt_bias,
                        .gate = at.gate,
                        .norm_weight = at.norm_weight,
                        .norm_epsilon = 1e-5f,
                        .out = at.recurrent});
  add(at.recurrent, kDeltaNet.value_dim);
}

/// The CPU and a device, which do the same.
class TwoWorlds {
 public:
  static Result<std::unique_ptr<TwoWorlds>> create() {
    std::unique_ptr<TwoWorlds> made(new TwoWorlds);
    SLUICE_ASSIGN(made->device_, CudaDevice::open(0));
    SLUICE_ASSIGN(made->stream_, made->device_->make_stream());
    CudaDevice& device = *made->device_;
    const std::size_t bytes =
        device.operations(made->stream_).attention_bytes(kAttention, kPositions, 1);
    SLUICE_ASSIGN(made->there_, DeviceBuffer::allocate(device, kFloats * sizeof(float)));
    SLUICE_ASSIGN(made->attention_there_, DeviceBuffer::allocate(device, bytes));
    SLUICE_ASSIGN(made->pinned_, DeviceBuffer::allocate_pinned(device, kFloats * sizeof(float)));
    made->gpu_ = Places(reinterpret_cast<float*>(made->there_.data()));
    made->gpu_.attention_memory = {made->attention_there_.data(), bytes};
    for (std::size_t i = 0; i < kSequences; ++i) {
      made->cpu_.caches[i] = made->caches_[i].host();
      made->gpu_.caches[i] = made->caches_[i].device();
    }
    std::memcpy(made->pinned_.data(), made->memory_.data(), kFloats * sizeof(float));
    SLUICE_TRY(device.upload(made->stream_, made->there_.data(), made->pinned_.data(),
                             kFloats * sizeof(float)));
    SLUICE_TRY(made->finish());
    return made;
  }

  /// Gives both the steps, the device as one batch. Results are there after `finish`.
  Status take(std::initializer_list<Step> steps, std::uint64_t key = kKey) {
    Operations& operations = device_->operations(stream_);
    auto* const read = reinterpret_cast<float*>(pinned_.data());
    for (std::size_t i = 0; i < kWidth; ++i) {
      cpu_.x[i] = read[i] = std::uniform_real_distribution<float>(-1, 1)(random_);
    }
    device_->begin_batch(stream_, key);
    SLUICE_TRY(device_->upload(stream_, reinterpret_cast<std::byte*>(gpu_.x), pinned_.data(),
                               kWidth * sizeof(float)));
    for (const Step& step : steps) {
      give(*compute_, cpu_, step);
      give(operations, gpu_, step);
    }
    SLUICE_TRY(device_->download(stream_, pinned_.data() + kWidth * sizeof(float),
                                 reinterpret_cast<const std::byte*>(gpu_.x),
                                 kWidth * sizeof(float)));
    return device_->end_batch(stream_);
  }
  Status finish() {
    SLUICE_ASSIGN(const DeviceEvent event, device_->record(stream_));
    return device_->finish(event);
  }
  bool same() const {
    const auto* const got = reinterpret_cast<const float*>(pinned_.data()) + kWidth;
    return std::equal(got, got + kWidth, cpu_.x, same_bits);
  }
  void expect_same(std::initializer_list<Step> steps, std::uint64_t key = kKey) {
    Status status = take(steps, key);
    if (status.ok()) status = finish();
    ASSERT_TRUE(status.ok()) << status.message();
    ASSERT_TRUE(same());
  }
  CudaDevice& device() { return *device_; }
  BatchStatistics statistics() { return device_->batches(); }

 private:
  TwoWorlds() {
    for (float& x : memory_) x *= 0.5f;
    std::fill_n(cpu_.a, kWidth, -0.2f);
  }

  const std::unique_ptr<Compute> compute_ = test::compute_with(test::available_isas().back(), 1);
  std::mt19937 random_{1};
  std::unique_ptr<CudaDevice> device_;
  StreamIndex stream_ = 0;
  std::vector<float> memory_ = random_floats(kFloats, 1.0f, 2);
  std::vector<std::byte> attention_memory_ =
      std::vector<std::byte>(compute_->attention_bytes(kAttention, kPositions, 1) + 64);
  DeviceBuffer there_, attention_there_, pinned_;
  TwoCaches caches_[kSequences] = {{kAttention, kPositions}, {kAttention, kPositions}};
  Places cpu_ = with_memory(Places(memory_.data()));
  Places gpu_{nullptr};

  Places with_memory(Places places) {
    const auto begin = reinterpret_cast<std::uintptr_t>(attention_memory_.data());
    const std::size_t skip = (64 - begin % 64) % 64;
    places.attention_memory =
        std::span(attention_memory_).subspan(skip, attention_memory_.size() - 64);
    return places;
  }
};

class BatchRecorderTest : public DeviceTest {
 protected:
  void SetUp() override {
    DeviceTest::SetUp();
    if (IsSkipped()) return;
#ifdef SLUICE_CUDA_HOST_SHIM
    cuda::host_shim::fail_call(0);
#endif
    auto made = TwoWorlds::create();
    ASSERT_TRUE(made.ok()) << made.status().message();
    worlds_ = std::move(made).value();
  }
  std::unique_ptr<TwoWorlds> worlds_;
};

// Sequences take turns, and their contexts grow until work is made for more blocks.
TEST_F(BatchRecorderTest, StepsOfDecodingAreGraphsWithTheCpusBits) {
  std::uint32_t positions[kSequences] = {};
  std::uint64_t steps = 0;
  for (std::uint32_t round = 0; round < 140; ++round) {
    for (std::size_t sequence = 0; sequence < kSequences; ++sequence) {
      if (sequence == 1 && round % 3 == 0) continue;
      ASSERT_NO_FATAL_FAILURE(
          worlds_->expect_same({{.sequence = sequence, .position = positions[sequence]++}}));
      ++steps;
    }
  }
  ASSERT_EQ(positions[0], 140u);
  const BatchStatistics statistics = worlds_->statistics();
  EXPECT_EQ(statistics.why_not, "");
  // For up to two blocks and for three; each is given plainly once.
  EXPECT_EQ(statistics.graphs, 2u);
  EXPECT_EQ(statistics.recordings, 2u);
  EXPECT_EQ(statistics.launches, steps - 2);
  // A truncation is no other work.
  ASSERT_NO_FATAL_FAILURE(worlds_->expect_same({{.position = 20}}));
  EXPECT_EQ(worlds_->statistics().launches, steps - 1);
}

// One batch begins like another, is shorter, longer or none that was before.
TEST_F(BatchRecorderTest, WhateverABatchIsOfItIsWhatIsDone) {
  std::mt19937_64 random(3);
  std::uint32_t positions[kSequences] = {};
  for (int round = 0; round < 150; ++round) {
    const auto step = [&] {
      const std::size_t sequence = random() % kSequences;
      // Sometimes back to somewhere before.
      if (random() % 16 == 0)
        positions[sequence] = static_cast<std::uint32_t>(random() % (positions[sequence] + 1));
      return Step{.sequence = sequence,
                  .position = positions[sequence]++,
                  .factor = random() % 4 == 0 ? 0.5f : 1.0f,
                  .rotates = random() % 4 != 0,
                  .recurrent = random() % 4 != 0};
    };
    const std::uint64_t key = random() % 2;
    if (random() % 4 == 0) {
      ASSERT_NO_FATAL_FAILURE(worlds_->expect_same({step(), step()}, key)) << round;
    } else {
      ASSERT_NO_FATAL_FAILURE(worlds_->expect_same({step()}, key)) << round;
    }
  }
  const BatchStatistics statistics = worlds_->statistics();
  EXPECT_GT(statistics.launches, 10u);
  EXPECT_LE(statistics.recordings, 2 * BatchRecorder::kMostOfKey);
  EXPECT_EQ(statistics.why_not, "");
}

TEST_F(BatchRecorderTest, ABatchMayBeGivenAgainBeforeItIsDone) {
  for (std::uint32_t position = 0; position < 12; ++position) {
    if (position < 6) {
      ASSERT_NO_FATAL_FAILURE(worlds_->expect_same({{.position = position}}));
      continue;
    }
    ASSERT_TRUE(worlds_->take({{.position = position}}).ok());
    if (position % 2 != 0) {
      ASSERT_TRUE(worlds_->finish().ok());
      ASSERT_TRUE(worlds_->same());
    }
  }
}

TEST_F(BatchRecorderTest, GraphsAreBoundedAndTheirMemoryIsGivenBack) {
  CudaDevice& device = worlds_->device();
  const std::uint64_t before = device.memory()->free;
  for (std::uint64_t key = 0; key < BatchRecorder::kMost + 20; ++key) {
    for (int time = 0; time < 2; ++time) {
      ASSERT_NO_FATAL_FAILURE(worlds_->expect_same({{.recurrent = false}}, 100 + key));
    }
  }
  const BatchStatistics statistics = worlds_->statistics();
  EXPECT_EQ(statistics.recordings, BatchRecorder::kMost);
  EXPECT_EQ(statistics.graphs, BatchRecorder::kMost);
  const std::uint64_t with = device.memory()->free;
  EXPECT_LE(with, before);
#ifdef SLUICE_CUDA_HOST_SHIM  // where nobody else's memory comes and goes
  EXPECT_EQ(before - with, statistics.device_bytes);
#endif
}

#ifdef SLUICE_CUDA_HOST_SHIM

namespace host_shim = cuda::host_shim;

TEST_F(BatchRecorderTest, AStepIsAHandfulOfCalls) {
  std::vector<std::uint64_t> calls;
  for (std::uint32_t position = 0; position < 5; ++position) {
    host_shim::fail_call(0);
    ASSERT_TRUE(worlds_->take({{.position = position}}).ok());
    calls.push_back(host_shim::calls());
    EXPECT_EQ(host_shim::graph_launches(), position == 0 ? 0u : 1u);
    ASSERT_TRUE(worlds_->finish().ok());
  }
  EXPECT_GT(calls[0], 30u) << "one by one";
  // The device is chosen, the graph launched.
  EXPECT_EQ(calls[2], 2u);
  EXPECT_EQ(calls[4], 2u);
}

TEST_F(BatchRecorderTest, WithoutRoomForGraphsEverythingIsGivenAsItIs) {
  const DeviceBackend::Memory memory = worlds_->device().memory().value();
  host_shim::set_device_memory(memory.total - memory.free + 100);
  for (std::uint32_t position = 0; position < 6; ++position) {
    ASSERT_NO_FATAL_FAILURE(worlds_->expect_same({{.position = position}}));
  }
  host_shim::set_device_memory(memory.total);
  for (std::uint32_t position = 6; position < 9; ++position) {
    ASSERT_NO_FATAL_FAILURE(worlds_->expect_same({{.position = position}}));
  }
  const BatchStatistics statistics = worlds_->statistics();
  EXPECT_EQ(statistics.launches, 0u);
  EXPECT_EQ(statistics.recordings, 0u);
  EXPECT_NE(statistics.why_not.find("cudaErrorMemoryAllocation"), std::string::npos)
      << statistics.why_not;
  EXPECT_EQ(worlds_->device().memory()->free, memory.free);
}

struct Failure {
  cudaError_t error;
  bool late;
};

TEST_F(BatchRecorderTest, AnyCallMayFail) {
  const auto run = [&]() -> Status {
    for (std::uint32_t position = 0; position < 4; ++position) {
      SLUICE_TRY(worlds_->take({{.position = position}}));
      SLUICE_TRY(worlds_->finish());
      EXPECT_TRUE(worlds_->same()) << position;
    }
    return {};
  };
  const auto prepare = [&] {
    worlds_.reset();
    host_shim::fail_call(0);
    worlds_ = std::move(TwoWorlds::create()).value();
  };
  prepare();
  host_shim::fail_call(0);
  ASSERT_TRUE(run().ok());
  const std::uint64_t calls = host_shim::calls();
  for (const Failure& failure : {Failure{cudaErrorLaunchFailure, false},
                                 {cudaErrorIllegalAddress, true},
                                 {cudaErrorMemoryAllocation, false},
                                 {cudaErrorStreamCaptureUnsupported, false}}) {
    std::uint64_t without_graphs = 0;
    for (std::uint64_t nth = 1; nth <= calls; ++nth) {
      SCOPED_TRACE(nth);
      prepare();
      host_shim::fail_call(nth, failure.error, failure.late);
      const Status status = run();
      const bool poison = failure.error == cudaErrorLaunchFailure || failure.late;
      if (poison) {
        EXPECT_TRUE(status.code() == ErrorCode::kDeviceLost || nth + 2 > calls) << status.message();
      } else if (status.ok() && !worlds_->statistics().why_not.empty()) {
        ++without_graphs;
      }
    }
    host_shim::fail_call(0);
    if (failure.error == cudaErrorMemoryAllocation) {
      EXPECT_GT(without_graphs, 10u);
    }
  }
}

#endif

}  // namespace
}  // namespace sluice::testing
