#include "apps/byte_progress.h"

#include <gtest/gtest.h>

namespace sluice::apps {
namespace {

constexpr std::uint64_t kGiB = std::uint64_t{1} << 30;

TEST(ByteProgress, SaysHowMuchAndHowLong) {
  EXPECT_EQ(progress_words(kGiB, 4 * kGiB, 0, 30), "25 % (1G of 4G), 1:30 left");
  EXPECT_EQ(progress_words(kGiB, 400 * kGiB, 0, 30), "0 % (1G of 400G), 3:19:30 left");
}

TEST(ByteProgress, WhatWasThereBeforeTellsNothingOfTheSpeed) {
  EXPECT_EQ(progress_words(3 * kGiB, 4 * kGiB, 2 * kGiB, 10), "75 % (3G of 4G), 0:10 left");
  EXPECT_EQ(progress_words(2 * kGiB, 4 * kGiB, 2 * kGiB, 10), "50 % (2G of 4G)");
}

TEST(ByteProgress, OneHundredIsTheEndAndNotBefore) {
  EXPECT_EQ(progress_words(4 * kGiB - 1, 4 * kGiB, 0, 10), "99 % (4G of 4G), 0:01 left");
  EXPECT_EQ(progress_words(4 * kGiB, 4 * kGiB, 0, 10), "100 % (4G of 4G)");
  EXPECT_EQ(progress_words(0, 0, 0, 0), "100 % (0 of 0)");
}

}  // namespace
}  // namespace sluice::apps
