// Those who look on at routing, and scripts that take its place.

#include <gtest/gtest.h>

#include <algorithm>
#include <map>

#include "fixture.h"

namespace sluice {
namespace {

constexpr std::uint32_t kLayers = 6, kExperts = 32, kTopK = 4;

struct Choice {
  std::vector<std::uint32_t> ids;  // [top_k]
  std::vector<float> weights;      // [top_k]
  bool operator==(const Choice&) const = default;
};

/// What every pass chose, by layer and position.
class Notes final : public RoutingObserver {
 public:
  void begin(std::span<const Row> rows) override {
    passes += 1;
    positions_.clear();
    for (const Row& row : rows) {
      positions_.push_back(row.position);
      tokens[row.position] = row.token;
    }
  }
  void routed(const Routing& routing) override {
    ASSERT_EQ(routing.rows, positions_.size());
    EXPECT_EQ(routing.experts, kExperts);
    for (std::size_t row = 0; row < routing.rows; ++row) {
      const std::size_t first = row * routing.top_k;
      choices[{routing.layer, positions_[row]}] = {
          {routing.ids + first, routing.ids + first + routing.top_k},
          {routing.weights + first, routing.weights + first + routing.top_k}};
    }
  }

  std::size_t passes = 0;
  std::map<std::uint32_t, TokenId> tokens;                            // by position
  std::map<std::pair<std::uint32_t, std::uint32_t>, Choice> choices;  // (layer, position)

 private:
  std::vector<std::uint32_t> positions_;
};

/// Gives the first `top_k` of noted choices for rows that come one position after the other.
class Replayed final : public RoutingScript {
 public:
  Replayed(const Notes& notes, std::uint32_t top_k) : notes_(notes), top_k_(top_k) {}
  std::uint32_t top_k() const override { return top_k_; }
  void begin(std::size_t rows) override { first_ = std::exchange(next_, next_ + rows); }
  void choose(std::uint32_t layer, std::size_t row, std::span<std::uint32_t> ids,
              std::span<float> weights) override {
    ASSERT_EQ(ids.size(), top_k_);
    ASSERT_EQ(weights.size(), top_k_);
    const Choice& choice = at(layer, row);
    std::copy_n(choice.ids.begin(), top_k_, ids.begin());
    std::copy_n(choice.weights.begin(), top_k_, weights.begin());
  }
  void guess(std::uint32_t layer, std::size_t row, std::span<std::uint32_t> ids) override {
    guesses += 1;
    const Choice& choice = at(layer, row);
    std::copy_n(choice.ids.begin(), ids.size(), ids.begin());
    if (wrong) std::ranges::transform(ids, ids.begin(), [](auto id) { return kExperts - 1 - id; });
  }

  bool wrong = false;
  std::size_t guesses = 0;

