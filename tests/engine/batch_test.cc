// Sessions that step together get what each would get alone.

#include "engine/batch.h"

#include <gtest/gtest.h>

#include <atomic>
#include <memory>

#include "io/faulty_reader.h"
#include "tests/devices/thief.h"
#include "tests/engine/each_oracle.h"

namespace sluice {
namespace {

/// Sessions of one model, their texts, and the logits that came.
struct Party {
  std::unique_ptr<Session> session;
  std::vector<TokenId> text;
  std::vector<float> logits;
  std::size_t next = 0;
  LogitsSink sink;
};

std::vector<std::unique_ptr<Party>> parties(Model& model, std::size_t count) {
  std::vector<std::unique_ptr<Party>> all;
  for (std::size_t i = 0; i < count; ++i) {
    auto party = std::make_unique<Party>();
    party->session = std::make_unique<Session>(model);
    party->text = test::some_tokens(3 + 5 * i % 17, static_cast<std::uint32_t>(i + 1),
                                    static_cast<std::uint32_t>(model.description().vocabulary));
    party->sink = [logits = &party->logits](std::size_t, std::span<const float> row) {
      logits->insert(logits->end(), row.begin(), row.end());
    };
    all.push_back(std::move(party));
  }
  return all;
}

/// The next so many tokens of each, or what is left.
std::vector<BatchPart> next_parts(std::span<const std::unique_ptr<Party>> all, std::size_t most) {
  std::vector<BatchPart> parts;
  for (const auto& party : all) {
    const std::size_t count = std::min(most, party->text.size() - party->next);
    if (count == 0) continue;
    parts.push_back({.session = party->session.get(),
                     .tokens = std::span(party->text).subspan(party->next, count),
                     .wanted = WantedLogits::kAll,
                     .sink = &party->sink});
    party->next += count;
  }
  return parts;
}

void expect_each_alone(const std::vector<std::unique_ptr<Party>>& all, Model& model) {
  for (const auto& party : all) {
    Session alone(model);
    EXPECT_TRUE(test::same_bits(party->logits, test::all_logits(alone, party->text)));
  }
}

TEST(Batch, LogitsAreThoseOfEachSessionAloneWhateverTheStep) {
  for (const std::size_t step : {1u, 3u, 64u}) {
    for (const std::uint32_t rows : {0u, 5u}) {
      SCOPED_TRACE(testing::Message() << step << " tokens, passes of " << rows);
      test::Conditions conditions;
      conditions.model.sequences = 8;
      conditions.model.max_rows = rows;
      const test::Opened opened = test::open(conditions);
      const auto all = parties(*opened.model, 6);
      Batch batch;
      for (auto parts = next_parts(all, step); !parts.empty(); parts = next_parts(all, step)) {
        batch.eval(parts, {});
        for (const BatchPart& part : parts) ASSERT_TRUE(part.status.ok()) << part.status.message();
      }
      expect_each_alone(all, *opened.model);
    }
  }
}

TEST(Batch, SessionsComeAndGo) {
  test::Conditions conditions;
  conditions.model.sequences = 5;
  const test::Opened opened = test::open(conditions);
  const auto all = parties(*opened.model, 4);
  Batch batch;
  // One more of them at every step; each leaves when its text ends.
  for (std::size_t here = 1;; here = std::min(here + 1, all.size())) {
    auto parts = next_parts(std::span(all).first(here), 2);
    if (parts.empty() && here == all.size()) break;
    batch.eval(parts, {});
    for (const BatchPart& part : parts) ASSERT_TRUE(part.status.ok()) << part.status.message();
  }
  expect_each_alone(all, *opened.model);
}

TEST(Batch, WhatDoesNotFitIsOneSessionsError) {
  test::Conditions conditions;
  conditions.model.sequences = 3;
  const test::Opened opened = test::open(conditions);
  auto all = parties(*opened.model, 3);
  all[1]->session = std::make_unique<Session>(*opened.model, all[1]->text.size() - 1);
  std::vector<TokenId>& wrong = all[2]->text;
  wrong.back() = static_cast<TokenId>(opened.model->description().vocabulary);
  auto parts = next_parts(all, 64);
  Batch batch;
  batch.eval(parts, {});
  EXPECT_TRUE(parts[0].status.ok()) << parts[0].status.message();
  EXPECT_EQ(parts[1].status.code(), ErrorCode::kInvalidArgument);
  EXPECT_NE(parts[1].status.message().find("context"), std::string::npos);
  EXPECT_EQ(parts[2].status.code(), ErrorCode::kInvalidArgument);
  EXPECT_NE(parts[2].status.message().find("vocabulary"), std::string::npos);
  EXPECT_EQ(all[0]->session->length(), all[0]->text.size());
  EXPECT_EQ(all[1]->session->length(), 0u);
  EXPECT_EQ(all[2]->session->length(), 0u);
  Session alone(*opened.model);
  EXPECT_TRUE(test::same_bits(all[0]->logits, test::all_logits(alone, all[0]->text)));
}

TEST(Batch, ABudgetThatIsUsedUpIsTheLateComersError) {
  test::Conditions conditions;
  conditions.model.context = 64;  // a block for each sequence
  conditions.model.sequences = 2;
  const test::Opened opened = test::open(conditions);
  const auto all = parties(*opened.model, 3);
  auto parts = next_parts(all, 64);
  Batch batch;
  batch.eval(parts, {});
  EXPECT_TRUE(parts[0].status.ok());
  EXPECT_TRUE(parts[1].status.ok());
  EXPECT_EQ(parts[2].status.code(), ErrorCode::kBudget) << parts[2].status.message();
  // Somebody leaves, and there is room.
  all[0]->session.reset();
  batch.eval({&parts[2], 1}, {});
  EXPECT_TRUE(parts[2].status.ok()) << parts[2].status.message();
}

TEST(Batch, AStoppedBatchLeavesAllAsTheyWere) {
  test::Conditions conditions;
  conditions.model.sequences = 3;
  const test::Opened opened = test::open(conditions);
  const auto all = parties(*opened.model, 3);
  auto parts = next_parts(all, 64);
  const std::atomic<bool> stop = true;
  Batch batch;
  batch.eval(parts, {.cancel = &stop});
  for (const BatchPart& part : parts) {
    EXPECT_EQ(part.status.code(), ErrorCode::kCancelled);
    EXPECT_EQ(part.session->length(), 0u);
  }
  batch.eval(parts, {});
  for (const BatchPart& part : parts) EXPECT_TRUE(part.status.ok());
  expect_each_alone(all, *opened.model);
}

/// Whichever read fails: whoever is told of no error has the right logits, once each.
TEST(Batch, AReadThatFailsIsNoErrorOfThoseWhoDoNotNeedIt) {
  test::Conditions conditions;
  conditions.model.sequences = 3;
  auto inner = make_block_reader(ReaderKind::kPread);
  ASSERT_TRUE(inner.ok());
  auto faulty = std::make_unique<FaultyReader>(std::move(*inner));
  FaultyReader& reader = *faulty;
  conditions.ram = test::smallest_budget(conditions);
  const test::Opened opened = test::open(conditions, std::move(faulty));
  std::size_t failed = 0, saved = 0;
  for (std::uint64_t n = 1; n < 60; n += 2) {
    SCOPED_TRACE(n);
    const auto all = parties(*opened.model, 2);
    auto parts = next_parts(all, 64);
    // In the pass of all, and perhaps in that of the one who needs it.
    for (std::uint64_t i = 0; i < 40; i += 1 + n) {
      reader.add_fault(
          {.kind = ReadFault::Kind::kFail, .nth = reader.fault_counters().submitted + n + i});
    }
    Batch batch;
    batch.eval(parts, {});
    reader.clear_faults();
    for (std::size_t i = 0; i < parts.size(); ++i) {
      if (!parts[i].status.ok()) {
        failed += 1;
        EXPECT_EQ(parts[i].status.code(), ErrorCode::kIo);
        EXPECT_EQ(all[i]->session->length(), 0u);
        continue;
      }
      saved += 1;
      Session alone(*opened.model);
      EXPECT_TRUE(test::same_bits(all[i]->logits, test::all_logits(alone, all[i]->text)));
    }
  }
  EXPECT_GT(saved, 0u);
  EXPECT_GT(failed, 0u);
}

TEST(Batch, ADeviceThatIsLostIsNobodysError) {
  for (std::size_t n = 1; n < 40; n += 9) {
    SCOPED_TRACE(n);
    test::Conditions conditions;
    conditions.model.sequences = 4;
    conditions.device = FakeDeviceOptions{};
    conditions.device_layers = std::nullopt;
    const test::Opened opened = test::open(conditions);
    const auto all = parties(*opened.model, 3);
    test::Thief thief;
    thief.device = &opened.device();
    thief.left = n;
    Batch batch;
    for (auto parts = next_parts(all, 2); !parts.empty(); parts = next_parts(all, 2)) {
      batch.eval(parts, {.observer = &thief});
      for (const BatchPart& part : parts) ASSERT_TRUE(part.status.ok()) << part.status.message();
    }
    expect_each_alone(all, *opened.model);
    EXPECT_FALSE(opened.model->devices().dense_open());
  }
}

/// Recurrent layers, windows, latent attention: whatever keeps something of a sequence.
TEST(Batch, EveryArchitectureStepsTogether) {
  const auto visit = [](test::Conditions conditions, const std::vector<TokenId>&) {
    conditions.model.sequences = 4;
    const test::Opened opened = test::open(conditions);
    const auto all = parties(*opened.model, 3);
    Batch batch;
    auto parts = next_parts(all, 2);
    batch.eval(parts, {});
    // One goes back by a token, which recurrent states cannot.
    all[2]->session->truncate(1);
    all[2]->next = 1;
    const std::size_t vocabulary = opened.model->description().vocabulary;
    all[2]->logits.resize(vocabulary);
    for (parts = next_parts(all, 3); !parts.empty(); parts = next_parts(all, 3)) {
      batch.eval(parts, {});
      for (const BatchPart& part : parts) ASSERT_TRUE(part.status.ok()) << part.status.message();
    }
    expect_each_alone(all, *opened.model);
  };
  if (test::for_each_oracle(test::oracle_models(), 5, 16, visit) == 0) GTEST_SKIP();
}

}  // namespace
}  // namespace sluice
