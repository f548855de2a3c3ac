#include "hybrid/cost_curve.h"

#include <gtest/gtest.h>

#include <vector>

#include "tests/hybrid/drawn_layers.h"

namespace sluice {
namespace {

using Part = CostCurve::Part;

TEST(CostCurve, FewRowsWaitForMemoryAndManyForArithmetic) {
  const CostCurve curve = CostCurve::roofline(100e9, 1e12, 2);
  EXPECT_DOUBLE_EQ(curve.seconds(1'000'000, 1), 1e-5);
  EXPECT_DOUBLE_EQ(curve.seconds(1'000'000, 4), 1e-5);
  EXPECT_DOUBLE_EQ(curve.seconds(1'000'000, 256), 512e-6);
  EXPECT_DOUBLE_EQ(curve.seconds(1'000'000, 100'000), 0.2);
  EXPECT_EQ(curve.seconds(1'000'000, 0), 0);
}

TEST(CostCurve, IsStraightBetweenKnotsAndNeverFalls) {
  test::Random random(1);
  for (int trial = 0; trial < 50; ++trial) {
    const CostCurve curve = test::drawn_costs(random).cpu;
    for (std::uint32_t rows = 1; rows < 3000; ++rows) {
      ASSERT_LE(curve.seconds(1000, rows), curve.seconds(1000, rows + 1));
    }
    EXPECT_NEAR(curve.seconds(1000, 96), (curve.seconds(1000, 64) + curve.seconds(1000, 128)) / 2,
                1e-18);
  }
}

/// A machine whose true curve the other does not know: what is measured of it has noise, now and
/// then a hiccup, and its clock changes.
class Machine {
 public:
  Machine(const CostCurve& truth, std::uint64_t seed) : truth_(truth), random_(seed) {}

  double seconds(const std::vector<Part>& parts) {
    double sum = 0;
    for (const Part& part : parts) sum += truth_.seconds(part.bytes, part.rows);
    return speed * sum;
  }
  double measured(const std::vector<Part>& parts) {
    const double hiccup = random_() % 50 == 0 ? test::between(random_, 2, 100) : 1;
    return seconds(parts) * test::between(random_, 0.93, 1.07) * hiccup;
  }
  /// As layers come: of decode steps mostly, and of prompts.
  std::vector<Part> layer() {
    std::vector<Part> parts;
    const std::uint32_t most = random_() % 8 == 0 ? 300 : 2;
    for (std::size_t i = 0; i < 1 + random_() % 8; ++i) {
      parts.push_back({.bytes = 1'000'000 + random_() % 3'000'000,
                       .rows = static_cast<std::uint32_t>(1 + random_() % most)});
    }
    return parts;
  }

  double speed = 1;

 private:
  const CostCurve truth_;
  test::Random random_;
};

TEST(CostCurve, LearnsAMachineFromTimingsAloneThroughNoiseHiccupsAndDrift) {
  test::Random random(17);
  for (std::uint64_t trial = 0; trial < 40; ++trial) {
    const CostCurve truth = test::drawn_costs(random).cpu;
    Machine machine(truth, trial);
    CostCurve curve = test::drawn_costs(random).cpu;  // of another machine altogether
    const auto learn = [&](int layers) {
      for (int i = 0; i < layers; ++i) {
        const std::vector<Part> parts = machine.layer();
        curve.observe(parts, machine.measured(parts));
      }
    };
    const auto off = [&] {  // of layers that come, on average
      double sum = 0;
      for (int i = 0; i < 200; ++i) {
        const std::vector<Part> parts = machine.layer();
        double expected = 0;
        for (const Part& part : parts) expected += curve.seconds(part.bytes, part.rows);
        sum += std::abs(expected / machine.seconds(parts) - 1);
      }
      return sum / 200;
    };
    learn(2000);
    EXPECT_LT(off(), 0.1) << "trial " << trial;
    machine.speed = 1.6;  // hot
    learn(100);
    EXPECT_LT(off(), 0.1) << "trial " << trial;
    const double before = off();
    const std::vector<Part> parts = machine.layer();
    curve.observe(parts, 1000 * machine.seconds(parts));
    EXPECT_LT(off(), before + 0.1) << "trial " << trial;
  }
}

TEST(CostCurve, WhatIsNoMeasurementTeachesNothing) {
  CostCurve curve = CostCurve::roofline(1e9, 1e12, 2);
  const double before = curve.seconds(1000, 3);
  curve.observe({}, 1);
  const std::vector<Part> parts = {{.bytes = 1000, .rows = 3}}, none = {{.bytes = 1000, .rows = 0}};
  curve.observe(none, 1);
  curve.observe(parts, 0);
  curve.observe(parts, -1);
  curve.observe(parts, kNever);
  EXPECT_EQ(curve.seconds(1000, 3), before);
}

}  // namespace
}  // namespace sluice
