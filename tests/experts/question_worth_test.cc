#include "experts/question_worth.h"

#include <gtest/gtest.h>

#include <set>

namespace sluice {
namespace {

/// How many of so many visits asked, each at a cost of 1 and with that gain.
int asked(QuestionWorth& questions, int visits, double gain) {
  int count = 0;
  for (int visit = 0; visit < visits; ++visit) {
    questions.next_visit();
    if (!questions.due()) continue;
    questions.gains(gain);
    questions.took(1);
    count += 1;
  }
  return count;
}

TEST(QuestionWorth, AllVisitsAskWhereGuessesGainMore) {
  QuestionWorth questions;
  EXPECT_EQ(asked(questions, 10'000, 1.1), 10'000);
}

TEST(QuestionWorth, FewVisitsAskWhereGuessesGainLess) {
  QuestionWorth questions;
  asked(questions, 2'000, 0);
  EXPECT_LT(asked(questions, 10'000, 0.9), 2'000);
}

TEST(QuestionWorth, WhatGuessesGainIsNotKnownAtFirst) {
  QuestionWorth questions;
  EXPECT_EQ(asked(questions, 100, 0), 100);
}

TEST(QuestionWorth, EveryLayerAsksStill) {
  for (std::size_t layers = 1; layers <= 96; ++layers) {
    QuestionWorth questions;
    asked(questions, 2'000, 0);
    std::set<std::size_t> heard;
    for (std::size_t visit = 0; visit < 100 * layers; ++visit) {
      questions.next_visit();
      if (questions.due()) heard.insert(visit % layers);
    }
    EXPECT_EQ(heard.size(), layers);
  }
}

TEST(QuestionWorth, AllAskAgainOnceItPays) {
  QuestionWorth questions;
  asked(questions, 20'000, 0);
  EXPECT_LT(asked(questions, 10'000, 0), 2'000);
  asked(questions, 5'000, 5);
  EXPECT_EQ(asked(questions, 1'000, 5), 1'000);
}

TEST(QuestionWorth, WhatWaversAboutItsCostDoesNotSwitchToAndFro) {
  QuestionWorth questions;
  asked(questions, 5'000, 0.8);
  EXPECT_LT(asked(questions, 100'000, 1.2), 20'000);
}

}  // namespace
}  // namespace sluice
