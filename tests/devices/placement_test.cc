#include "devices/placement.h"

#include <gtest/gtest.h>

#include "engine/runtime.h"

namespace sluice {
namespace {

TEST(Placement, HasFourNames) {
  EXPECT_EQ(parse_placement("auto")->mode, Placement::Mode::kAuto);
  EXPECT_EQ(parse_placement("gpu-only")->mode, Placement::Mode::kGpuOnly);
  EXPECT_EQ(parse_placement("cpu-only")->mode, Placement::Mode::kCpuOnly);
  EXPECT_EQ(parse_placement("static:37")->mode, Placement::Mode::kStatic);
  EXPECT_EQ(parse_placement("static:37")->experts, 37u);
  EXPECT_EQ(parse_placement("static:0")->experts, 0u);
}

TEST(Placement, AnotherNameIsRefusedAndTheFourAreSaid) {
  for (const char* text : {"", "gpu", "static", "static:", "static:-1", "static:3x", "static:3 ",
                           "static:4294967296", "AUTO"}) {
    const auto parsed = parse_placement(text);
    ASSERT_FALSE(parsed.ok()) << text;
    EXPECT_EQ(parsed.status().code(), ErrorCode::kInvalidArgument);
    EXPECT_NE(parsed.status().message().find("static:N"), std::string::npos);
  }
}

TEST(Placement, MemoryOfAGpuThatIsNotThereIsRefused) {
  EXPECT_TRUE(Runtime::create({.vram = 0}).ok());
  EXPECT_TRUE(Runtime::create({}).ok());
  const auto refused = Runtime::create({.vram = std::uint64_t{1} << 30});
  ASSERT_FALSE(refused.ok());
  EXPECT_EQ(refused.status().code(), ErrorCode::kUnsupported);
  EXPECT_NE(refused.status().message().find("ask for 0"), std::string::npos);
}

}  // namespace
}  // namespace sluice