 private:
  const Choice& at(std::uint32_t layer, std::size_t row) const {
    return notes_.choices.at({layer, static_cast<std::uint32_t>(first_ + row)});
  }
  const Notes& notes_;
  const std::uint32_t top_k_;
  std::size_t first_ = 0, next_ = 0;
};

test::Conditions small_budget() {
  test::Conditions conditions;
  conditions.model.max_rows = 8;
  conditions.ram = test::smallest_budget(conditions);
  return conditions;
}

/// A prompt, then a token at a time.
std::vector<float> prompt_and_steps(Session& session, const std::vector<TokenId>& tokens,
                                    const PassOptions& options) {
  std::vector<float> all;
  const LogitsSink sink = [&](std::size_t, std::span<const float> logits) {
    all.insert(all.end(), logits.begin(), logits.end());
  };
  const std::size_t prompt = tokens.size() / 2;
  const std::span<const TokenId> text(tokens);
  EXPECT_TRUE(session.eval(text.first(prompt), Session::Logits::kAll, sink, options).ok());
  for (std::size_t at = prompt; at < tokens.size(); ++at) {
    EXPECT_TRUE(session.eval(text.subspan(at, 1), Session::Logits::kAll, sink, options).ok());
  }
  return all;
}

TEST(Routing, EveryPassIsSeenByTheModelsObserverAndByItsOwn) {
  test::Opened opened = test::open(small_budget());
  Session session(*opened.model);
  const auto tokens = test::some_tokens(40);
  Notes always, now, later;
  opened.model->observe_routing(always);
  prompt_and_steps(session, tokens, {.observer = &now});
  EXPECT_EQ(always.passes, 3u + 20u);  // of 8, 8 and 4 rows, then of one
  EXPECT_EQ(always.choices.size(), kLayers * tokens.size());
  for (std::uint32_t i = 0; i < tokens.size(); ++i) EXPECT_EQ(always.tokens.at(i), tokens[i]);
  EXPECT_EQ(now.passes, always.passes);
  EXPECT_EQ(now.choices, always.choices);

  session.truncate(0);
  prompt_and_steps(session, tokens, {});
  EXPECT_EQ(always.passes, 2 * now.passes);
  opened.model->ignore_routing(always);
  session.truncate(0);
  prompt_and_steps(session, tokens, {.observer = &later});
  EXPECT_EQ(always.passes, 2 * now.passes);
  EXPECT_EQ(later.choices, now.choices);
}

TEST(RoutingScript, GivesTheBitsOfTheRouterThatItWasWrittenFrom) {
  test::Opened opened = test::open(small_budget());
  Session session(*opened.model);
  const auto tokens = test::some_tokens(40);
  Notes notes, again;
  const auto routed = prompt_and_steps(session, tokens, {.observer = &notes});
  for (const bool wrong : {false, true}) {
    Replayed script(notes, kTopK);
    script.wrong = wrong;
    session.truncate(0);
    const auto scripted =
        prompt_and_steps(session, tokens, {.observer = &again, .script = &script});
    EXPECT_TRUE(test::same_bits(scripted, routed));
    EXPECT_EQ(again.choices, notes.choices);
    EXPECT_GT(script.guesses, 0u);  // and none of them changed a bit
  }
  // A pass without a script is the router's again.
  session.truncate(0);
  EXPECT_TRUE(test::same_bits(prompt_and_steps(session, tokens, {}), routed));
}

/// What counts for nothing might as well not be there.
TEST(RoutingScript, MayTakeFewerExpertsThanTheModel) {
  test::Opened opened = test::open(small_budget());
  Session session(*opened.model);
  const auto tokens = test::some_tokens(40);
  Notes notes, narrow_notes;
  prompt_and_steps(session, tokens, {.observer = &notes});
  for (auto& [at, choice] : notes.choices) {
    std::fill(choice.weights.begin() + 2, choice.weights.end(), 0.0f);
  }
  Replayed wide(notes, kTopK), narrow(notes, 2);
  session.truncate(0);
  const auto before = opened.model->expert_statistics();
  const auto all = prompt_and_steps(session, tokens, {.script = &wide});
  const auto between = opened.model->expert_statistics();
  session.truncate(0);
  const auto two =
      prompt_and_steps(session, tokens, {.observer = &narrow_notes, .script = &narrow});
  EXPECT_EQ(two, all);
  EXPECT_EQ(narrow_notes.choices.at({5, 39}).ids.size(), 2u);
  EXPECT_LT((opened.model->expert_statistics() - between).requests, (between - before).requests);
}

TEST(RoutingScript, DecidesWhatIsComputed) {
  test::Opened opened = test::open(small_budget());
  Session session(*opened.model);
  const auto tokens = test::some_tokens(40);
  Notes notes;
  const auto routed = prompt_and_steps(session, tokens, {.observer = &notes});
  for (auto& [at, choice] : notes.choices) choice.ids = {31, 0, 7, 13};
  Replayed script(notes, kTopK);
  const auto before = opened.model->expert_statistics();
  session.truncate(0);
  const auto scripted = prompt_and_steps(session, tokens, {.script = &script});
  EXPECT_NE(scripted, routed);
  EXPECT_EQ((opened.model->expert_statistics() - before).requests, 23u * kLayers * kTopK);
}

}  // namespace
}  // namespace sluice
