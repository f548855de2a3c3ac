// What becomes of drawn routings, against the rule written down once more in double precision.

#include "engine/route_relaxation.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <numeric>
#include <optional>
#include <random>
#include <type_traits>

#include "tests/engine/reference_experts.h"

namespace sluice {
namespace {

using test::Vector;

/// Rows of a router of some kind, chosen by it.
struct Drawn {
  RouterDescription router;
  std::size_t rows = 0;
  std::vector<float> bias, expert_scale;  // [experts], or empty
  std::vector<float> logits, scores;      // [rows, experts]
  std::vector<std::uint32_t> ids;         // [rows, top_k]
  std::vector<float> weights;             // [rows, top_k]
  std::vector<std::uint8_t> resident;     // [experts]

  RoutedRows routed(std::vector<std::uint32_t>& changed_ids, std::vector<float>& changed_weights) {
    return {.layer = 0,
            .rows = rows,
            .scores = scores.data(),
            .selection_bias = bias.empty() ? nullptr : bias.data(),
            .expert_scale = expert_scale.empty() ? nullptr : expert_scale.data(),
            .resident = resident,
            .ids = changed_ids.data(),
            .weights = changed_weights.data()};
  }
  std::span<const float> scores_of(std::size_t row) const {
    return {scores.data() + row * router.experts, router.experts};
  }
};

Drawn draw(std::uint32_t seed) {
  std::mt19937 random(seed);
  const auto below = [&](std::uint32_t bound) {
    return static_cast<std::uint32_t>(random() % bound);
  };
  std::normal_distribution<float> normal(0, 1);
  Drawn drawn;
  RouterDescription& router = drawn.router;
  router.group_count = 1 + below(4);
  const std::uint32_t size = 2 + below(8);
  router.experts = router.group_count * size;
  router.top_k = 1 + below(std::min(router.experts - 1, 8u));
  router.renormalise = below(2) == 0;
  router.scale = below(2) == 0 ? 1.0f : 2.5f;
  switch (below(3)) {
    case 0:
      router.score = RouterScore::kSigmoid;
      break;
    case 1:
      if (below(3) != 0) break;
      router.score = RouterScore::kSparsemixer;
      router.jitter = 0.1f;
      router.renormalise = false;
      router.scale = 1;
      break;
    default:
      break;
  }
  if (router.score != RouterScore::kSparsemixer) {
    router.groups = static_cast<RouterGroups>(below(4));
    router.groups_used = 1 + below(router.group_count);
    router.top_k = std::min(router.top_k, router.groups_used * size);
    if (router.groups == RouterGroups::kOneEach) router.top_k = router.group_count;
    if (below(2) == 0) {
      router.selection_bias = true;
      for (std::uint32_t i = 0; i < router.experts; ++i) drawn.bias.push_back(normal(random) / 4);
    }
  }
  if (below(4) == 0) {
    for (std::uint32_t i = 0; i < router.experts; ++i) {
      drawn.expert_scale.push_back(0.5f + std::fabs(normal(random)));
    }
  }
  drawn.rows = 1 + below(below(2) == 0 ? 2 : 12);
  const std::uint32_t share = below(5);
  for (std::uint32_t i = 0; i < router.experts; ++i) drawn.resident.push_back(below(4) < share);

  for (std::size_t i = 0; i < drawn.rows * router.experts; ++i) {
    drawn.logits.push_back(2 * normal(random));
  }
  drawn.scores = drawn.logits;
  drawn.ids.resize(drawn.rows * router.top_k);
  drawn.weights.resize(drawn.ids.size());
  Router chooser(router);
  for (std::size_t row = 0; row < drawn.rows; ++row) {
    float* const weights = drawn.weights.data() + row * router.top_k;
    std::uint32_t* const ids = drawn.ids.data() + row * router.top_k;
    chooser.choose({drawn.scores.data() + row * router.experts, router.experts},
                   drawn.bias.empty() ? nullptr : drawn.bias.data(), ids, weights);
    for (std::size_t rank = 0; rank < router.top_k && !drawn.expert_scale.empty(); ++rank) {
      weights[rank] *= drawn.expert_scale[ids[rank]];
    }
  }
  return drawn;
}

struct ReferenceRow {
  std::vector<std::uint32_t> experts;
  Vector weights;
};

/// The rule in double precision. `close`: a number came so near to its bound that float32 may see
/// it otherwise.
class Reference {
 public:
  Reference(const Drawn& drawn, double skip, double margin)
      : drawn_(drawn), router_(drawn.router), skip_(skip), margin_(margin) {}

