#include "base/size.h"

#include <gtest/gtest.h>

#include <limits>
#include <random>

namespace sluice {
namespace {

constexpr std::uint64_t kMax = std::numeric_limits<std::uint64_t>::max();

TEST(ParseSizeTest, ReadsNumbersWithUnits) {
  const struct {
    const char* text;
    std::uint64_t bytes;
  } cases[] = {
      {"0", 0},
      {"123", 123},
      {"123B", 123},
      {"1K", 1024},
      {"512M", 512ull << 20},
      {"512m", 512ull << 20},
      {"512MB", 512ull << 20},
      {"512MiB", 512ull << 20},
      {"512 MiB", 512ull << 20},
      {"512kib", 512ull << 10},
      {"1.5G", 3ull << 29},
      {".5G", 1ull << 29},
      {"0.1G", 107374182},  // 107374182.4
      {"2T", 2ull << 40},
      {"1.75T", 7ull << 38},
      {"1.9", 1},
      {"0.99999999999999999999K", 1024},
      {"007K", 7 << 10},
      {"18446744073709551615", kMax},
      {"16777215.5T", kMax - (1ull << 39) + 1},
      {"6.0000000009313225746154785G", (6ull << 30) + 1},  // exactly one byte more
  };
  for (const auto& [text, bytes] : cases) {
    const auto size = parse_size(text);
    ASSERT_TRUE(size.ok()) << size.status().message();
    EXPECT_EQ(*size, bytes) << text;
  }
}

TEST(ParseSizeTest, RefusesEverythingElse) {
  for (const char* text : {"",    " ",    "G",    "B",      ".",    "1.",  ".G",   "1.G",  "-1",
                           "-0",  "+1",   " 1",   "1 ",     "1  G", "1GG", "1Gi",  "1P",   "1X",
                           "1e9", "0x10", "1,5G", "1.5.5G", "inf",  "nan", "12M4", "1\nG", "1iB"}) {
    const auto size = parse_size(text);
    ASSERT_FALSE(size.ok()) << text;
    EXPECT_EQ(size.status().code(), ErrorCode::kInvalidArgument);
    EXPECT_NE(size.status().message().find('"' + std::string(text) + '"'), std::string::npos);
  }
  EXPECT_NE(parse_size("-1G").status().message().find("negative"), std::string::npos);
}

TEST(ParseSizeTest, RefusesWhatExceeds64Bits) {
  for (const char* text : {"18446744073709551616", "99999999999999999999999999", "16777216T",
                           "17179869184G", "18446744073709551615K"}) {
    const auto size = parse_size(text);
    ASSERT_FALSE(size.ok()) << text;
    EXPECT_NE(size.status().message().find("64 bits"), std::string::npos) << text;
  }
}

TEST(FormatSizeTest, WritesAtMostTwoDecimalsRoundedUp) {
  EXPECT_EQ(format_size(0), "0");
  EXPECT_EQ(format_size(1023), "1023");
  EXPECT_EQ(format_size(1024), "1K");
  EXPECT_EQ(format_size(1536), "1.5K");
  EXPECT_EQ(format_size(512ull << 20), "512M");
  EXPECT_EQ(format_size((512ull << 20) + 1), "512.01M");
  EXPECT_EQ(format_size(3ull << 29), "1.5G");
  EXPECT_EQ(format_size((1ull << 30) - 1), "1G");
  EXPECT_EQ(format_size((1ull << 40) - 1), "1T");
  EXPECT_EQ(format_size(kMax), "16777216T");
}

TEST(FormatSizeTest, ReadsBackAsNoLessAndBarelyMore) {
  std::mt19937_64 random(5);
  for (int i = 0; i < 100000; ++i) {
    const std::uint64_t bytes = random() >> (random() % 56 + 8);
    const auto back = parse_size(format_size(bytes));
    ASSERT_TRUE(back.ok()) << bytes;
    // A fraction of a byte is dropped when reading: "1.01K" is 1034.24 bytes.
    ASSERT_GE(*back, bytes) << format_size(bytes);
    ASSERT_LE(*back, bytes + bytes / 100 + 1) << format_size(bytes);
  }
}

}  // namespace
}  // namespace sluice
