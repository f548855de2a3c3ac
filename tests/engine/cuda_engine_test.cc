// The engine with the kernels of CUDA's sources, on a GPU or run by the CPU through the shim: whole
// models, dense parts and experts, have the bits of the CPU's own kernels.

#include <gtest/gtest.h>

#include "cuda/cuda_device.h"
#include "tests/engine/fixture.h"
#include "tests/engine/oracles.h"
#include "tests/support/test_data.h"

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

void expect_same(const test::Conditions& conditions, std::optional<std::uint32_t> layers,
                 std::uint64_t vram, const char* placement, const std::vector<TokenId>& tokens) {
  OnCuda on_cuda(conditions, layers, vram, placement);
  Session session(on_cuda.model());
  EXPECT_TRUE(
      test::same_bits(test::all_logits(session, tokens), test::all_logits(conditions, tokens)));
  const Devices& devices = on_cuda.model().devices();
  EXPECT_EQ(devices.dense_closed(), "");
  EXPECT_EQ(devices.unused(), "");
  EXPECT_EQ(devices.statistics().value_or(HybridStatistics{}).tier.closed, "");
  EXPECT_GT(devices.dense_layers(), 0u);
  EXPECT_GT(devices.statistics().value_or(HybridStatistics{}).on_device, 0u);
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
  expect_same(conditions, std::nullopt, kPlenty, "gpu-only", tokens);
}

TEST_F(CudaEngine, EveryFamilyHasTheSameBits) {
  std::size_t models = 0;
  for (const std::string& name : test::oracle_models()) {
    const auto path = test::test_data("oracle/" + name);
    if (path.empty()) continue;
    SCOPED_TRACE(name);
    models += 1;
    test::Conditions conditions{.ram = kPlenty, .path = path};
    conditions.model.context = 32;
    conditions.model.max_rows = 9;
    auto outline = ModelOutline::open(path);
    ASSERT_TRUE(outline.ok()) << outline.status().message();
    const auto tokens = test::some_tokens(11, 1, outline->description.vocabulary);
    expect_same(conditions, std::nullopt, kPlenty, "gpu-only", tokens);
  }
  if (models == 0) GTEST_SKIP() << "there are no oracles here";
}

}  // namespace
}  // namespace sluice