  std::vector<ReferenceRow> rows;
  std::size_t skipped = 0, replaced = 0;
  bool close = false;

  void run() {
    for (std::size_t row = 0; row < drawn_.rows; ++row) {
      const auto first = drawn_.ids.begin() + static_cast<std::ptrdiff_t>(row * router_.top_k);
      rows.push_back({{first, first + router_.top_k}, {}});
      if (skip_ > 0) leave_out(row);
    }
    if (margin_ > 0) replace_missing();
    for (std::size_t row = 0; row < drawn_.rows; ++row) weigh(row);
  }

 private:
  bool at_most(double value, double bound) {
    close |= std::abs(value - bound) < 1e-5 * std::max(1.0, std::abs(bound));
    return value <= bound;
  }

  void leave_out(std::size_t row) {
    const auto first = drawn_.weights.begin() + static_cast<std::ptrdiff_t>(row * router_.top_k);
    const Vector weights(first, first + router_.top_k);
    const double sum = std::accumulate(weights.begin(), weights.end(), 0.0);
    std::vector<std::size_t> ranks(router_.top_k);
    std::iota(ranks.begin(), ranks.end(), std::size_t{0});
    // Weakest first; of equal ones the last chosen.
    std::sort(ranks.begin(), ranks.end(), [&](std::size_t a, std::size_t b) {
      return weights[a] != weights[b] ? weights[a] < weights[b] : a > b;
    });
    double share = 0;
    std::vector<bool> gone(router_.top_k);
    for (std::size_t i = 0; i + 1 < ranks.size(); ++i) {
      share += weights[ranks[i]] / sum;
      if (!at_most(share, skip_)) break;
      gone[ranks[i]] = true;
      ++skipped;
    }
    std::vector<std::uint32_t> left;
    for (std::size_t rank = 0; rank < gone.size(); ++rank) {
      if (!gone[rank]) left.push_back(rows[row].experts[rank]);
    }
    rows[row].experts = left;
  }

  /// Of each group, best or best two together, as `router` says.
  bool group_is_used(std::size_t row, std::uint32_t group) {
    const std::size_t size = router_.experts / router_.group_count;
    Vector worth;
    for (std::uint32_t g = 0; g < router_.group_count; ++g) {
      Vector members;
      for (std::size_t i = g * size; i < (g + 1) * size; ++i) {
        members.push_back(drawn_.scores_of(row)[i] + (drawn_.bias.empty() ? 0.0 : drawn_.bias[i]));
      }
      std::sort(members.rbegin(), members.rend());
      const bool two = router_.groups == RouterGroups::kBestTwo && size > 1;
      worth.push_back(members[0] + (two ? members[1] : 0));
    }
    std::size_t better = 0;
    for (std::uint32_t g = 0; g < router_.group_count; ++g) {
      better += g != group && !at_most(worth[g], worth[group]);
    }
    return better < router_.groups_used;
  }

  bool admits(std::size_t row, std::uint32_t expert, std::uint32_t instead_of) {
    const std::uint32_t size = router_.experts / router_.group_count;
    if (router_.groups == RouterGroups::kNone) return true;
    if (router_.groups == RouterGroups::kOneEach) return expert / size == instead_of / size;
    return group_is_used(row, expert / size);
  }

  /// Whoever may stand for `missing` in a row, best first.
  std::vector<std::uint32_t> candidates(std::size_t row, std::uint32_t missing) {
    const auto scores = drawn_.scores_of(row);
    std::vector<std::uint32_t> found;
    for (std::uint32_t expert = 0; expert < router_.experts; ++expert) {
      const double ratio = router_.score == RouterScore::kSparsemixer
                               ? std::exp(double{scores[expert]} - scores[missing])
                               : double{scores[expert]} / scores[missing];
      if (!drawn_.resident[expert] || !at_most(1 - margin_, ratio)) continue;
      if (std::ranges::count(rows[row].experts, expert) != 0) continue;
      if (admits(row, expert, missing)) found.push_back(expert);
    }
    std::ranges::stable_sort(found, [&](auto a, auto b) { return scores[a] > scores[b]; });
    return found;
  }

  void replace_missing() {
    std::vector<std::uint32_t> missing;
    for (const ReferenceRow& row : rows) {
      for (const std::uint32_t expert : row.experts) {
        if (!drawn_.resident[expert] && std::ranges::count(missing, expert) == 0) {
          missing.push_back(expert);
        }
      }
    }
    for (const std::uint32_t expert : missing) {
      std::vector<std::uint32_t*> places;
      std::vector<std::uint32_t> instead;
      for (std::size_t row = 0; row < rows.size(); ++row) {
        for (std::uint32_t& place : rows[row].experts) {
          if (place != expert) continue;
          const auto found = candidates(row, expert);
          places.push_back(&place);
          if (!found.empty()) instead.push_back(found[0]);
        }
      }
      if (instead.size() < places.size()) continue;
      for (std::size_t i = 0; i < places.size(); ++i) *places[i] = instead[i];
      replaced += places.size();
    }
  }

