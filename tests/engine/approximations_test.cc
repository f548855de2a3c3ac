// Approximations of a whole model: exact where they are off or have nothing to change, what the
// double-precision reference would compute where they have, and refused where they mean nothing.

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <array>
#include <cmath>
#include <functional>
#include <limits>
#include <map>
#include <numeric>

#include "engine/skip_sensitivity.h"
#include "tests/engine/fixture.h"
#include "tests/engine/oracles.h"
#include "tests/formats/temporary_folder.h"
#include "tests/gates/fitted_gates.h"
#include "tests/support/test_data.h"

namespace sluice {
namespace {

using testing::HasSubstr;

constexpr std::uint64_t kPlenty = std::uint64_t{1} << 30;
constexpr std::uint32_t kExperts = 32, kTopK = 4, kLayers = 6;

test::Conditions with(RouteTolerance tolerance, std::uint64_t ram = kPlenty) {
  test::Conditions conditions{.ram = ram};
  conditions.model.tolerance = tolerance;
  conditions.model.calibration = "";
  conditions.model.predict = "off";
  return conditions;
}

std::vector<float> logits_of(Model& model, const std::vector<TokenId>& tokens,
                             const PassOptions& pass) {
  Session session(model);
  std::vector<float> all;
  const Status status = session.eval(
      tokens, Session::Logits::kAll,
      [&](std::size_t, std::span<const float> row) {
        all.insert(all.end(), row.begin(), row.end());
      },
      pass);
  EXPECT_TRUE(status.ok()) << status.message();
  return all;
}

/// Says of some rows after one another where they go.
class Written final : public RoutingScript {
 public:
  using Choose = std::function<void(std::uint32_t layer, std::size_t row, std::span<std::uint32_t>,
                                    std::span<float>)>;
  explicit Written(Choose choose) : choose_(std::move(choose)) {}
  std::uint32_t top_k() const override { return kTopK; }
  void begin(std::size_t rows) override { first_ = std::exchange(next_, next_ + rows); }
  void choose(std::uint32_t layer, std::size_t row, std::span<std::uint32_t> ids,
              std::span<float> weights) override {
    choose_(layer, first_ + row, ids, weights);
  }
  void guess(std::uint32_t, std::size_t, std::span<std::uint32_t> ids) override {
    std::iota(ids.begin(), ids.end(), 0u);
  }

 private:
  const Choose choose_;
  std::size_t first_ = 0, next_ = 0;
};

/// Every expert of the model is read.
void read_all(Model& model) {
  Written all([](std::uint32_t, std::size_t row, auto ids, auto weights) {
    for (std::size_t i = 0; i < ids.size(); ++i) {
      ids[i] = static_cast<std::uint32_t>((row * kTopK + i) % kExperts);
      weights[i] = 0.25f;
    }
  });
  logits_of(model, test::some_tokens(kExperts / kTopK), {.script = &all});
  ASSERT_EQ(model.expert_statistics().loads, model.catalogue().total_experts());
}

/// What routers chose, by (layer, row).
class Notes final : public RoutingObserver {
 public:
  void routed(const Routing& routing) override {
    for (std::size_t row = 0; row < routing.rows; ++row) {
      const std::size_t first = row * routing.top_k;
      auto& [ids, weights] = choices[{routing.layer, rows_of_[routing.layer]++}];
      ids.assign(routing.ids + first, routing.ids + first + routing.top_k);
      weights.assign(routing.weights + first, routing.weights + first + routing.top_k);
    }
  }
  std::map<std::pair<std::uint32_t, std::size_t>,
           std::pair<std::vector<std::uint32_t>, std::vector<float>>>
      choices;

