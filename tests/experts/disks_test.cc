// What reading ahead comes to on disks of all kinds, in times that are numbers: the choice follows
// the disk, what is computed with never does.

#include <gtest/gtest.h>

#include <cstring>
#include <optional>
#include <random>

#include "tests/experts/fake_checkpoint.h"
#include "tests/experts/store_bench.h"
#include "tests/experts/timed_reader.h"

namespace sluice {
namespace {

using test::FakeLayer;
using test::TimedDisk;
using test::TimedReader;

constexpr std::uint32_t kLayers = 6, kExperts = 32, kTopK = 4;
constexpr int kTokens = 300;

// Seconds. A twentieth of a large model's, as are experts' bytes and the disks' latencies.
constexpr double kDense = 40e-6, kExpert = 5e-6;

constexpr TimedDisk kHardDisk = {
    .bytes_per_second = 100e6, .latency = 100e-6, .spike_every = 50, .spike = 5e-3};
constexpr TimedDisk kSataDisk = {.bytes_per_second = 500e6, .latency = 20e-6};
constexpr TimedDisk kNvmeDisk = {.bytes_per_second = 2.3e9, .latency = 5e-6};
constexpr TimedDisk kMemory = {.bytes_per_second = 3e9, .latency = 0.3e-6};

struct Decoded {
  double seconds = 0;
  double waited = 0;
  ExpertStatistics experts;
};

class DisksTest : public testing::Test {
 protected:
  static const test::FakeCheckpoint& checkpoint() {
    static const test::FakeCheckpoint made = [] {
      std::vector<FakeLayer> layers;
      for (std::uint32_t layer = 0; layer < kLayers; ++layer) {
        layers.push_back({.layer = layer, .experts = kExperts});
      }
      return test::make_checkpoint(layers, test::Placement::kAdjacent);
    }();
    return made;
  }

  /// Who was wanted lately is likely wanted again, else anybody.
  static std::vector<std::vector<std::uint32_t>> routing(unsigned seed) {
    std::mt19937 random(seed);
    std::vector<std::vector<std::uint32_t>> visits;
    for (std::uint32_t visit = 0; visit < kTokens * kLayers; ++visit) {
      std::vector<std::uint32_t> wanted;
      while (wanted.size() < kTopK) {
        const bool again = visit >= kLayers && random() % 2 == 0;
        const std::uint32_t expert = again ? visits[visit - kLayers][random() % kTopK]
                                           : static_cast<std::uint32_t>(random() % kExperts);
        if (std::ranges::find(wanted, expert) == wanted.end()) wanted.push_back(expert);
      }
      visits.push_back(std::move(wanted));
    }
    return visits;
  }