  void weigh(std::size_t row) {
    const auto scores = drawn_.scores_of(row);
    Vector& weights = rows[row].weights;
    const auto& experts = rows[row].experts;
    for (std::size_t rank = 0; rank < experts.size(); ++rank) {
      const double own = scores[experts[rank]];
      if (router_.score != RouterScore::kSparsemixer) {
        weights.push_back(own);
        continue;
      }
      double total = 0;
      for (std::uint32_t other = 0; other < router_.experts; ++other) {
        const auto before = experts.begin() + static_cast<std::ptrdiff_t>(rank);
        if (std::find(experts.begin(), before, other) != before) continue;
        const double distance =
            (own - scores[other]) / std::max(std::abs(double{scores[other]}), own);
        if (at_most(distance, 2 * double{router_.jitter})) total += std::exp(scores[other] - own);
      }
      weights.push_back(1 / total);
    }
    const double sum =
        router_.renormalise ? std::accumulate(weights.begin(), weights.end(), 0.0) : 1.0;
    for (std::size_t rank = 0; rank < weights.size(); ++rank) {
      weights[rank] *= router_.scale / sum;
      if (!drawn_.expert_scale.empty()) weights[rank] *= drawn_.expert_scale[experts[rank]];
    }
  }

  const Drawn& drawn_;
  const RouterDescription router_;
  const double skip_, margin_;
};

class RouteRelaxationTest : public testing::Test {
 protected:
  void relax(Drawn& drawn, float skip, float margin) {
    ids_ = drawn.ids;
    weights_ = drawn.weights;
    relaxation_.emplace(drawn.router, std::vector<float>{skip}, margin);
    relaxation_->relax(drawn.routed(ids_, weights_));
  }
  bool unchanged(const Drawn& drawn) const {
    for (std::size_t row = 0; row < drawn.rows; ++row) {
      if (relaxation_->taken(row) != drawn.router.top_k) return false;
    }
    return ids_ == drawn.ids && weights_ == drawn.weights;
  }

