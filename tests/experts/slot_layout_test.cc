#include "experts/slot_layout.h"

#include <gtest/gtest.h>

#include <random>

namespace sluice {
namespace {

/// Whatever the ranges and alignments: reads are whole sectors, lie apart in the slot, and every
/// byte of a slice lands where the layout says that it does.
TEST(SlotLayout, EverySliceArrivesWhole) {
  std::mt19937_64 random(4);
  for (int round = 0; round < 20000; ++round) {
    std::array<std::size_t, 6> alignments{};
    std::array<std::size_t, 2> of_file{};
    for (std::size_t& alignment : of_file) alignment = std::array{1, 512, 4096}[random() % 3];
    ExpertRanges ranges{};
    std::uint64_t at = random() % 100000;
    for (std::size_t i = 0; i < ranges.size(); ++i) {
      ranges[i].file = static_cast<std::uint32_t>(random() % 2);
      ranges[i].offset = at + (random() % 3 == 0 ? 0 : random() % 6000);
      ranges[i].bytes = i > 2 && random() % 2 == 0 ? 0 : 1 + random() % 20000;
      at = random() % 5 == 0 ? random() % 100000 : ranges[i].offset + ranges[i].bytes;
      alignments[i] = of_file[ranges[i].file];
    }
    const SlotLayout layout = layout_slot(ranges, alignments);
    ASSERT_GE(layout.read_count, 1u);
    ASSERT_LE(layout.read_count, ranges.size());
    std::size_t end = 0;
    for (std::size_t i = 0; i < layout.read_count; ++i) {
      const SlotRead& read = layout.reads[i];
      const std::size_t alignment = of_file[read.file];
      ASSERT_EQ(read.offset % alignment, 0u);
      ASSERT_EQ(read.bytes % alignment, 0u);
      ASSERT_EQ(read.slot_offset % alignment, 0u);
      ASSERT_LE(read.needed, read.bytes);
      ASSERT_LT(read.bytes - read.needed, alignment);
      ASSERT_GE(read.slot_offset, end) << "reads overlap in the slot";
      end = read.slot_offset + read.bytes;
    }
    ASSERT_EQ(layout.bytes, end);
    for (std::size_t slice = 0; slice < ranges.size(); ++slice) {
      if (ranges[slice].bytes == 0) continue;
      bool found = false;
      for (std::size_t i = 0; i < layout.read_count; ++i) {
        const SlotRead& read = layout.reads[i];
        found |= read.file == ranges[slice].file && read.offset <= ranges[slice].offset &&
                 ranges[slice].offset + ranges[slice].bytes <= read.offset + read.needed &&
                 layout.slices[slice] - read.slot_offset == ranges[slice].offset - read.offset;
      }
      ASSERT_TRUE(found) << "slice " << slice;
    }
    if (of_file[0] == of_file[1]) {
      ASSERT_LE(layout.bytes, slot_bytes_bound(ranges));
    }
  }
}

TEST(SlotLayout, SlackIsLessThanTwoSectorsASlice) {
  const ExpertRanges ranges = {{{0, 4095, 8194}, {0, 40000, 1000}, {0, 90001, 5000}}};
  EXPECT_LE(layout_slot(ranges, {4096, 4096, 4096}).bytes, 8194u + 1000 + 5000 + 3 * 2 * 4096);
  // Without alignment there is none but that of a cache line.
  EXPECT_EQ(layout_slot(ranges, {1, 1, 1}).bytes, 8256u + 1024 + 5000);
}

TEST(SlotLayout, NeighboursOnDiskAreOneRead) {
  const ExpertRanges back_to_back = {{{0, 1000, 500}, {0, 1500, 500}, {0, 2000, 700}}};
  for (const std::size_t alignment : {1, 512, 4096}) {
    EXPECT_EQ(layout_slot(back_to_back, {alignment, alignment, alignment}).read_count, 1u);
  }
  // Less than a cache line between them is not worth another read.
  const auto reads = [](std::uint64_t gap) {
    const ExpertRanges apart = {{{0, 1000, 500}, {0, 1500 + gap, 500}, {0, 5000, 700}}};
    return layout_slot(apart, {1, 1, 1}).read_count;
  };
  EXPECT_EQ(reads(63), 2u);
  EXPECT_EQ(reads(64), 3u);
  // In another order in the file, and down in a file of its own.
  const ExpertRanges mixed = {{{1, 1500, 500}, {1, 1000, 500}, {0, 1000, 700}}};
  const SlotLayout layout = layout_slot(mixed, {512, 512, 512});
  EXPECT_EQ(layout.read_count, 2u);
  EXPECT_EQ(layout.slices[0] - layout.slices[1], 500u);
}

}  // namespace
}  // namespace sluice
