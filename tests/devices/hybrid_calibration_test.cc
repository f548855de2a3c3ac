// A machine of known times is found to be what it is: on a made-up CPU and a made-up device, whose
// times are virtual, all numbers can be told beforehand.

#include "devices/hybrid_calibration.h"

#include <gtest/gtest.h>

#include <cmath>

#include "base/fake_device.h"
#include "base/tensor_format.h"
#include "devices/hybrid_layer.h"
#include "experts/device_copy.h"
#include "tests/engine/fixture.h"
#include "tests/formats/temporary_folder.h"

namespace sluice {
namespace {

constexpr std::uint64_t kPlenty = std::uint64_t{1} << 28;

/// Computes nothing, in no time.
class NoCompute : public Compute {
 public:
  std::string_view name() const override { return "none"; }
  void limit_threads(unsigned) override {}
  void share_out(std::size_t items, const std::function<void(std::size_t)>& body) override {
    for (std::size_t i = 0; i < items; ++i) body(i);
  }
  void repack(std::span<const RepackTask>) override {}
  void norm(const NormTask&) override {}
  void map(const MapTask&) override {}
  void quantise(const Activations&, std::size_t) override {}
  void matmul(std::span<const MatmulTask>) override {}
  void ffn(std::span<const FfnTask>) override {}
  void rope(const RopeTask&) override {}
  void store_kv(const AttentionShape&, std::span<const AttentionRow>, const float*, std::size_t,
                const float*, std::size_t) override {}
  std::size_t attention_bytes(const AttentionShape&, std::size_t, unsigned) const override {
    return 0;
  }
  void attention(const AttentionTask&) override {}
  void delta_net(const DeltaNetTask&) override {}
  void combine(const CombineTask&) override {}
};

double roofline(const FfnTask& task, double bytes_a_second, double weights_a_second) {
  const double weights = 3.0 * static_cast<double>(task.gate.rows * task.gate.columns);
  const auto bytes = static_cast<double>(task.gate.bytes() + task.up.bytes() + task.down.bytes());
  return std::max(bytes / bytes_a_second,
                  weights * static_cast<double>(task.n_rows) / weights_a_second);
}

struct CpuTimes {
  double start = 20e-6;
  double bytes_a_second = 10e9, weights_a_second = 100e9;
  double beside_upload = 0.7;  // as fast as alone
  std::uint64_t hiccup = 0;    // each so many-th call takes fifty times as long; 0: none
};

/// The host's processor, on the device's clock.
class TimedCompute final : public NoCompute {
 public:
  TimedCompute(FakeDevice& device, const CpuTimes& times) : device_(device), times_(times) {}
  void ffn(std::span<const FfnTask> tasks) override {
    double seconds = times_.start;
    for (const FfnTask& task : tasks) {
      seconds += roofline(task, times_.bytes_a_second, times_.weights_a_second);
    }
    if (device_.uploads()) seconds /= times_.beside_upload;
    if (times_.hiccup != 0 && ++calls_ % times_.hiccup == 0) seconds *= 50;
    longest_ = std::max(longest_, seconds);
    device_.advance(seconds);
  }
  double longest() const { return longest_; }

 private:
  FakeDevice& device_;
  const CpuTimes times_;
  std::uint64_t calls_ = 0;
  double longest_ = 0;
};

class HybridCalibrationTest : public testing::Test {
 protected:
  static constexpr std::size_t kHidden = 512, kFfn = 256;

  HybridCalibrationTest() {
    layer_.experts = 8;
    layer_.hidden = model_.hidden = kHidden;
    layer_.ffn = model_.expert_ffn = kFfn;
    for (std::size_t i = 0; i < 3; ++i) {
      WeightMatrix& matrix = layer_.views[i].matrix;
      matrix.format = &tensor_format(TensorType::kQ8_0);
      matrix.rows = i == 2 ? kHidden : kFfn;
      matrix.columns = i == 2 ? kFfn : kHidden;
    }
    device_.copy_start = 8e-6;
    device_.upload_byte = 1 / 5e9;
    device_.seconds = [](const FfnTask& task) { return roofline(task, 200e9, 10e12); };
    options_.host_bytes = options_.device_bytes = kPlenty;
    options_.usual = HybridLayer::usual_costs(4);
  }

