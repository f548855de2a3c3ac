#include "base/tokenizer_data.h"

#include <gtest/gtest.h>

namespace sluice {
namespace {

TEST(StringTableTest, GivesBackWhatWasPutIn) {
  StringTable table;
  EXPECT_EQ(table.size(), 0u);
  const std::string_view with_zero("a\0b", 3);
  for (const std::string_view text : {std::string_view(""), std::string_view("the"), with_zero,
                                      std::string_view(""), std::string_view("\xe2\x96\x81x")}) {
    table.push_back(text);
  }
  ASSERT_EQ(table.size(), 5u);
  EXPECT_EQ(table[0], "");
  EXPECT_EQ(table[1], "the");
  EXPECT_EQ(table[2], with_zero);
  EXPECT_EQ(table[3], "");
  EXPECT_EQ(table[4], "\xe2\x96\x81x");
}

}  // namespace
}  // namespace sluice
