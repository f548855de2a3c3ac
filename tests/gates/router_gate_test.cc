// Routers that are asked early, in the models of every architecture: where nothing is missing of
// what the router will read, they foretell its choice to the last expert.

#include "gates/router_gate.h"

#include <gtest/gtest.h>

#include <filesystem>

#include "tests/engine/fixture.h"
#include "tests/engine/oracles.h"
#include "tests/formats/temporary_folder.h"
#include "tests/gates/foreteller.h"
#include "tests/gates/silent_attention.h"
#include "tests/support/test_data.h"

namespace sluice {
namespace {

std::string oracle(const std::string& name) {
  const auto path = test::test_data("oracle/" + name);
  const bool part_only =
      std::filesystem::is_directory(path) && !std::filesystem::exists(path / "config.json");
  return part_only ? std::string() : path.string();
}

test::Opened open(const std::string& path) {
  test::Conditions conditions{.ram = std::uint64_t{1} << 30, .path = path};
  conditions.model.context = 64;
  conditions.model.max_rows = 7;
  return test::open(conditions);
}

void read_some(Model& model, RoutingObserver& observer) {
  Session session(model);
  const auto tokens = test::some_tokens(30, 3, model.description().vocabulary);
  const Status status = session.eval(tokens, Session::Logits::kNone, {}, {.observer = &observer});
  ASSERT_TRUE(status.ok()) << status.message();
}

std::size_t sparse_layers(const Model& model) {
  return static_cast<std::size_t>(
      std::ranges::count_if(model.description().layers, [](auto& layer) { return layer.sparse; }));
}

void expect_all_right(const test::Foreteller& foreteller, const Model& model) {
  EXPECT_EQ(foreteller.passes.size(), sparse_layers(model));
  for (const auto& [layer, passes] : foreteller.passes) EXPECT_EQ(passes, 5u) << layer;
  EXPECT_EQ(foreteller.wrong_inputs, 0u);
  EXPECT_EQ(foreteller.wrong_choices, 0u);
}

TEST(RouterGate, IsExactBeforeAttentionWhereTheRouterReadsTheLayersInput) {
  const std::string path = oracle("smallthinker/model.gguf");
  if (path.empty()) GTEST_SKIP() << "set SLUICE_TEST_DATA";
  test::Opened opened = open(path);
  ASSERT_EQ(opened.model->description().router.input, RouterInput::kLayerInput);
  test::Foreteller foreteller(*opened.model, false);
  read_some(*opened.model, foreteller);
  expect_all_right(foreteller, *opened.model);
}

/// Elsewhere attention has its part in the choice: a gate that always looked right would be no
/// gate.
TEST(RouterGate, IsNotAlwaysRightWhereAttentionIsInBetween) {
  test::Opened opened = open(test::bundled_model());
  test::Foreteller foreteller(*opened.model, false);
  read_some(*opened.model, foreteller);
  EXPECT_EQ(foreteller.passes.size(), sparse_layers(*opened.model));
  EXPECT_GT(foreteller.wrong_inputs, 0u);
  EXPECT_GT(foreteller.wrong_choices, 0u);
}

class RouterGateOfEveryArchitecture : public testing::TestWithParam<std::string> {};

TEST_P(RouterGateOfEveryArchitecture, ChoosesAsTheRouterDoesFromWhatTheRouterReads) {
  const std::string path = oracle(GetParam());
  if (path.empty()) GTEST_SKIP() << "set SLUICE_TEST_DATA";
  test::Opened opened = open(path);
  if (sparse_layers(*opened.model) == 0) GTEST_SKIP() << "no experts";
  test::Foreteller foreteller(*opened.model, true);
  read_some(*opened.model, foreteller);
  expect_all_right(foreteller, *opened.model);
}

TEST_P(RouterGateOfEveryArchitecture, IsExactBeforeAnAttentionThatAddsNothing) {
  const std::string path = oracle(GetParam());
  if (path.empty()) GTEST_SKIP() << "set SLUICE_TEST_DATA";
  if (!path.ends_with(".gguf")) GTEST_SKIP() << "the same model is there as a single file";
  const test::TemporaryFolder folder;
  const std::string copy = folder.write("copy.gguf", test::read_file(path));
  const auto checkpoint = open_checkpoint(copy);
  ASSERT_TRUE(checkpoint.ok()) << checkpoint.status().message();
  test::silence_attention(*checkpoint);
  test::Opened opened = open(copy);
  test::Foreteller foreteller(*opened.model, false);
  read_some(*opened.model, foreteller);
  expect_all_right(foreteller, *opened.model);
}

INSTANTIATE_TEST_SUITE_P(Oracles, RouterGateOfEveryArchitecture,
                         testing::ValuesIn(test::oracle_models()), [](const auto& about) {
                           std::string name = about.param;
                           std::ranges::replace_if(
                               name, [](char c) { return c == '/' || c == '.'; }, '_');
                           return name;
                         });

}  // namespace
}  // namespace sluice