  Result<HybridCosts> calibrate() {
    FakeDevice device(nothing_, device_);
    TimedCompute compute(device, cpu_);
    options_.clock = [&] { return device.now(); };
    auto costs = sluice::calibrate(device, compute,
                                   {.model = model_, .layer = layer_, .experts = 64, .rows = rows_},
                                   options_);
    took_ = device.now();
    longest_ = compute.longest();
    const auto memory = device.memory();
    // What it took was given back.
    EXPECT_TRUE(!memory.ok() || memory->free == memory->total);
    return costs;
  }

  /// All that can be told.
  void expect_truth(const HybridCosts& costs) const {
    const std::uint64_t bytes = device_copy_bytes(layer_, 0, 1);
    for (std::uint32_t rows = 1; rows <= rows_; rows *= 2) {
      SCOPED_TRACE(rows);
      FfnTask task;
      task.gate = layer_.views[0].matrix;
      task.up = layer_.views[1].matrix;
      task.down = layer_.views[2].matrix;
      task.n_rows = rows;
      const double gpu = device_.seconds(task);
      const double cpu = roofline(task, cpu_.bytes_a_second, cpu_.weights_a_second);
      EXPECT_NEAR(costs.gpu.seconds(bytes, rows) / gpu, 1, 0.1);
      EXPECT_NEAR(costs.cpu.seconds(bytes, rows) / cpu, 1, 0.1);
    }
    EXPECT_NEAR(costs.upload_start / device_.copy_start, 1, 0.1);
    EXPECT_NEAR(costs.upload_byte / device_.upload_byte, 1, 0.1);
    EXPECT_NEAR(costs.cpu_start / cpu_.start, 1, 0.1);
    EXPECT_NEAR(costs.cpu_beside_upload / cpu_.beside_upload, 1, 0.1);
    EXPECT_NEAR(costs.upload_beside_cpu, 1, 0.1);
    const double row = static_cast<double>(Activations::bytes(1, kHidden, true));
    const double trip = 2 * device_.copy_start + row * device_.upload_byte +
                        kHidden * sizeof(float) * device_.download_byte;
    EXPECT_NEAR(costs.gpu_start / trip, 1, 0.1);
  }

