// Drawn models without attention: whatever a router reads, and however it is normalised, the gate
// before attention makes the same of the residual.

#include <gtest/gtest.h>

#include <array>

#include <set>
#include <string>

#include "engine/session.h"
#include "tests/engine/random_model.h"
#include "tests/gates/foreteller.h"
#include "tests/gates/silent_attention.h"

namespace sluice {
namespace {

TEST(RouterGateOfDrawnModels, IsExactBeforeAnAttentionThatAddsNothing) {
  constexpr std::uint32_t kTokens = 12;
  std::set<std::string> kinds;
  std::size_t opened = 0;
  for (std::uint64_t seed = 1; seed <= 80; ++seed) {
    const test::TemporaryFolder folder;
    test::Random random(seed);
    const test::RandomModel drawn = test::random_model(random, kTokens, folder);
    SCOPED_TRACE("seed " + std::to_string(seed) + "\n" + test::in_words(drawn.checkpoint));
    test::silence_attention(drawn.checkpoint);
    auto outline = ModelOutline::from(drawn.checkpoint);
    if (outline.status().code() == ErrorCode::kUnsupported) continue;  // not a model yet
    ASSERT_TRUE(outline.ok()) << outline.status().message();
    ++opened;
    auto runtime = Runtime::create({.ram = std::uint64_t{1} << 30, .threads = 1});
    ASSERT_TRUE(runtime.ok()) << runtime.status().message();
    auto model = Model::open(**runtime, std::move(*outline), {.context = kTokens, .max_rows = 5});
    ASSERT_TRUE(model.ok()) << model.status().message();

    test::Foreteller before(**model, false), knowing(**model, true);
    const std::array<RoutingObserver*, 2> both{&before, &knowing};
    RoutingObservers observers(both);
    Session session(**model);
    std::vector<TokenId> tokens;
    for (std::uint32_t i = 0; i < kTokens; ++i) {
      tokens.push_back(static_cast<TokenId>(random.whole(0, drawn.description.vocabulary - 1)));
    }
    const Status read = session.eval(tokens, Session::Logits::kNone, {}, {.observer = &observers});
    ASSERT_TRUE(read.ok()) << read.message();

    std::size_t sparse = 0;
    for (std::size_t i = 0; i < drawn.description.layers.size(); ++i) {
      if (!drawn.description.layers[i].sparse) continue;
      ++sparse;
      const LayerWeights& layer = (*model)->weights().layers()[i];
      kinds.insert(std::to_string(static_cast<int>(drawn.description.router.input)) +
                   (layer.pre_experts_norm.present() ? " pre-experts" : "") +
                   (drawn.description.norm_kind == NormKind::kRms ? "" : " mean"));
    }
    for (const test::Foreteller* foreteller : {&before, &knowing}) {
      ASSERT_EQ(foreteller->passes.size(), sparse);
      ASSERT_EQ(foreteller->wrong_inputs, 0u);
      ASSERT_EQ(foreteller->wrong_choices, 0u);
    }
  }
  EXPECT_GE(opened, 70u);
  EXPECT_GE(kinds.size(), 5u) << "every input and norm was meant to be drawn";
}

}  // namespace
}  // namespace sluice
