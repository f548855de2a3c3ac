// Experts in a device's memory: the right bytes, never more than the budget, and nothing after the
// first error.

#include "experts/device_tier.h"

#include <gtest/gtest.h>

#include <cstring>
#include <random>

#include "base/fake_device.h"
#include "cpu/cpu_compute.h"
#include "tests/experts/fake_checkpoint.h"

namespace sluice {
namespace {

constexpr std::uint64_t kPlenty = std::uint64_t{64} << 20;
using Room = DeviceTier::Room;

class DeviceTierTest : public ::testing::Test {
 protected:
  void make(FakeDeviceOptions device, std::uint64_t bytes) {
    tier_.reset();
    device_ = std::make_unique<FakeDevice>(*compute_, device);
    auto made = DeviceTier::create(*device_, catalogue_, {.bytes = bytes, .policy = "lru"});
    status_ = made.status();
    if (made.ok()) tier_ = std::move(*made);
  }
  /// What was read of it, in the file's order.
  ExpertWeights host(ExpertId id) const {
    const ExpertLayer& layer = *catalogue_.find(id.layer);
    const auto at = [&](std::size_t i) {
      const FileRange& range = layer.ranges[id.expert][i];
      return layer.views[i].at(fake_.files[range.file].data() + range.offset, nullptr);
    };
    return {at(0), at(1), at(2)};
  }
  Result<bool> upload(ExpertId id, Room room = Room::kAny) {
    return tier_->upload(id, kExactWidth, host(id), room, *compute_);
  }
  /// Whether the device has the file's bytes, once it has the expert. REQUIRES: pinned.
  Result<bool> right(ExpertId id) {
    const ExpertWeights there = tier_->weights(id, kExactWidth), file = host(id);
    SLUICE_ASSIGN(const StreamIndex stream, device_->make_stream());
    SLUICE_TRY(tier_->await(stream, id));
    bool same = true;
    for (const auto matrix : {&ExpertWeights::gate, &ExpertWeights::up, &ExpertWeights::down}) {
      const std::size_t bytes = (file.*matrix).bytes();
      SLUICE_ASSIGN(const DeviceBuffer back, DeviceBuffer::allocate_pinned(*device_, bytes));
      SLUICE_TRY(device_->download(stream, back.data(), (there.*matrix).data, bytes));
      SLUICE_ASSIGN(const DeviceEvent event, device_->record(stream));
      SLUICE_TRY(device_->finish(event));
      same = same && std::memcmp(back.data(), (file.*matrix).data, bytes) == 0;
    }
    return same;
  }