 private:
  std::map<std::uint32_t, std::size_t> rows_of_;
};

class ApproximationsTest : public testing::Test {
 protected:
  const std::vector<TokenId> tokens_ = test::some_tokens(60);
  const std::vector<float> exact_ = test::all_logits(with({}), tokens_);
};

TEST_F(ApproximationsTest, AreOffUnlessAskedFor) {
  const auto opened = test::open(with({.skip = 0, .prefer_resident = 0}));
  EXPECT_EQ(opened.model->relaxation(), nullptr);
  EXPECT_TRUE(test::same_bits(logits_of(*opened.model, tokens_, {}), exact_));
}

/// Without skipping, at limits that no share reaches, and in a pass that is to be exact.
TEST_F(ApproximationsTest, ThatChangeNothingKeepEveryBit) {
  const auto tiny = test::open(with({.skip = 1e-30f}));
  EXPECT_TRUE(test::same_bits(logits_of(*tiny.model, tokens_, {}), exact_));
  EXPECT_EQ(tiny.model->relaxation()->statistics().chosen, kLayers * kTopK * tokens_.size());
  EXPECT_EQ(tiny.model->relaxation()->statistics().skipped, 0u);
  const auto half = test::open(with({.skip = 0.5f, .prefer_resident = 0.5f}));
  EXPECT_TRUE(test::same_bits(logits_of(*half.model, tokens_, {.exact = true}), exact_));
  EXPECT_EQ(half.model->relaxation()->statistics().chosen, 0u);
  EXPECT_FALSE(test::same_bits(logits_of(*half.model, tokens_, {}), exact_));
}

TEST_F(ApproximationsTest, WithEverythingInMemoryOrNothingPreferringKeepsEveryBit) {
  const auto opened = test::open(with({.prefer_resident = 1}));
  // In one pass, so that every layer is met for the first time.
  ASSERT_GE(opened.model->max_rows(), tokens_.size());
  EXPECT_TRUE(test::same_bits(logits_of(*opened.model, tokens_, {}), exact_));
  read_all(*opened.model);
  EXPECT_TRUE(test::same_bits(logits_of(*opened.model, tokens_, {}), exact_));
  EXPECT_GT(opened.model->relaxation()->statistics().chosen, 0u);
  EXPECT_EQ(opened.model->relaxation()->statistics().replaced, 0u);
}

/// Skipping is no less reproducible than exact passes.
TEST_F(ApproximationsTest, SkippingIsTheSameForEveryBudgetAndCut) {
  const RouteTolerance tolerance{.skip = 0.3f};
  const auto opened = test::open(with(tolerance));
  const std::vector<float> skipping = logits_of(*opened.model, tokens_, {});
  const RelaxationStatistics wide = opened.model->relaxation()->statistics();
  EXPECT_GT(wide.skipped, wide.chosen / 10);
  EXPECT_FALSE(test::same_bits(skipping, exact_));
  for (const std::uint32_t rows : {1u, 7u, 16u}) {
    test::Conditions conditions = with(tolerance);
    conditions.model.max_rows = rows;
    conditions.threads = 2;
    conditions.model.predict = "auto";
    conditions.ram = test::smallest_budget(conditions);
    const auto small = test::open(conditions);
    EXPECT_TRUE(test::same_bits(logits_of(*small.model, tokens_, {}), skipping)) << rows;
    EXPECT_EQ(small.model->relaxation()->statistics().skipped, wide.skipped);
  }
}

/// The routers' own choices, and the rule applied to them in double precision by a script in an
/// exact model: as close as roundings are.
TEST_F(ApproximationsTest, SkippingComputesWhatTheRuleSays) {
  constexpr float kLimit = 0.3f;
  test::Conditions conditions = with({.skip = kLimit});
  conditions.model.compute_f32 = true;
  conditions.model.kv_type = KvType::kF32;
  const auto opened = test::open(conditions);
  Notes notes;
  const std::vector<float> skipping = logits_of(*opened.model, tokens_, {.observer = &notes});
  Written rule([&](std::uint32_t layer, std::size_t row, auto ids, auto weights) {
    const auto& [chosen, shares] = notes.choices.at({layer, row});  // best first, summing to 1
    double left = 0, kept = 0;
    std::size_t taken = kTopK;
    while (taken > 1 && left + shares[taken - 1] <= kLimit) left += shares[--taken];
    for (std::size_t i = 0; i < taken; ++i) kept += shares[i];
    for (std::size_t i = 0; i < kTopK; ++i) {
      ids[i] = chosen[i];
      weights[i] = i < taken ? static_cast<float>(shares[i] / kept) : 0.0f;
    }
  });
  conditions.model.tolerance = {};
  const auto plain = test::open(conditions);
  const std::vector<float> scripted = logits_of(*plain.model, tokens_, {.script = &rule});
  ASSERT_EQ(skipping.size(), scripted.size());
  double farthest = 0, changed = 0;
  for (std::size_t i = 0; i < skipping.size(); ++i) {
    farthest = std::max(farthest, double{std::fabs(skipping[i] - scripted[i])});
    changed = std::max(changed, double{std::fabs(skipping[i] - exact_[i])});
  }
  EXPECT_LT(farthest, 1e-3);
  EXPECT_GT(changed, 0.5);
}

/// Decoding with room for a part of the experts.
TEST_F(ApproximationsTest, PreferringReadsLess) {
  std::map<float, std::uint64_t> loads;
  for (const float margin : {0.0f, 0.3f, 1.0f}) {
    test::Conditions conditions = with({.prefer_resident = margin});
    conditions.model.max_rows = 1;
    conditions.ram = test::smallest_budget(conditions) + (std::uint64_t{3} << 20);
    const auto opened = test::open(conditions);
    logits_of(*opened.model, tokens_, {});
    loads[margin] = opened.model->expert_statistics().loads;
    if (margin == 0) continue;
    const RelaxationStatistics& statistics = opened.model->relaxation()->statistics();
    EXPECT_GT(statistics.replaced, 0u);
    EXPECT_LE(statistics.replaced, statistics.chosen);
    EXPECT_EQ(statistics.skipped, 0u);
  }
  EXPECT_LT(loads[0.3f], loads[0.0f]);
  EXPECT_LT(loads[1.0f], loads[0.3f] / 2);
}

TEST_F(ApproximationsTest, GoWithSeveralSessionsInAPass) {
  test::Conditions conditions = with({.skip = 0.3f});
  conditions.model.sequences = 2;
  const auto opened = test::open(conditions);
  const std::vector<float> alone = logits_of(*opened.model, tokens_, {});
  Session ours(*opened.model), other(*opened.model);
  std::vector<float> beside;
  const std::vector<TokenId> others = test::some_tokens(tokens_.size(), 5);
  for (std::uint32_t at = 0; at < tokens_.size(); ++at) {
    ASSERT_TRUE(ours.kv().reserve(at + 1).ok() && other.kv().reserve(at + 1).ok());
    const std::array rows{
        Row{.sequence = &other.kv(), .token = others[at], .position = at, .wants_logits = false},
        Row{.sequence = &ours.kv(), .token = tokens_[at], .position = at, .wants_logits = true}};
    ASSERT_TRUE(opened.model
                    ->step(rows, {},
                           [&](std::size_t, std::span<const float> logits) {
                             beside.insert(beside.end(), logits.begin(), logits.end());
                           })
                    .ok());
  }
  EXPECT_TRUE(test::same_bits(beside, alone));
}

TEST_F(ApproximationsTest, AreRefusedWhereTheyMeanNothing) {
  const auto refusal = [](const std::string& path, RouteTolerance tolerance) {
    auto runtime = Runtime::create({.ram = kPlenty, .threads = 1});
    EXPECT_TRUE(runtime.ok());
    const auto model = Model::open(**runtime, path, {.context = 64, .tolerance = tolerance});
    EXPECT_FALSE(model.ok());
    EXPECT_EQ(model.status().code(), ErrorCode::kInvalidArgument) << model.status().message();
    return model.status().message();
  };
  for (const float wrong : {-0.1f, 1.01f, std::numeric_limits<float>::quiet_NaN(),
                            std::numeric_limits<float>::infinity()}) {
    EXPECT_THAT(refusal(test::bundled_model(), {.skip = wrong}), HasSubstr("between 0 and 1"));
    EXPECT_THAT(refusal(test::bundled_model(), {.prefer_resident = wrong}),
                HasSubstr("between 0 and 1"));
  }
  const auto one_expert = test::test_data("oracle/llama4");
  if (one_expert.empty()) GTEST_SKIP() << "llama4 is not in the bundled data";
  EXPECT_THAT(refusal(one_expert.string(), {.skip = 0.1f}), HasSubstr("takes one"));
}

/// Grouped, biased, shared, before attention, scaling inputs, in batches: none is an obstacle.
TEST_F(ApproximationsTest, GoWithEveryFamily) {
  const std::vector<TokenId> tokens = test::some_tokens(24, 3, 300);
  std::size_t skipping = 0, preferring = 0, models = 0;
  for (const std::string& name : test::oracle_models()) {
    SCOPED_TRACE(name);
    const auto path = test::test_data("oracle/" + name);
    if (path.empty()) continue;
    ++models;
    test::Conditions conditions = with({});
    conditions.path = path.string();
    conditions.model.context = 32;
    conditions.model.compute_f32 = true;
    conditions.model.max_rows = 5;
    const std::vector<float> exact = test::all_logits(conditions, tokens);
    const auto outline = ModelOutline::open(conditions.path);
    ASSERT_TRUE(outline.ok());
    if (outline->description.router.top_k > 1) {
      conditions.model.tolerance = {.skip = 0.4f};
      const auto opened = test::open(conditions);
      const std::vector<float> changed = logits_of(*opened.model, tokens, {});
      EXPECT_TRUE(std::ranges::all_of(changed, [](float x) { return std::isfinite(x); }));
      const bool skipped = opened.model->relaxation()->statistics().skipped != 0;
      EXPECT_EQ(test::same_bits(changed, exact), !skipped);
      skipping += skipped;
    }
    conditions.model.tolerance = {.prefer_resident = 1};
    conditions.model.max_rows = 1;
    const auto opened = test::open(conditions);
    const std::vector<float> changed = logits_of(*opened.model, tokens, {});
    EXPECT_TRUE(std::ranges::all_of(changed, [](float x) { return std::isfinite(x); }));
    const bool replaced = opened.model->relaxation()->statistics().replaced != 0;
    EXPECT_EQ(test::same_bits(changed, exact), !replaced);
    preferring += replaced;
  }
  EXPECT_GT(models, 0u);
  EXPECT_GT(10 * skipping, 7 * models);
  EXPECT_GT(10 * preferring, 7 * models);
}

class SkipSensitivityTest : public testing::Test {
 protected:
  static ModelDescription of_layers(std::vector<bool> sparse) {
    ModelDescription model;
    for (const bool is : sparse) {
      model.layers.emplace_back();
      model.layers.back().sparse = is;
    }
    return model;
  }
};

TEST_F(SkipSensitivityTest, LimitsAreInverseToItAndTheTolerantOnAverage) {
  const ModelDescription model = of_layers({false, true, true, true});
  EXPECT_EQ(skip_limits(0.1f, model, {}), (std::vector<float>{0, 0.1f, 0.1f, 0.1f}));
  const auto limits = skip_limits(0.1f, model, std::vector<float>{1, 2, 1, 0.5f});
  EXPECT_EQ(limits[0], 0);
  EXPECT_NEAR(limits[1] + limits[2] + limits[3], 0.3, 1e-6);
  EXPECT_NEAR(limits[2] / limits[1], 2, 1e-5);
  EXPECT_NEAR(limits[3] / limits[1], 4, 1e-5);
}

TEST_F(SkipSensitivityTest, IsMeasuredPerLayerAndUsedFromTheCalibration) {
  const test::TemporaryFolder folder;
  std::string file;
  {
    const auto opened = test::open(with({}));
    Session session(*opened.model);
    const auto measured = measure_skip_sensitivities(session, test::some_tokens(300), nullptr);
    ASSERT_TRUE(measured.ok()) << measured.status().message();
    ASSERT_EQ(measured->size(), kLayers);
    EXPECT_NEAR(std::accumulate(measured->begin(), measured->end(), 0.0), kLayers, 1e-4);
    EXPECT_EQ(session.length(), 0u);
    for (const float one : *measured) EXPECT_GT(one, 0.05f);
    const std::vector<float> invented{0.25f, 0.25f, 4, 4, 4, 4};
    file = folder.write("a.calibration",
                        GateCorrections::to_file({}, invented, opened.model->description(),
                                                 opened.model->weights().layers()));
  }
  test::Conditions conditions = with({.skip = 0.1f});
  conditions.model.calibration = file;
  const auto opened = test::open(conditions);
  EXPECT_TRUE(opened.model->knows_sensitivities());
  const auto limits =
      skip_limits(0.1f, opened.model->description(), std::vector<float>{0.25f, 0.25f, 4, 4, 4, 4});
  RouteRelaxation same(opened.model->description().router, limits, 0);
  const std::vector<TokenId> tokens = test::some_tokens(40);
  EXPECT_TRUE(test::same_bits(logits_of(*opened.model, tokens, {}),
                              logits_of(*opened.model, tokens, {.relaxation = &same})));
  EXPECT_GT(same.statistics().skipped, 0u);
  const auto alike = test::open(with({.skip = 0.1f}));
  EXPECT_FALSE(alike.model->knows_sensitivities());
  EXPECT_FALSE(
      test::same_bits(logits_of(*opened.model, tokens, {}), logits_of(*alike.model, tokens, {})));
}

TEST_F(SkipSensitivityTest, CanBeCancelled) {
  const auto opened = test::open(with({}));
  Session session(*opened.model);
  const std::atomic<bool> now{true};
  EXPECT_EQ(measure_skip_sensitivities(session, test::some_tokens(100), &now).status().code(),
            ErrorCode::kCancelled);
}

}  // namespace
}  // namespace sluice
