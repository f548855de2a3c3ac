// Logits and chosen experts against Hugging Face Transformers' in float32, whichever container the
// weights come from and however the text is cut into passes.

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <fstream>
#include <map>
#include <memory>
#include <nlohmann/json.hpp>
#include <string>

#include "base/half.h"
#include "engine/session.h"
#include "layers/rope_table.h"
#include "tests/engine/golden.h"
#include "tests/engine/oracles.h"
#include "tests/support/test_data.h"

namespace sluice {
namespace {

struct Case {
  std::string model;  // relative to the test data
  std::string golden;
  std::size_t chunk;  // tokens in a pass
  /// Where the reference ran with other settings than the file has.
  void (*as_recorded)(Checkpoint& checkpoint) = nullptr;
};

std::ostream& operator<<(std::ostream& out, const Case& c) {
  return out << c.model << " by " << c.chunk;
}

/// Collects the experts of each layer and position, sorted: references differ in how they order
/// equal ranks.
class ExpertRecorder : public RoutingObserver {
 public:
  void routed(const Routing& routing) override {
    for (std::size_t row = 0; row < routing.rows; ++row) {
      std::vector<std::int32_t> ids(routing.ids + row * routing.top_k,
                                    routing.ids + (row + 1) * routing.top_k);
      std::sort(ids.begin(), ids.end());
      by_layer_[routing.layer].push_back(ids);
    }
  }
  const std::map<std::uint32_t, std::vector<std::vector<std::int32_t>>>& by_layer() const {
    return by_layer_;
  }

 private:
  std::map<std::uint32_t, std::vector<std::vector<std::int32_t>>> by_layer_;
};

/// The reference's RoPE frequencies had gone through bfloat16: with exact ones the logits of
/// gpt_oss are off by 2.2e-3, with these by 3e-6.
void round_frequencies(Checkpoint& checkpoint) {
  const auto description = ModelDescription::from(checkpoint);
  ASSERT_TRUE(description.ok()) << description.status().message();
  const RopeTable table(description->ropes[0], description->context_length);
  std::vector<float> cosines(table.pairs()), sines(table.pairs());
  const std::uint32_t position = 1;
  table.fill({&position, 1}, cosines.data(), sines.data());
  std::vector<double> factors;
  for (std::size_t i = 0; i < table.pairs(); ++i) {
    const float frequency = std::atan2(sines[i], cosines[i]);
    factors.push_back(static_cast<double>(frequency) /
                      static_cast<double>(bf16_to_float(float_to_bf16(frequency))));
  }
  checkpoint.settings["rope.factors"] = factors;
}

/// The reference took the short factors of LongRoPE, although its text is longer than the original
/// context: with them the logits are off by 4e-6. RopeTableTest checks which ones are taken.
void use_short_factors(Checkpoint& checkpoint) {
  checkpoint.settings["rope.factors_long"] = checkpoint.settings["rope.factors_short"];
}

class GoldenTest : public testing::TestWithParam<Case> {};

TEST_P(GoldenTest, AgreesWithTransformers) {
  const auto model_path = test::test_data(GetParam().model);
  const auto golden_path = test::test_data(GetParam().golden);
  // The bundled part may have a folder's other files without the model.
  const bool part_only = std::filesystem::is_directory(model_path) &&
                         !std::filesystem::exists(model_path / "config.json");
  if (model_path.empty() || golden_path.empty() || part_only)
    GTEST_SKIP() << GetParam().model << " is not in the bundled data; set SLUICE_TEST_DATA";
  const test::Golden golden = test::read_golden(golden_path);

  auto runtime = Runtime::create({.threads = 2});
  ASSERT_TRUE(runtime.ok()) << runtime.status().message();
  auto checkpoint = open_checkpoint(model_path.string());
  ASSERT_TRUE(checkpoint.ok()) << checkpoint.status().message();
  if (GetParam().as_recorded) GetParam().as_recorded(*checkpoint);
  auto outline = ModelOutline::from(std::move(*checkpoint));
  ASSERT_TRUE(outline.ok()) << outline.status().message();
  auto model = Model::open(**runtime, std::move(*outline),
                           {.context = static_cast<std::uint32_t>(golden.ids.size()),
                            .kv_type = KvType::kF32,
                            .compute_f32 = true,
                            .max_rows = static_cast<std::uint32_t>(GetParam().chunk)});
  ASSERT_TRUE(model.ok()) << model.status().message();
  ASSERT_EQ((*model)->description().vocabulary, golden.vocabulary);

  Session session(**model);
  ExpertRecorder recorder;
  float worst = 0;
  std::size_t seen = 0;
  const Status status =
      session.eval(golden.ids, Session::Logits::kAll,
                   [&](std::size_t row, std::span<const float> logits) {
                     if (row >= golden.rows) return;
                     ++seen;
                     for (std::size_t i = 0; i < golden.vocabulary; ++i) {
                       const float difference =
                           std::fabs(logits[i] - golden.logits[row * golden.vocabulary + i]);
                       worst = std::isnan(difference) ? INFINITY : std::max(worst, difference);
                     }
                   },
                   {.observer = &recorder});
  ASSERT_TRUE(status.ok()) << status.message();
  EXPECT_EQ(seen, golden.rows);
  EXPECT_LE(worst, 1e-3f);
  RecordProperty("worst_difference", std::to_string(worst));

  if (golden.sparse_layers == 0) return;  // no experts were recorded
  ASSERT_EQ(recorder.by_layer().size(), golden.sparse_layers);
  std::size_t sparse = 0;
  for (const auto& [layer, rows] : recorder.by_layer()) {
    ASSERT_EQ(rows.size(), golden.ids.size());
    for (std::size_t row = 0; row < rows.size(); ++row) {
      const auto begin =
          golden.experts.begin() +
          static_cast<std::ptrdiff_t>((sparse * golden.ids.size() + row) * golden.top_k);
      std::vector<std::int32_t> expected(begin, begin + static_cast<std::ptrdiff_t>(golden.top_k));
      std::sort(expected.begin(), expected.end());
      EXPECT_EQ(rows[row], expected) << "layer " << layer << ", position " << row;
    }
    ++sparse;
  }
}

std::vector<Case> cases() {
  std::vector<Case> all;
  const auto add = [&](const std::string& model, const std::string& golden) {
    void (*as_recorded)(Checkpoint&) = nullptr;
    if (model.find("gpt_oss") != std::string::npos) as_recorded = round_frequencies;
    if (model.find("longrope") != std::string::npos) as_recorded = use_short_factors;
    for (const std::size_t chunk : {512, 7, 1}) all.push_back({model, golden, chunk, as_recorded});
  };
  for (const std::string& model : test::oracle_models()) {
    const std::string name = model.substr(0, model.find('/'));
    add("oracle/" + model, "oracle/" + name + "/golden.safetensors");
  }
  add("models/tales", "models/tales/golden.safetensors");
  add("models/tales/tales-bf16.gguf", "models/tales/golden.safetensors");
  return all;
}

INSTANTIATE_TEST_SUITE_P(Oracles, GoldenTest, testing::ValuesIn(cases()));

}  // namespace
}  // namespace sluice
