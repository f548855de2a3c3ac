#include "base/aligned_buffer.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <algorithm>
#include <cstdint>
#include <limits>

namespace sluice {
namespace {

TEST(AlignedBufferTest, IsZeroedWholePages) {
  auto buffer = AlignedBuffer::allocate(5000);
  ASSERT_TRUE(buffer.ok());
  const auto page = static_cast<std::size_t>(sysconf(_SC_PAGESIZE));
  EXPECT_EQ(reinterpret_cast<std::uintptr_t>(buffer->data()) % page, 0u);
  EXPECT_GE(buffer->size(), 5000u);
  EXPECT_EQ(buffer->size() % page, 0u);
  EXPECT_TRUE(std::all_of(buffer->data(), buffer->data() + buffer->size(),
                          [](std::byte b) { return b == std::byte{}; }));
}

TEST(AlignedBufferTest, NothingNeedsNoMemory) {
  auto buffer = AlignedBuffer::allocate(0);
  ASSERT_TRUE(buffer.ok());
  EXPECT_EQ(buffer->data(), nullptr);
  EXPECT_EQ(buffer->size(), 0u);
}

TEST(AlignedBufferTest, MovingHandsTheMemoryOver) {
  auto first = AlignedBuffer::allocate(100);
  ASSERT_TRUE(first.ok());
  first->as<int>()[3] = 42;
  AlignedBuffer second = std::move(*first);
  EXPECT_EQ(second.as<int>()[3], 42);
  AlignedBuffer third;
  third = std::move(second);
  EXPECT_EQ(third.as<int>()[3], 42);
}

TEST(AlignedBufferTest, TheImpossibleIsAnError) {
  for (const std::size_t bytes :
       {std::numeric_limits<std::size_t>::max(), std::numeric_limits<std::size_t>::max() / 2}) {
    const auto buffer = AlignedBuffer::allocate(bytes);
    ASSERT_FALSE(buffer.ok());
    EXPECT_EQ(buffer.status().code(), ErrorCode::kBudget);
  }
}

}  // namespace
}  // namespace sluice