  ModelDescription model_;
  ExpertLayer layer_;
  FakeDeviceOptions device_;
  CpuTimes cpu_;
  CalibrationOptions options_;
  std::uint32_t rows_ = 256;
  NoCompute nothing_;
  double took_ = 0, longest_ = 0;  // virtual seconds: all of it, and the longest call of the CPU
};

TEST_F(HybridCalibrationTest, FindsTheTimesThatTheMachineHas) {
  const auto costs = calibrate();
  ASSERT_TRUE(costs.ok()) << costs.status().message();
  expect_truth(*costs);
  EXPECT_LT(took_, options_.seconds);
}

TEST_F(HybridCalibrationTest, BeyondWhatIsMeasuredARooflineGoesOn) {
  rows_ = 32;
  const auto costs = calibrate();
  ASSERT_TRUE(costs.ok());
  expect_truth(*costs);
  for (const CostCurve& curve : {costs->cpu, costs->gpu}) {
    for (std::uint32_t rows = 1; rows < 4096; rows *= 2) {
      const double growth = curve.seconds(1, 2 * rows) / curve.seconds(1, rows);
      EXPECT_GE(growth, 1 - 1e-9) << rows;
      EXPECT_LE(growth, 2 + 1e-9) << rows;
    }
  }
  EXPECT_NEAR(costs->cpu.seconds(1, 256) / costs->cpu.seconds(1, 32), 8, 1e-6);  // arithmetic
}

TEST_F(HybridCalibrationTest, HiccupsFoolNoMedian) {
  cpu_.hiccup = 5;
  std::uint64_t calls = 0;
  device_.seconds = [&calls, usual = device_.seconds](const FfnTask& task) {
    // One task of five batches of eight.
    return usual(task) * (++calls % 41 == 0 ? 100 : 1);
  };
  const auto costs = calibrate();
  ASSERT_TRUE(costs.ok());
  device_.seconds = [](const FfnTask& task) { return roofline(task, 200e9, 10e12); };
  expect_truth(*costs);
}

TEST_F(HybridCalibrationTest, TheTimeHoldsOnSlowMachinesAndWhatIsKnownIsKept) {
  for (const double slower : {10.0, 1e2, 1e3, 1e4, 1e5}) {
    for (const double seconds : {0.0, 0.1, 1.5}) {
      SCOPED_TRACE(slower);
      cpu_.bytes_a_second = 10e9 / slower;
      cpu_.weights_a_second = 100e9 / slower;
      options_.seconds = seconds;
      const auto costs = calibrate();
      ASSERT_TRUE(costs.ok());
      // At most a call that was begun in time, and what filling the device took.
      EXPECT_LT(took_, seconds + longest_ + 0.05);
      double before = 0;
      for (std::uint32_t rows = 1; rows <= 2048; ++rows) {
        const double now = costs->cpu.seconds(1, rows);
        EXPECT_TRUE(std::isfinite(now) && now > 0 && now >= before * (1 - 1e-9)) << rows;
        before = now;
      }
      if (seconds == 0) {
        EXPECT_EQ(costs->cpu.seconds(1, 7), options_.usual.cpu.seconds(1, 7));
        EXPECT_EQ(costs->gpu.seconds(1, 7), options_.usual.gpu.seconds(1, 7));
        EXPECT_EQ(costs->upload_byte, options_.usual.upload_byte);
      }
    }
  }
}

TEST_F(HybridCalibrationTest, AClockThatStandsStillEndsIt) {
  cpu_ = {.start = 0, .bytes_a_second = 1e300, .weights_a_second = 1e300};
  device_.copy_start = device_.upload_byte = device_.download_byte = 0;
  device_.seconds = [](const FfnTask&) { return 0.0; };
  const auto costs = calibrate();
  ASSERT_TRUE(costs.ok());
  EXPECT_GT(costs->cpu.seconds(1, 1), 0);
  EXPECT_GT(costs->upload_byte, 0);
}

TEST_F(HybridCalibrationTest, ErrorsOfTheDeviceAreItsOwn) {
  device_.failing_kernel = 20;
  EXPECT_EQ(calibrate().status().code(), ErrorCode::kDeviceLost);
  device_.failing_kernel = 0;
  device_.failing_copy = 100;
  EXPECT_EQ(calibrate().status().code(), ErrorCode::kDeviceLost);
  device_.failing_copy = 0;
  device_.failing_allocation = 1;
  EXPECT_EQ(calibrate().status().code(), ErrorCode::kBudget);
}

TEST_F(HybridCalibrationTest, WithoutRoomThereIsNone) {
  for (std::uint64_t bytes = 1 << 12; bytes < kPlenty; bytes *= 2) {
    options_.host_bytes = options_.device_bytes = bytes;
    device_.memory = bytes;
    const auto costs = calibrate();
    if (costs.ok()) continue;
    EXPECT_EQ(costs.status().code(), ErrorCode::kBudget);
    EXPECT_LT(bytes, std::uint64_t{1} << 22);
  }
}

/// A model measures when it is opened, the next time it knows; nobody asks for it, nothing does.
TEST(HybridCalibrationOfAModelTest, IsDoneOnceAndKept) {
  const test::TemporaryFolder folder;
  const std::string path = folder.path() + "/machine.json";
  std::uint64_t computed = 0;
  test::Conditions conditions{.ram = kPlenty};
  conditions.model.max_rows = 4;
  conditions.device.emplace();
  conditions.device->seconds = [&computed](const FfnTask&) {
    computed += 1;
    return 20e-6;
  };
  // How much the device computes for nobody while the model is opened.
  const auto open = [&](bool calibrates, const std::string& costs) {
    computed = 0;
    RuntimeOptions options = test::runtime_options(conditions);
    options.calibrate = calibrates;
    options.machine_costs = costs;
    const auto runtime = Runtime::create(options).value();
    const auto model = Model::open(*runtime, conditions.path, conditions.model).value();
    const std::uint64_t at_first = computed;
    Session session(*model);
    const auto tokens = test::some_tokens(12);
    EXPECT_TRUE(test::same_bits(test::all_logits(session, tokens),
                                test::all_logits({.ram = kPlenty}, tokens)));
    return at_first;
  };
  EXPECT_EQ(open(false, path), 0u);
  EXPECT_FALSE(std::filesystem::exists(path));  // guesses are not kept
  EXPECT_GT(open(true, ""), 0u);
  EXPECT_GT(open(true, path), 0u);
  EXPECT_TRUE(std::filesystem::exists(path));
  EXPECT_EQ(open(true, path), 0u);
  EXPECT_EQ(open(false, path), 0u);
  conditions.device->name = "another device";
  EXPECT_GT(open(true, path), 0u);
  conditions.device->name = "fake device";
  EXPECT_EQ(open(true, path), 0u);
  conditions.placement = parse_placement("gpu-only").value();
  EXPECT_EQ(open(true, ""), 0u);
}

}  // namespace
}  // namespace sluice
