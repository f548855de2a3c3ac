// The engine with the kernels of CUDA's sources, on a GPU or run by the CPU through the shim: whole
// models, dense parts and experts, have the bits of the CPU's own kernels.

#include <gtest/gtest.h>

#include "cuda/cuda_device.h"
#include "tests/engine/each_oracle.h"

namespace sluice {
namespace {

constexpr std::uint64_t kPlenty = std::uint64_t{1} << 30;

/// A model on CudaDevice.
class OnCuda {
 public:
  OnCuda(const test::Conditions& conditions, std::optional<std::uint32_t> layers,
         std::uint64_t vram, const char* placement, std::size_t devices = 1) {
    RuntimeOptions options = test::runtime_options(conditions);
    options.vram = vram;
    options.device_layers = layers;
    options.placement = parse_placement(placement).value();
    options.devices = [this, devices](Compute&) -> Result<DeviceList> {
      DeviceList list;
      while (list.size() < devices) {
        SLUICE_ASSIGN(auto device, cuda::CudaDevice::open(0));
        devices_.push_back(device.get());
        list.push_back(std::move(device));
      }
      return list;
    };
    runtime_ = std::move(Runtime::create(options)).value();
    model_ = std::move(Model::open(*runtime_, conditions.path, conditions.model)).value();
  }
  Model& model() { return *model_; }
  cuda::CudaDevice& device(std::size_t index = 0) { return *devices_[index]; }

