// Requests that are computed together end as each would alone, whoever else comes, goes or fails.

#include "serving/batcher.h"

#include <gtest/gtest.h>

#include <future>

#include "engine/generator.h"
#include "io/faulty_reader.h"
#include "tests/engine/fixture.h"

namespace sluice {
namespace {

/// Collects what it hears.
class Recorder : public RequestListener {
 public:
  void token(TokenId token, std::string_view more) override {
    tokens.push_back(token);
    text += more;
    if (on_token) on_token(tokens.size());
  }
  void ended(const Outcome& outcome, std::string_view rest) override {
    text += rest;
    done_.set_value(outcome);
  }
  Outcome wait() { return future_.get(); }

  std::vector<TokenId> tokens;
  std::string text;
  std::function<void(std::size_t)> on_token;

 private:
  std::promise<Outcome> done_;
  std::future<Outcome> future_ = done_.get_future();
};

struct Case {
  Request request;
  std::shared_ptr<Recorder> recorder = std::make_shared<Recorder>();
};

std::vector<Case> some_cases(std::size_t count) {
  std::vector<Case> cases;
  for (std::uint32_t i = 0; i < count; ++i) {
    Case one;
    one.request.prompt = test::some_tokens(1 + 13 * i % 40, i + 1);
    one.request.options.max_tokens = 1 + 7 * i % 20;
    if (i % 3 == 1) one.request.options.sampling = {.temperature = 0.9f, .top_k = 50, .seed = i};
    one.request.options.ignore_end = i % 2 == 0;
    cases.push_back(std::move(one));
  }
  return cases;
}

test::Conditions conditions(std::uint32_t contexts, std::uint32_t sessions) {
  test::Conditions made{.ram = std::uint64_t{1} << 30};
  made.model.context = 128;
  made.model.sequences = contexts;
  made.model.seats = sessions;
  return made;
}

void expect_alone(const Case& one, Model& model) {
  Session session(model);
  const auto expected = generate(session, one.request.prompt, one.request.options, {});
  ASSERT_TRUE(expected.ok()) << expected.status().message();
  EXPECT_EQ(one.recorder->tokens, expected->tokens);
  EXPECT_EQ(one.recorder->text, expected->text);
}

TEST(Batcher, EveryRequestGetsWhatItWouldGetAlone) {
  for (const std::uint32_t sessions : {1u, 4u, 32u}) {
    for (const std::uint32_t contexts : {1u, 8u}) {
      SCOPED_TRACE(testing::Message() << sessions << " sessions, " << contexts << " contexts");
      const test::Opened opened = test::open(conditions(contexts, sessions));
      std::vector<Case> cases = some_cases(40);
      {
        Batcher batcher(*opened.model, {.sessions = sessions, .prompt_rows = 16});
        for (Case& one : cases) {
          const auto ticket = batcher.submit(one.request, one.recorder);
          ASSERT_TRUE(ticket.ok()) << ticket.status().message();
        }
        for (Case& one : cases) {
          const Outcome outcome = one.recorder->wait();
          EXPECT_TRUE(outcome.status.ok()) << outcome.status.message();
          EXPECT_EQ(outcome.tokens, one.recorder->tokens.size());
        }
        batcher.drain();
        const BatcherStatistics all = batcher.statistics();
        EXPECT_EQ(all.finished, cases.size());
        EXPECT_EQ(all.waiting + all.running, 0u);
      }
      for (const Case& one : cases) expect_alone(one, *opened.model);
    }
  }
}

TEST(Batcher, APromptThatBeginsAlikeIsNotComputedAgain) {
  const test::Opened opened = test::open(conditions(2, 2));
  Batcher batcher(*opened.model, {.sessions = 2});
  const std::vector<TokenId> shared = test::some_tokens(60);
  std::vector<Case> cases(3);
  for (std::size_t i = 0; i < cases.size(); ++i) {
    cases[i].request.prompt = shared;
    cases[i].request.prompt.resize(60 - 10 * (i % 2));
    cases[i].request.prompt.push_back(static_cast<TokenId>(100 + i));
    cases[i].request.options.max_tokens = 5;
    ASSERT_TRUE(batcher.submit(cases[i].request, cases[i].recorder).ok());
    const Outcome outcome = cases[i].recorder->wait();
    ASSERT_TRUE(outcome.status.ok());
    EXPECT_EQ(outcome.reused_tokens, i == 0 ? 0u : 50u);
  }
  batcher.drain();
  for (const Case& one : cases) expect_alone(one, *opened.model);
}

TEST(Batcher, WhoGoesIsNoLossToTheOthers) {
  const test::Opened opened = test::open(conditions(8, 8));
  std::vector<Case> cases = some_cases(24);
  std::vector<Batcher::Ticket> tickets;
  {
    Batcher batcher(*opened.model, {.sessions = 6});
    for (std::size_t i = 0; i < cases.size(); ++i) {
      // Every third leaves after its second token, and hears of no third.
      if (i % 3 == 0) {
        cases[i].request.options.max_tokens = 60;
        cases[i].request.options.ignore_end = true;
        cases[i].recorder->on_token = [&, i](std::size_t tokens) {
          if (tokens == 2) batcher.cancel(tickets[i]);
        };
      }
    }
    // Tickets are known before any token is.
    const auto hold = std::make_shared<Recorder>();
    std::promise<void> all_there;
    hold->on_token = [&](std::size_t) { all_there.get_future().wait(); };
    ASSERT_TRUE(
        batcher.submit({.prompt = {5}, .options = {.max_tokens = 1, .ignore_end = true}}, hold)
            .ok());
    for (Case& one : cases) tickets.push_back(*batcher.submit(one.request, one.recorder));
    all_there.set_value();
    for (std::size_t i = 0; i < cases.size(); ++i) {
      const Outcome outcome = cases[i].recorder->wait();
      EXPECT_EQ(outcome.status.code(), i % 3 == 0 ? ErrorCode::kCancelled : ErrorCode::kOk);
      if (i % 3 == 0) {
        EXPECT_EQ(cases[i].recorder->tokens.size(), 2u);
      }
    }
    batcher.cancel(tickets[1]);  // has ended: nothing happens
    batcher.cancel(4711);
    batcher.drain();
  }
  for (std::size_t i = 0; i < cases.size(); ++i) {
    if (i % 3 != 0) expect_alone(cases[i], *opened.model);
  }
}

TEST(Batcher, WhatCannotBeIsRefusedAtOnce) {
  const test::Opened opened = test::open(conditions(1, 1));
  Batcher batcher(*opened.model, {.sessions = 1, .queue = 2});
  const auto submit = [&](std::vector<TokenId> prompt) {
    return batcher.submit({.prompt = std::move(prompt)}, std::make_shared<Recorder>()).status();
  };
  EXPECT_EQ(submit({}).code(), ErrorCode::kInvalidArgument);
  EXPECT_EQ(submit({1, -1}).code(), ErrorCode::kInvalidArgument);
  EXPECT_EQ(submit({1, 4096}).code(), ErrorCode::kInvalidArgument);
  const Status longer = submit(std::vector<TokenId>(128, 5));
  EXPECT_EQ(longer.code(), ErrorCode::kInvalidArgument);
  EXPECT_NE(longer.message().find("128"), std::string::npos) << longer.message();
  // While one is being computed two may wait.
  const auto hold = std::make_shared<Recorder>();
  std::promise<void> computing, go_on;
  hold->on_token = [&](std::size_t tokens) {
    if (tokens > 1) return;
    computing.set_value();
    go_on.get_future().wait();
  };
  ASSERT_TRUE(batcher.submit({.prompt = {5}, .options = {.max_tokens = 3}}, hold).ok());
  computing.get_future().wait();
  EXPECT_TRUE(submit({5}).ok());
  EXPECT_TRUE(submit({5}).ok());
  EXPECT_EQ(submit({5}).code(), ErrorCode::kBudget);
  EXPECT_EQ(batcher.statistics().waiting, 2u);
  go_on.set_value();
  batcher.drain();
  EXPECT_EQ(submit({5}).code(), ErrorCode::kCancelled);
  EXPECT_EQ(batcher.statistics().finished, 3u);
}

TEST(Batcher, TheEndOfItEndsAll) {
  const test::Opened opened = test::open(conditions(4, 4));
  std::vector<Case> cases = some_cases(12);
  {
    Batcher batcher(*opened.model, {.sessions = 2});
    for (Case& one : cases) {
      one.request.options.max_tokens = 80;
      one.request.options.ignore_end = true;
      ASSERT_TRUE(batcher.submit(one.request, one.recorder).ok());
    }
  }
  for (Case& one : cases) EXPECT_EQ(one.recorder->wait().status.code(), ErrorCode::kCancelled);
}

TEST(Batcher, AReadThatFailsIsAnErrorOfThoseWhoNeedIt) {
  auto inner = make_block_reader(ReaderKind::kPread);
  ASSERT_TRUE(inner.ok());
  auto faulty = std::make_unique<FaultyReader>(std::move(*inner));
  FaultyReader& reader = *faulty;
  test::Conditions small = conditions(4, 4);
  small.ram = test::smallest_budget(small);
  const test::Opened opened = test::open(small, std::move(faulty));
  std::vector<Case> cases = some_cases(12);
  std::size_t failed = 0;
  {
    Batcher batcher(*opened.model, {.sessions = 3});
    for (std::uint64_t n = 1; n < 400; n += 20) {
      for (std::uint64_t i = 0; i < 8; ++i) {
        reader.add_fault({.kind = ReadFault::Kind::kFail,
                          .nth = reader.fault_counters().submitted + n * 10 + i});
      }
    }
    for (Case& one : cases) ASSERT_TRUE(batcher.submit(one.request, one.recorder).ok());
    for (Case& one : cases) {
      const Outcome outcome = one.recorder->wait();
      if (outcome.status.ok()) continue;
      EXPECT_EQ(outcome.status.code(), ErrorCode::kIo);
      one.recorder = nullptr;
      failed += 1;
    }
    batcher.drain();
  }
  reader.clear_faults();
  for (const Case& one : cases) {
    if (one.recorder != nullptr) expect_alone(one, *opened.model);
  }
  EXPECT_LT(failed, cases.size());
}

}  // namespace
}  // namespace sluice