  std::vector<std::uint32_t> ids_;
  std::vector<float> weights_;
  std::optional<RouteRelaxation> relaxation_;
};

TEST_F(RouteRelaxationTest, FollowsTheRuleWhateverTheRouter) {
  std::mt19937 random(1);
  std::size_t skipped = 0, replaced = 0, compared = 0, grouped = 0, mixed = 0;
  for (std::uint32_t seed = 0; seed < 6000; ++seed) {
    SCOPED_TRACE(seed);
    Drawn drawn = draw(seed);
    std::uniform_real_distribution<float> share(0, 0.7f);
    const float skip = seed % 3 == 0 ? 0 : share(random);
    const float margin = seed % 3 == 1 ? 0 : share(random);
    Reference reference(drawn, skip, margin);
    reference.run();
    if (reference.close) continue;
    ++compared;
    relax(drawn, skip, margin);
    const std::size_t top_k = drawn.router.top_k;
    for (std::size_t row = 0; row < drawn.rows; ++row) {
      const ReferenceRow& expected = reference.rows[row];
      ASSERT_EQ(relaxation_->taken(row), expected.experts.size());
      for (std::size_t rank = 0; rank < top_k; ++rank) {
        const bool taken = rank < expected.experts.size();
        ASSERT_EQ(ids_[row * top_k + rank], expected.experts[taken ? rank : 0]);
        if (!taken) continue;
        const double weight = expected.weights[rank];
        ASSERT_NEAR(weights_[row * top_k + rank], weight, 4e-6 * std::abs(weight) + 1e-12);
      }
    }
    const RelaxationStatistics& statistics = relaxation_->statistics();
    ASSERT_EQ(statistics.chosen, drawn.rows * top_k);
    ASSERT_EQ(statistics.skipped, reference.skipped);
    ASSERT_EQ(statistics.replaced, reference.replaced);
    skipped += reference.skipped;
    replaced += reference.replaced;
    if (reference.replaced != 0) {
      grouped += drawn.router.groups != RouterGroups::kNone;
      mixed += drawn.router.score == RouterScore::kSparsemixer;
    }
  }
  EXPECT_GT(compared, 4000u);
  EXPECT_GT(skipped, 4000u);
  EXPECT_GT(replaced, 1200u);
  EXPECT_GT(grouped, 300u);
  EXPECT_GT(mixed, 30u);
}

TEST_F(RouteRelaxationTest, WithoutAToleranceNothingChanges) {
  for (std::uint32_t seed = 0; seed < 500; ++seed) {
    Drawn drawn = draw(seed);
    relax(drawn, 0, 0);
    ASSERT_TRUE(unchanged(drawn)) << seed;
  }
}

TEST_F(RouteRelaxationTest, WithEverythingInMemoryOrNothingNothingIsReplaced) {
  for (std::uint32_t seed = 0; seed < 500; ++seed) {
    Drawn drawn = draw(seed);
    for (const std::uint8_t resident : {std::uint8_t{0}, std::uint8_t{1}}) {
      std::ranges::fill(drawn.resident, resident);
      relax(drawn, 0, 1);
      ASSERT_TRUE(unchanged(drawn)) << seed;
    }
  }
}

/// Whatever is asked for.
TEST_F(RouteRelaxationTest, ARowKeepsItsStrongestExpertAndNoneTwice) {
  for (std::uint32_t seed = 0; seed < 2000; ++seed) {
    SCOPED_TRACE(seed);
    Drawn drawn = draw(seed);
    const std::size_t top_k = drawn.router.top_k;
    relax(drawn, 1, 0);
    for (std::size_t row = 0; row < drawn.rows; ++row) {
      const float* const weights = drawn.weights.data() + row * top_k;
      const auto strongest = std::max_element(weights, weights + top_k) - weights;
      ASSERT_EQ(relaxation_->taken(row), 1u);
      ASSERT_EQ(ids_[row * top_k], drawn.ids[row * top_k + static_cast<std::size_t>(strongest)]);
    }
    relax(drawn, 0.2f, 1);
    for (std::size_t row = 0; row < drawn.rows; ++row) {
      const auto first = ids_.begin() + static_cast<std::ptrdiff_t>(row * top_k);
      std::vector<std::uint32_t> ids(first,
                                     first + static_cast<std::ptrdiff_t>(relaxation_->taken(row)));
      ASSERT_FALSE(ids.empty());
      std::ranges::sort(ids);
      ASSERT_EQ(std::ranges::adjacent_find(ids), ids.end());
    }
  }
}

/// One row cannot do without: the expert is read, and nobody else need do without it either.
TEST_F(RouteRelaxationTest, WhatIsReadAnywayIsKeptByAll) {
  Drawn drawn;
  drawn.router = {.experts = 4, .top_k = 1, .renormalise = true};
  drawn.rows = 2;
  drawn.resident = {0, 1, 1, 1};
  drawn.scores = {0.40f, 0.38f, 0.12f, 0.10f,   // could do with 1
                  0.90f, 0.05f, 0.03f, 0.02f};  // could not
  drawn.ids = {0, 0};
  drawn.weights = {1, 1};
  relax(drawn, 0, 0.1f);
  EXPECT_TRUE(unchanged(drawn));
  drawn.rows = 1;
  relax(drawn, 0, 0.1f);
  EXPECT_EQ(ids_[0], 1u);
  EXPECT_EQ(weights_[0], 1.0f);
  relax(drawn, 0, 0.04f);
  EXPECT_TRUE(unchanged(drawn));
}

/// A row comes out the same in whatever company, at least of what does not look at memory.
TEST_F(RouteRelaxationTest, SkippingDependsOnNothingButTheRow) {
  for (std::uint32_t seed = 0; seed < 300; ++seed) {
    Drawn drawn = draw(seed);
    relax(drawn, 0.3f, 0);
    const auto ids = ids_;
    const auto weights = weights_;
    const std::size_t top_k = drawn.router.top_k;
    for (std::size_t row = 0; row < drawn.rows; ++row) {
      const auto part = [&](const auto& all, std::size_t width) {
        const auto first = all.begin() + static_cast<std::ptrdiff_t>(row * width);
        return std::remove_cvref_t<decltype(all)>(first,
                                                  first + static_cast<std::ptrdiff_t>(width));
      };
      Drawn alone = drawn;
      alone.rows = 1;
      alone.scores = part(drawn.scores, drawn.router.experts);
      alone.ids = part(drawn.ids, top_k);
      alone.weights = part(drawn.weights, top_k);
      relax(alone, 0.3f, 0);
      ASSERT_EQ(ids_, part(ids, top_k)) << seed;
      ASSERT_EQ(weights_, part(weights, top_k)) << seed;
    }
  }
}

}  // namespace
}  // namespace sluice