  const std::unique_ptr<Compute> compute_ = std::move(make_cpu_compute(1)).value();
  // Of two sizes.
  const test::FakeCheckpoint fake_ = test::make_checkpoint(
      {{1, 12}, {2, 12, {TensorType::kQ4_K, TensorType::kQ4_K, TensorType::kQ4_K}}},
      test::Placement::kApart);
  const ExpertCatalogue catalogue_ = ExpertCatalogue::build(fake_.checkpoint).value();
  const std::uint64_t widest_ = ExtentArena::rounded(DeviceTier::widest_copy(catalogue_));
  std::unique_ptr<FakeDevice> device_;
  std::unique_ptr<DeviceTier> tier_;
  Status status_;
};

TEST_F(DeviceTierTest, AnExpertComesAndStaysWhileItIsPinned) {
  make({}, widest_);
  const ExpertId a{1, 3}, b{2, 5};
  EXPECT_FALSE(tier_->pin(a, kExactWidth));
  EXPECT_TRUE(upload(a).value());
  EXPECT_TRUE(tier_->has(a));
  ASSERT_TRUE(tier_->pin(a, kExactWidth));
  EXPECT_TRUE(right(a).value());
  EXPECT_FALSE(upload(b).value()) << "there is room for one, and it is in use";
  tier_->unpin(a);
  ASSERT_TRUE(tier_->poll().ok());
  EXPECT_FALSE(upload(b, Room::kFree).value());
  EXPECT_TRUE(upload(b).value());
  EXPECT_FALSE(tier_->has(a));
  ASSERT_TRUE(tier_->pin(b, kExactWidth));
  EXPECT_TRUE(right(b).value());
  EXPECT_EQ(tier_->statistics().uploads, 2u);
}

TEST_F(DeviceTierTest, TakesOnlyWhatTheDeviceMultiplies) {
  FakeDeviceOptions picky;
  picky.multiplies = [](const WeightMatrix& weight) {
    return weight.format->type == TensorType::kQ4_K;
  };
  make(picky, kPlenty);
  ASSERT_NE(tier_, nullptr) << status_.message();
  EXPECT_FALSE(tier_->takes(1));
  EXPECT_TRUE(tier_->takes(2));
  EXPECT_FALSE(tier_->takes(3)) << "there is no such layer";
  EXPECT_LE(tier_->statistics().capacity, 12 * widest_);

  picky.multiplies = [](const WeightMatrix&) { return false; };
  make(picky, kPlenty);
  EXPECT_EQ(status_.code(), ErrorCode::kUnsupported);
  EXPECT_NE(status_.message().find(picky.name), std::string::npos) << status_.message();
}

/// Nothing waits but where a stream is told to: kernels would read what has not come.
TEST_F(DeviceTierTest, DrawnUploadsHaveTheRightBytesWhateverTheDeviceDoesFirst) {
  for (std::uint64_t seed = 1; seed <= 12; ++seed) {
    SCOPED_TRACE(seed);
    const std::uint64_t room = 1 + seed % 7;
    make({.memory = room * widest_, .seed = seed}, kPlenty);
    ASSERT_NE(tier_, nullptr) << status_.message();
    std::mt19937_64 random(seed);
    for (int step = 0; step < 120; ++step) {
      const ExpertId id{1 + static_cast<std::uint32_t>(random() % 2),
                        static_cast<std::uint32_t>(random() % 12)};
      const std::uint32_t wanted[] = {id.expert};
      tier_->visit(id.layer, wanted, {});
      if (!tier_->pin(id, kExactWidth)) {
        const Room kind = static_cast<Room>(random() % 3);
        const auto began = upload(id, kind);
        ASSERT_TRUE(began.ok()) << began.status().message();
        if (!*began) continue;
        if (random() % 2 == 0) continue;  // let it come
        ASSERT_TRUE(tier_->pin(id, kExactWidth));
      }
      EXPECT_TRUE(right(id).value());
      tier_->unpin(id);
    }
    EXPECT_TRUE(tier_->open());
    EXPECT_GT(tier_->statistics().uploads, 5u);
    EXPECT_GT(tier_->statistics().seconds, 0);
  }
}

/// Each place is filled again when the device is done with it, and the host waits for none of that.
TEST_F(DeviceTierTest, AnyNumberOfExpertsPassThroughAFewPlaces) {
  for (std::uint64_t seed = 1; seed <= 12; ++seed) {
    SCOPED_TRACE(seed);
    make({.seed = seed}, (16 + seed % 4) * widest_);
    ASSERT_NE(tier_, nullptr) << status_.message();
    ASSERT_TRUE(tier_->has_passage());
    const StreamIndex stream = device_->make_stream().value();
    std::vector<std::pair<ExpertId, DeviceBuffer>> read;
    for (std::uint32_t i = 0; i < 30; ++i) {
      const ExpertId id{1 + i % 2, i * 5 % 12};
      ASSERT_TRUE(upload(id, Room::kPassing).value());
      EXPECT_FALSE(tier_->has(id)) << "it does not stay";
      ASSERT_TRUE(tier_->await(stream, id).ok());
      const WeightMatrix there = tier_->weights(id, kExactWidth).down;
      read.emplace_back(id,
                        std::move(DeviceBuffer::allocate_pinned(*device_, there.bytes())).value());
      ASSERT_TRUE(
          device_->download(stream, read.back().second.data(), there.data, there.bytes()).ok());
      tier_->passed(id, device_->record(stream).value());
    }
    ASSERT_TRUE(device_->finish(device_->record(stream).value()).ok());
    for (const auto& [id, back] : read) {
      EXPECT_EQ(std::memcmp(back.data(), host(id).down.data, host(id).down.bytes()), 0);
    }
    // Those that nobody is done with take the places.
    std::size_t taken = 0;
    while (taken < 9 && upload({1, static_cast<std::uint32_t>(taken)}, Room::kPassing).value()) {
      ++taken;
    }
    EXPECT_EQ(taken, 3u);
  }
  make({.memory = 12 * widest_}, kPlenty);
  EXPECT_FALSE(tier_->has_passage());
  EXPECT_FALSE(upload({1, 1}, Room::kPassing).value());
  make({}, kPlenty);
  EXPECT_FALSE(tier_->has_passage()) << "all of them can stay";
}

TEST_F(DeviceTierTest, TakesWhatTheDeviceGivesAndSaysWhereThatHoldsNothing) {
  make({.memory = 6 * widest_, .others = 2 * widest_}, 100 * widest_);
  ASSERT_NE(tier_, nullptr) << status_.message();
  EXPECT_LE(tier_->statistics().capacity, 4 * widest_);
  EXPECT_GE(tier_->statistics().capacity, 3 * widest_);
  make({.memory = widest_ - 4096}, 100 * widest_);
  EXPECT_EQ(status_.code(), ErrorCode::kBudget);
  make({}, widest_ - 1);
  EXPECT_EQ(status_.code(), ErrorCode::kBudget);
  EXPECT_NE(status_.message().find("fake device"), std::string::npos) << status_.message();
}

TEST_F(DeviceTierTest, TheFirstErrorClosesIt) {
  for (std::uint64_t failing = 1; failing <= 6; ++failing) {
    make({.failing_copy = failing}, kPlenty);
    ASSERT_NE(tier_, nullptr) << status_.message();
    std::uint32_t expert = 0;
    for (; expert < 12 && tier_->open(); ++expert) (void)upload({1, expert});
    EXPECT_FALSE(tier_->open());
    EXPECT_FALSE(tier_->statistics().closed.empty());
    for (std::uint32_t i = 0; i < 12; ++i) {
      EXPECT_FALSE(tier_->has({1, i}));
      EXPECT_FALSE(tier_->pin({1, i}, kExactWidth));
    }
    EXPECT_TRUE(tier_->poll().ok());
  }
  make({}, kPlenty);
  EXPECT_TRUE(upload({1, 0}).value());
  device_->lose();
  EXPECT_FALSE(upload({1, 1}).ok());
  EXPECT_FALSE(tier_->open());
}

}  // namespace
}  // namespace sluice
