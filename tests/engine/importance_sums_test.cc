// The sums that an importance matrix is made of are those of a reference in double precision, for
// models that nobody has made; how the text was computed changes no bit of them.

#include "engine/importance_sums.h"

#include <fmt/format.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <cstring>

#include "tests/engine/fixture.h"
#include "tests/engine/property_trial.h"

namespace sluice {
namespace {

using test::ReferenceReadings;
using test::ReferenceResult;
using test::Vector;

constexpr std::uint64_t kSeeds = 120;

std::vector<std::uint32_t> sparse_layers(const ModelDescription& model) {
  std::vector<std::uint32_t> sparse;
  for (std::uint32_t layer = 0; layer < model.layers.size(); ++layer) {
    if (model.layers[layer].sparse) sparse.push_back(layer);
  }
  return sparse;
}

ImportanceSums sums_of(const ModelDescription& model, std::span<const std::uint32_t> layers) {
  auto sums = ImportanceSums::create(model, layers);
  if (!sums.ok()) throw std::runtime_error(sums.status().message());
  return *std::move(sums);
}

/// In pieces of `most` tokens.
void read(Session& session, std::span<const TokenId> tokens, std::size_t most,
          RoutingObserver& observer) {
  while (!tokens.empty()) {
    const auto piece = tokens.first(std::min(most, tokens.size()));
    const Status status = session.eval(piece, Session::Logits::kNone, {}, {.observer = &observer});
    if (!status.ok()) throw std::runtime_error(status.message());
    tokens = tokens.subspan(piece.size());
  }
}

bool same_bits(std::span<const double> a, std::span<const double> b) {
  return a.size() == b.size() && std::memcmp(a.data(), b.data(), a.size_bytes()) == 0;
}

bool same(const ImportanceSums& a, const ImportanceSums& b, std::uint32_t layer) {
  return same_bits(a.inputs(layer), b.inputs(layer)) &&
         same_bits(a.hidden(layer), b.hidden(layer)) &&
         std::ranges::equal(a.counts(layer), b.counts(layer));
}

double largest(const Vector& x) {
  double most = 0;
  for (const double value : x) most = std::max(most, std::abs(value));
  return most;
}

/// What is wrong; empty: nothing. What float32 may be off is told by how far the reference moves
/// when its weights do, as in description_property_test.cc.
std::string compare(std::span<const double> sums, const Vector& right, const Vector& nudged) {
  double moved = 0;
  for (std::size_t i = 0; i < right.size(); ++i) {
    moved = std::max(moved, std::abs(right[i] - nudged[i]));
  }
  const double allowed = 8 * moved + 1e-5 * largest(right);
  for (std::size_t i = 0; i < right.size(); ++i) {
    if (std::abs(sums[i] - right[i]) <= allowed) continue;
    return fmt::format("column {}: {} is not {} (within {})", i, sums[i], right[i], allowed);
  }
  return {};
}

/// Whether every expert has as many rows: routers that are nearly undecided may differ.
bool same_rows(const ReferenceResult& a, const ReferenceResult& b) {
  const auto rows = [](const ReferenceReadings& of) { return of.rows; };
  return std::ranges::equal(a.readings, b.readings, [&](const auto& one, const auto& other) {
    return std::ranges::equal(one.second, other.second, {}, rows, rows);
  });
}

TEST(ImportanceSums, DrawnModelsAgreeWithTheReference) {
  std::size_t compared = 0, undecided = 0, scaled = 0;
  for (std::uint64_t seed = 1; seed <= kSeeds; ++seed) {
    test::Trial trial(seed);
    ASSERT_TRUE(trial.open().ok()) << seed;
    const ModelDescription& model = trial.drawn().description;
    const std::vector<std::uint32_t> layers = sparse_layers(model);
    ImportanceSums sums = sums_of(model, layers);
    Session session(trial.model());
    read(session, trial.tokens(), trial.tokens().size(), sums);
    const ReferenceResult reference = trial.reference(), nudged = trial.nudged();
    ASSERT_EQ(reference.readings.size(), layers.size());
    if (!same_rows(reference, nudged)) {
      undecided += 1;
      continue;
    }
    for (const auto& [layer, experts] : reference.readings) {
      const std::span<const std::uint64_t> counts = sums.counts(layer);
      for (std::size_t expert = 0; expert < experts.size(); ++expert) {
        const ReferenceReadings& right = experts[expert];
        const ReferenceReadings& other = nudged.readings.at(layer)[expert];
        const std::string where = fmt::format("seed {}, layer {}, expert {}", seed, layer, expert);
        ASSERT_EQ(counts[expert], right.rows) << where;
        const auto part = [&](std::span<const double> all, std::size_t columns) {
          return all.subspan(expert * columns, columns);
        };
        const auto inputs = part(sums.inputs(layer), model.hidden);
        const auto hidden = part(sums.hidden(layer), model.expert_ffn);
        if (right.rows == 0) {
          EXPECT_TRUE(std::ranges::count(inputs, 0.0) == std::ssize(inputs)) << where;
          EXPECT_TRUE(std::ranges::count(hidden, 0.0) == std::ssize(hidden)) << where;
          continue;
        }
        EXPECT_EQ(compare(inputs, right.inputs, other.inputs), "") << where << ", inputs";
        EXPECT_EQ(compare(hidden, right.hidden, other.hidden), "") << where << ", hidden";
        compared += 1;
      }
    }
    scaled += model.router.weights_scale_input;
    if (HasFailure()) return;
  }
  EXPECT_GT(compared, kSeeds * 4);
  EXPECT_LT(undecided, kSeeds / 5);
  EXPECT_GT(scaled, 2u);
}

TEST(ImportanceSums, PassesThreadsAndMemoryChangeNoBit) {
  test::Conditions plenty;
  const std::vector<TokenId> tokens = test::some_tokens(200);
  test::Opened opened = test::open(plenty);
  const ModelDescription& model = opened.model->description();
  const std::vector<std::uint32_t> layers = sparse_layers(model);
  ImportanceSums right = sums_of(model, layers);
  Session session(*opened.model);
  read(session, tokens, tokens.size(), right);
  for (const std::uint32_t rows : {1u, 7u, 64u}) {
    test::Conditions small;
    small.threads = 3;
    small.model.max_rows = rows;
    small.ram = test::smallest_budget(small);
    test::Opened again = test::open(small);
    ImportanceSums sums = sums_of(model, layers);
    Session other(*again.model);
    read(other, tokens, 50, sums);
    for (const std::uint32_t layer : layers) EXPECT_TRUE(same(sums, right, layer)) << rows;
  }
}

TEST(ImportanceSums, SomeOfTheLayersAreSeenAloneAndTogether) {
  test::Opened opened = test::open({});
  const ModelDescription& model = opened.model->description();
  const std::vector<std::uint32_t> layers = sparse_layers(model);
  const std::vector<TokenId> tokens = test::some_tokens(60);
  ImportanceSums all = sums_of(model, layers);
  std::vector<ImportanceSums> each;
  for (const std::uint32_t& layer : layers) each.push_back(sums_of(model, {&layer, 1}));
  std::vector<RoutingObserver*> observers = {&all};
  for (ImportanceSums& one : each) observers.push_back(&one);
  RoutingObservers together(observers);
  Session session(*opened.model);
  read(session, tokens, tokens.size(), together);
  for (std::size_t i = 0; i < layers.size(); ++i) {
    EXPECT_TRUE(same(each[i], all, layers[i])) << layers[i];
    std::uint64_t rows = 0;
    for (const std::uint64_t count : all.counts(layers[i])) rows += count;
    EXPECT_EQ(rows, tokens.size() * model.router.top_k);
  }
}

}  // namespace
}  // namespace sluice