  /// Decodes with a cache of that share of the experts, told of a coming layer what it will want
  /// with each expert replaced by another one with probability 1 - recall; without a recall,
  /// nothing. `stopped` after so many visits, in the middle of one.
  static Decoded decode(const TimedDisk& disk, double share, std::optional<float> recall,
                        std::size_t stopped = SIZE_MAX) {
    const test::FakeCheckpoint& fake = checkpoint();
    const ExpertCatalogue catalogue = ExpertCatalogue::build(fake.checkpoint).value();
    TimedReader reader(fake.checkpoint.files, fake.files, disk);
    const std::size_t full = ExpertStore::full_capacity(catalogue, reader);
    ExpertStoreOptions options;
    options.capacity_bytes = static_cast<std::size_t>(share * static_cast<double>(full));
    options.clock = [&reader] { return reader.now; };
    auto store = ExpertStore::create(catalogue, reader, options).value();
    const auto visits = routing(1);
    std::mt19937 random(2);
    for (std::size_t visit = 0; visit < visits.size(); ++visit) {
      const auto layer = static_cast<std::uint32_t>(visit % kLayers);
      reader.now += kDense;
      EXPECT_TRUE(store->begin(layer, visits[visit]).ok());
      if (recall && layer + 1 < kLayers) {
        std::vector<LikelyExpert> likely;
        for (const std::uint32_t expert : visits[visit + 1]) {
          const bool right = static_cast<float>(random() % 1000) < *recall * 1000;
          const auto other = static_cast<std::uint32_t>(random() % kExperts);
          likely.push_back({right ? expert : other, *recall});
        }
        store->expect(layer + 1, likely, Reach::kGap);
      }
      if (visit == stopped) {
        store->end();
        store->settle();
        EXPECT_EQ(reader.under_way(), 0u);
        break;
      }
      for (;;) {
        const auto ready = store->ready();
        EXPECT_TRUE(ready.ok());
        if (!ready.ok() || ready->empty()) break;
        for (const std::uint32_t index : *ready) {
          reader.now += kExpert;
          const FileRange& gate = catalogue.find(layer)->ranges[visits[visit][index]][0];
          const WeightMatrix matrix = store->weights(index).gate;
          EXPECT_EQ(
              std::memcmp(matrix.data, fake.files[gate.file].data() + gate.offset, matrix.bytes()),
              0);
        }
        const std::vector<std::uint32_t> group(ready->begin(), ready->end());
        EXPECT_TRUE(store->release(group).ok());
      }
      store->end();
      if (layer + 1 == kLayers) store->settle();
    }
    const ExpertStatistics experts = store->statistics();
    return {reader.now, 1e-9 * static_cast<double>(experts.wait_nanoseconds), experts};
  }
};

TEST_F(DisksTest, ReadingAheadIsNeverSlowerThanNot) {
  for (const TimedDisk& disk : {kHardDisk, kSataDisk, kNvmeDisk, kMemory}) {
    for (const double share : {0.2, 0.5, 0.75}) {
      const Decoded off = decode(disk, share, std::nullopt);
      EXPECT_EQ(off.experts.expected, 0u);
      for (const float recall : {0.0f, 0.4f, 0.7f, 0.9f, 1.0f}) {
        const Decoded on = decode(disk, share, recall);
        EXPECT_LE(on.seconds, off.seconds)
            << disk.bytes_per_second << " bytes/s, " << share << ", recall " << recall
            << ": foretold " << on.experts.expected << ", rightly " << on.experts.expected_rightly;
      }
    }
  }
}

TEST_F(DisksTest, WhatIsReadAheadFollowsDiskAndGuesses) {
  // The slow disk takes a millisecond for an expert and is idle for a twenty-fifth of that.
  EXPECT_EQ(decode(kHardDisk, 0.5, 1.0f).experts.expected, 0u);
  // A fifth of a read fits: only what is certain is worth the disk's time.
  EXPECT_EQ(decode(kSataDisk, 0.5, 0.9f).experts.expected, 0u);
  EXPECT_GT(decode(kSataDisk, 0.5, 1.0f).experts.expected, 500u);
  // Nearly a whole one fits: what is more likely than not, and nothing that is always wrong.
  EXPECT_GT(decode(kNvmeDisk, 0.5, 0.7f).experts.expected, 500u);
  EXPECT_EQ(decode(kNvmeDisk, 0.5, 0.0f).experts.expected, 0u);
  // More than one fits, so that a wrong one costs no more than what it displaces.
  EXPECT_GT(decode(kMemory, 0.5, 0.6f).experts.expected, 500u);
}

TEST_F(DisksTest, GoodGuessesSpareTwoFifthsOfTheWaiting) {
  for (const TimedDisk& disk : {kNvmeDisk, kMemory}) {
    for (const double share : {0.5, 0.75}) {
      const Decoded off = decode(disk, share, std::nullopt), on = decode(disk, share, 0.95f);
      EXPECT_LE(on.waited, 0.6 * off.waited) << disk.bytes_per_second << " bytes/s, " << share;
    }
  }
}

TEST_F(DisksTest, AStoppedRunLeavesNoLoadBehind) {
  for (const TimedDisk& disk : {kHardDisk, kNvmeDisk, kMemory}) {
    for (std::size_t visit = 900; visit < 900 + 2 * kLayers; ++visit) {
      decode(disk, 0.5, 1.0f, visit);
    }
  }
}

}  // namespace
}  // namespace sluice
