#pragma once
// One pack into a target in memory, and what a loss of power at any of its operations must leave.

#include <gtest/gtest.h>

#include <cstdint>
#include <memory>
#include <random>
#include <utility>

#include "memory_target.h"
#include "store/packer.h"

namespace sluice::test {

struct PackOutcome {
  Status status;
  std::uint64_t resumed = 0, kept = 0;
  std::uint64_t damaged = 0;
};

inline std::unique_ptr<BlockReader> any_reader() {
  auto reader = make_block_reader(ReaderKind::kAuto);
  EXPECT_TRUE(reader.ok());
  return std::move(*reader);
}

inline PackOutcome pack_into(const StorePlan& plan, MemoryTarget& target, BlockReader& reader,
                             PackOptions options) {
  auto packer = Packer::begin(plan, reader, target, std::move(options));
  if (!packer.ok()) return {packer.status()};
  const Status status = (*packer)->run();
  return {status, (*packer)->resumed_bytes(), (*packer)->kept_bytes(), (*packer)->damaged_bytes()};
}

/// Power is lost at each of a pack's `operations`, and after every third once more within the next
/// `again`: pack(target) goes on there, finish(target, nth) to the end, and nothing in the journal
/// is lost.
template <typename Pack, typename Finish>
void lose_power_at_each(std::uint64_t operations, std::uint64_t again, std::mt19937_64& random,
                        const Pack& pack, const Finish& finish) {
  for (std::uint64_t nth = 1; nth <= operations; ++nth) {
    MemoryTarget target;
    target.faults.power_fails_at = nth;
    const PackOutcome lost = pack(target);
    EXPECT_EQ(lost.status.code(), ErrorCode::kIo) << nth;
    EXPECT_FALSE(target.published);
    target.lose_power(random);
    if (nth % 3 == 0) {
      target.faults.power_fails_at = 1 + random() % again;
      if (!pack(target).status.ok()) target.lose_power(random);
      if (target.published) continue;
    }
    const PackOutcome outcome = finish(target, nth);
    EXPECT_EQ(outcome.damaged, 0u) << nth;
    EXPECT_GE(outcome.resumed, lost.kept) << nth;
  }
}

}  // namespace sluice::test
