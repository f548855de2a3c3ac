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
         std::uint64_t vram, const char* placement) {
    RuntimeOptions options = test::runtime_options(conditions);
    options.vram = vram;
    options.device_layers = layers;
    options.placement = parse_placement(placement).value();
    options.devices = [](Compute&) -> Result<DeviceList> {
      DeviceList devices;
      SLUICE_ASSIGN(devices.emplace_back(), cuda::CudaDevice::open(0));
      return devices;
    };
    runtime_ = std::move(Runtime::create(options)).value();
    model_ = std::move(Model::open(*runtime_, conditions.path, conditions.model)).value();
  }
  Model& model() { return *model_; }

 private:
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