 private:
  std::vector<cuda::CudaDevice*> devices_;
  std::unique_ptr<Runtime> runtime_;
  std::unique_ptr<Model> model_;
};

struct OnDevice {
  std::uint32_t layers = 0;
  std::uint64_t experts = 0;
};

/// What the device computed of it.
OnDevice expect_same(const test::Conditions& conditions, const std::vector<TokenId>& tokens) {
  OnCuda on_cuda(conditions, std::nullopt, kPlenty, "gpu-only");
  Session session(on_cuda.model());
  EXPECT_TRUE(
      test::same_bits(test::all_logits(session, tokens), test::all_logits(conditions, tokens)));
  const Devices& devices = on_cuda.model().devices();
  const HybridStatistics experts = devices.statistics().value_or(HybridStatistics{});
  EXPECT_EQ(devices.dense_closed(), "");
  EXPECT_EQ(experts.tier.closed, "");
  return {devices.dense_layers(), experts.on_device};
}

class CudaEngine : public testing::Test {
 protected:
  void SetUp() override {
    if (cuda::CudaDevice::count() == 0) GTEST_SKIP() << "there is no GPU here";
  }
};

TEST_F(CudaEngine, TheBundledModelHasTheSameBits) {
  test::Conditions conditions{.ram = kPlenty};
  conditions.model.max_rows = 12;
  const auto tokens = test::some_tokens(14);
  const OnDevice there = expect_same(conditions, tokens);
  EXPECT_GT(there.layers, 0u);
  EXPECT_GT(there.experts, 0u);
}

/// Two sessions take turns, over the border of what work is made for, and go back.
TEST_F(CudaEngine, DecodingIsGraphsOfTheSameBits) {
  test::Conditions conditions{.ram = kPlenty};
  conditions.model.max_rows = 64;
  conditions.model.sequences = 2;
  const std::vector<TokenId> texts[] = {test::some_tokens(134, 7), test::some_tokens(20, 8)};
  const std::vector<float> expected[] = {test::all_logits(conditions, texts[0]),
                                         test::all_logits(conditions, texts[1])};
  OnCuda on_cuda(conditions, std::nullopt, kPlenty, "static:0");
  const std::size_t vocabulary = on_cuda.model().description().vocabulary;
  Session sessions[] = {Session(on_cuda.model()), Session(on_cuda.model())};
  std::size_t positions[] = {0, 0};
  const auto eval = [&](std::size_t which, std::size_t count) {
    const std::size_t from = positions[which];
    positions[which] += count;
    const auto check = [&](std::size_t row, std::span<const float> logits) {
      EXPECT_TRUE(test::same_bits(
          logits, std::span(expected[which]).subspan((from + row) * vocabulary, vocabulary)))
          << from + row;
    };
    const Status status = sessions[which].eval(std::span(texts[which]).subspan(from, count),
                                               Session::Logits::kAll, check);
    ASSERT_TRUE(status.ok()) << status.message();
  };
  const auto launches = [&] { return on_cuda.device().batches().launches; };
  eval(0, 124);
  eval(1, 12);
  EXPECT_EQ(launches(), 0u);
  for (int step = 0; step < 3; ++step) {
    eval(0, 1);
    eval(1, 1);
  }
  const std::uint64_t layers = on_cuda.model().devices().dense_layers();
  const std::uint64_t before = launches(), pieces = on_cuda.device().batches().pieces;
#ifdef SLUICE_CUDA_HOST_SHIM
  cuda::host_shim::fail_call(0);
#endif
  eval(1, 1);
#ifdef SLUICE_CUDA_HOST_SHIM
  RecordProperty("calls", static_cast<int>(cuda::host_shim::calls()));
  EXPECT_LE(cuda::host_shim::calls(), 12 * (layers + 1));
#endif
  EXPECT_GE(launches() - before, layers);
  EXPECT_EQ(on_cuda.device().batches().pieces, pieces) << "none is given by itself";
  for (int step = 0; step < 5; ++step) eval(0, 1);
  sessions[1].truncate(3);
  positions[1] = 3;
  eval(1, 2);
  eval(1, 1);
  EXPECT_EQ(on_cuda.device().batches().why_not, "");
  EXPECT_EQ(on_cuda.model().devices().dense_closed(), "");
}

void expect_token_by_token(Model& model, const std::vector<TokenId>& tokens,
                           const std::vector<float>& expected) {
  Session session(model);
  std::vector<float> all;
  for (const TokenId token : tokens) {
    const std::vector<float> logits = test::all_logits(session, {token});
    all.insert(all.end(), logits.begin(), logits.end());
  }
  EXPECT_TRUE(test::same_bits(all, expected));
}

/// Each has layers, and the sequence's twin in a pool of its own.
TEST_F(CudaEngine, SeveralDevicesHaveTheirOwnGraphs) {
  test::Conditions conditions{.ram = kPlenty};
  const auto tokens = test::some_tokens(6);
  const std::vector<float> expected = test::all_logits(conditions, tokens);
  OnCuda on_cuda(conditions, std::nullopt, std::uint64_t{3} << 20, "static:0", 2);
  ASSERT_EQ(on_cuda.model().devices().kv_pools().size(), 2u);
  expect_token_by_token(on_cuda.model(), tokens, expected);
  for (const std::size_t device : {0u, 1u}) {
    EXPECT_GE(on_cuda.device(device).batches().launches, tokens.size() - 1);
  }
}

#ifdef SLUICE_CUDA_HOST_SHIM

/// While steps are given one by one, captured or launched: the device is lost, or goes on without.
TEST_F(CudaEngine, AnyCallOfDecodingMayFail) {
  test::Conditions conditions{.ram = kPlenty};
  const auto tokens = test::some_tokens(5);
  const std::vector<float> expected = test::all_logits(conditions, tokens);
  std::uint64_t calls = 0, lost = 0, plain = 0;
  for (std::uint64_t nth = 0; nth <= calls; nth += 1 + calls / 16) {
    for (const cudaError_t error : {cudaErrorMemoryAllocation, cudaErrorLaunchFailure}) {
      SCOPED_TRACE(nth);
      OnCuda on_cuda(conditions, 2, kPlenty, "static:0");
      cuda::host_shim::fail_call(nth, error, /*late=*/error == cudaErrorLaunchFailure);
      expect_token_by_token(on_cuda.model(), tokens, expected);
      if (nth == 0) calls = cuda::host_shim::calls();
      lost += on_cuda.model().devices().dense_closed().empty() ? 0 : 1;
      plain += on_cuda.device().batches().why_not.empty() ? 0 : 1;
      cuda::host_shim::fail_call(0);
    }
  }
  EXPECT_GT(lost, 10u);
  EXPECT_GT(plain, 0u);
}

#endif

TEST_F(CudaEngine, EveryFamilyHasTheSameBits) {
  std::size_t with_layers = 0, with_experts = 0;
  std::vector<std::string> names(std::begin(test::kOraclesInFolders),
                                 std::end(test::kOraclesInFolders));
  for (const std::string name : test::kOraclesInBoth) names.push_back(name + "/model.gguf");
  const auto visit = [&](const test::Conditions& conditions, const std::vector<TokenId>& tokens) {
    const OnDevice there = expect_same(conditions, tokens);
    with_layers += there.layers > 0 ? 1 : 0;
    with_experts += there.experts > 0 ? 1 : 0;
  };
  const std::size_t models = test::for_each_oracle(names, 6, 7, visit);
  if (models == 0) GTEST_SKIP() << "there are no oracles here";
  // There are no kernels for FP8 codes, nor for experts that lie column by column in one matrix.
  EXPECT_GE(with_layers + 1, models);
  EXPECT_GE(with_experts + 2, models);
}

}  // namespace
}  // namespace sluice
