#include "base/operations.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cstdint>
#include <vector>

#include "base/aligned_buffer.h"

namespace sluice {
namespace {

struct Range {
  const std::byte* begin;
  std::size_t bytes;
};

TEST(ActivationsTest, ArraysAreAlignedDisjointAndInside) {
  for (const bool with_codes : {false, true}) {
    for (const std::size_t rows : {1, 3, 7}) {
      for (const std::size_t columns : {32, 96, 2048}) {
        const std::size_t bytes = Activations::bytes(rows, columns, with_codes);
        auto buffer = AlignedBuffer::allocate(bytes);
        ASSERT_TRUE(buffer.ok());
        const Activations a = Activations::carve(buffer->data(), rows, columns, with_codes);
        EXPECT_EQ(a.rows, rows);
        EXPECT_EQ(a.columns, columns);
        const std::size_t elements = rows * columns;
        std::vector<Range> ranges = {{reinterpret_cast<std::byte*>(a.values), elements * 4}};
        if (with_codes) {
          ranges.push_back({reinterpret_cast<std::byte*>(a.codes), elements});
          ranges.push_back({reinterpret_cast<std::byte*>(a.scales), elements / 32 * 4});
          ranges.push_back({reinterpret_cast<std::byte*>(a.sums), elements / 16 * 2});
        } else {
          EXPECT_EQ(a.codes, nullptr);
          EXPECT_EQ(a.scales, nullptr);
          EXPECT_EQ(a.sums, nullptr);
        }
        std::ranges::sort(ranges, {}, &Range::begin);
        const std::byte* end = buffer->data();
        for (const Range& range : ranges) {
          EXPECT_EQ(reinterpret_cast<std::uintptr_t>(range.begin) % 64, 0u);
          EXPECT_GE(range.begin, end);
          end = range.begin + range.bytes;
        }
        EXPECT_LE(end, buffer->data() + bytes);
      }
    }
  }
}

TEST(ActivationsTest, OddColumnsHaveNoCodes) {
  EXPECT_EQ(Activations::bytes(2, 40, true), Activations::bytes(2, 40, false));
  alignas(64) std::byte memory[320];
  ASSERT_LE(Activations::bytes(2, 40, true), sizeof(memory));
  EXPECT_EQ(Activations::carve(memory, 2, 40, true).codes, nullptr);
}

TEST(KvVectorBytesTest, KnowsEachType) {
  EXPECT_EQ(kv_vector_bytes(KvType::kF32, 128), 512u);
  EXPECT_EQ(kv_vector_bytes(KvType::kF16, 128), 256u);
  EXPECT_EQ(kv_vector_bytes(KvType::kQ8_0, 128), 4 * tensor_format(TensorType::kQ8_0).block_bytes);
}

}  // namespace
}  // namespace sluice
