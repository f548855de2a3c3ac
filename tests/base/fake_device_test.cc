// The device that is none does what a device may do, and no better.

#include "base/fake_device.h"

#include <gtest/gtest.h>

#include <cstring>
#include <numeric>
#include <set>

#include "cpu/cpu_compute.h"

namespace sluice {
namespace {

using Bytes = std::vector<std::byte>;

class FakeDeviceTest : public ::testing::Test {
 protected:
  FakeDevice make(FakeDeviceOptions options = {}) { return FakeDevice(*compute_, options); }
  static DeviceBuffer on_device(DeviceBackend& device, std::size_t bytes) {
    return std::move(DeviceBuffer::allocate(device, bytes)).value();
  }
  static DeviceBuffer pinned(DeviceBackend& device, std::size_t bytes, int value = 0) {
    DeviceBuffer buffer = std::move(DeviceBuffer::allocate_pinned(device, bytes)).value();
    std::memset(buffer.data(), value, bytes);
    return buffer;
  }
  static void finish(DeviceBackend& device, StreamIndex stream) {
    ASSERT_TRUE(device.finish(device.record(stream).value()).ok());
  }

  std::unique_ptr<Compute> compute_ = std::move(make_cpu_compute(1)).value();
};

TEST_F(FakeDeviceTest, NothingIsDoneBeforeSomebodyWaits) {
  FakeDevice device = make();
  const StreamIndex stream = device.make_stream().value();
  const DeviceBuffer there = on_device(device, 64), from = pinned(device, 64, 1);
  const DeviceBuffer to = pinned(device, 64);
  ASSERT_TRUE(device.upload(stream, there.data(), from.data(), 64).ok());
  std::memset(from.data(), 2, 64);  // too early, as a device may be
  ASSERT_TRUE(device.download(stream, to.data(), there.data(), 64).ok());
  const DeviceEvent event = device.record(stream).value();
  EXPECT_EQ(to.data()[0], std::byte{0});
  EXPECT_FALSE(device.done(event).value());
  ASSERT_TRUE(device.finish(event).ok());
  EXPECT_TRUE(device.done(event).value());
  EXPECT_EQ(to.data()[63], std::byte{2});
}

TEST_F(FakeDeviceTest, CountsCopiesAndGoesOnAfterOneThatItRefuses) {
  FakeDevice device = make({.refused_copy = 2});
  const StreamIndex stream = device.make_stream().value();
  const DeviceBuffer there = on_device(device, 64), here = pinned(device, 64, 1);
  ASSERT_TRUE(device.upload(stream, there.data(), here.data(), 64).ok());
  finish(device, stream);
  std::memset(here.data(), 0, 64);
  EXPECT_EQ(device.download(stream, here.data(), there.data(), 64).code(), ErrorCode::kInternal);
  finish(device, stream);
  EXPECT_EQ(here.data()[0], std::byte{0});
  ASSERT_TRUE(device.download(stream, here.data(), there.data(), 32).ok());
  finish(device, stream);
  EXPECT_EQ(here.data()[31], std::byte{1});
  EXPECT_EQ(device.uploaded().copies, 1u);
  EXPECT_EQ(device.uploaded().bytes, 64u);
  EXPECT_EQ(device.downloaded().copies, 2u);
  EXPECT_EQ(device.downloaded().bytes, 96u);
}

TEST_F(FakeDeviceTest, TheHostCannotReadItsMemory) {
  FakeDevice device = make();
  const DeviceBuffer there = on_device(device, 64);
  EXPECT_DEATH({ [[maybe_unused]] volatile std::byte read = *there.data(); }, "");
}

/// Two streams write one place, which is a race, unless one waits for the other.
TEST_F(FakeDeviceTest, StreamsAreOrderedByEventsAlone) {
  for (const bool waits : {false, true}) {
    std::set<std::byte> seen;
    for (std::uint64_t seed = 1; seed < 30; ++seed) {
      FakeDevice device = make({.seed = seed});
      const StreamIndex first = device.make_stream().value(), second = device.make_stream().value();
      const DeviceBuffer there = on_device(device, 8), one = pinned(device, 8, 1);
      const DeviceBuffer two = pinned(device, 8, 2), to = pinned(device, 8);
      ASSERT_TRUE(device.upload(first, there.data(), one.data(), 8).ok());
      const DeviceEvent event = device.record(first).value();
      if (waits) {
        ASSERT_TRUE(device.wait(second, event).ok());
      }
      ASSERT_TRUE(device.upload(second, there.data(), two.data(), 8).ok());
      ASSERT_TRUE(device.finish(event).ok());
      finish(device, second);
      ASSERT_TRUE(device.download(first, to.data(), there.data(), 8).ok());
      finish(device, first);
      seen.insert(to.data()[0]);
    }
    EXPECT_EQ(seen.size(), waits ? 1u : 2u);
    EXPECT_TRUE(seen.contains(std::byte{2}));
  }
}

TEST_F(FakeDeviceTest, EnginesWorkAtOnceAndEachOnePieceAfterTheOther) {
  FakeDeviceOptions options{.copy_start = 0, .upload_byte = 1, .download_byte = 2};
  options.seconds = [](const FfnTask&) { return 10.0; };
  FakeDevice device = make(options);
  const StreamIndex copies = device.make_stream().value(), others = device.make_stream().value();
  const DeviceBuffer there = on_device(device, 8), here = pinned(device, 8);
  const DeviceEvent start = device.record(copies).value();
  ASSERT_TRUE(device.upload(copies, there.data(), here.data(), 4).ok());
  ASSERT_TRUE(device.upload(others, there.data(), here.data(), 3).ok());  // the same engine: at 7
  ASSERT_TRUE(device.download(others, here.data(), there.data(), 1).ok());
  const DeviceEvent at_4 = device.record(copies).value(), at_9 = device.record(others).value();
  const FfnTask nothing;
  ASSERT_TRUE(device.wait(copies, at_9).ok());
  device.operations(copies).ffn({&nothing, 1});
  const DeviceEvent at_19 = device.record(copies).value();
  EXPECT_EQ(device.seconds_between(start, at_4).value(), 4);
  EXPECT_EQ(device.seconds_between(start, at_9).value(), 9);
  EXPECT_EQ(device.seconds_between(start, at_19).value(), 19);
  device.advance(5);
  EXPECT_TRUE(device.done(at_4).value());
  EXPECT_FALSE(device.done(at_9).value());
  ASSERT_TRUE(device.finish(at_9).ok());
  EXPECT_EQ(device.now(), 9);
}

TEST_F(FakeDeviceTest, ItsMemoryIsCountedAndWhatOthersHaveIsNotFree) {
  FakeDevice device = make({.memory = 1 << 20, .others = 1 << 18});
  EXPECT_EQ(device.memory()->free, 3u << 18);
  {
    const DeviceBuffer most = on_device(device, 3 << 18);
    EXPECT_EQ(device.memory()->free, 0u);
    const auto more = DeviceBuffer::allocate(device, 4096);
    ASSERT_FALSE(more.ok());
    EXPECT_EQ(more.status().code(), ErrorCode::kBudget);
  }
  EXPECT_EQ(device.memory()->free, 3u << 18);
}

TEST_F(FakeDeviceTest, ANetworkThatItComputesHasTheCpusBits) {
  constexpr std::size_t kHidden = 64, kFfn = 32;
  std::vector<float> numbers(3 * kHidden * kFfn + kHidden);
  for (std::size_t i = 0; i < numbers.size(); ++i)
    numbers[i] = 0.01f * static_cast<float>(i % 37) - 0.2f;
  const auto task_over = [&](std::byte* memory) {
    auto* const floats = reinterpret_cast<float*>(memory);
    const TensorFormat* const f32 = &tensor_format(TensorType::kF32);
    const auto matrix = [&](std::size_t which, std::size_t rows, std::size_t columns) {
      return WeightMatrix{f32, memory + which * kHidden * kFfn * 4, rows, columns};
    };
    FfnTask task;
    task.gate = matrix(0, kFfn, kHidden);
    task.up = matrix(1, kFfn, kHidden);
    task.down = matrix(2, kHidden, kFfn);
    task.input = {.values = floats + 3 * kHidden * kFfn, .rows = 1, .columns = kHidden};
    task.n_rows = 1;
    task.output = floats + numbers.size();
    task.hidden = {.values = task.output + kHidden, .rows = 1, .columns = kFfn};
    return task;
  };
  const std::size_t bytes = (numbers.size() + kHidden + kFfn) * 4;
  AlignedBuffer memory = std::move(AlignedBuffer::allocate(bytes)).value();
  std::memcpy(memory.data(), numbers.data(), numbers.size() * 4);
  const FfnTask expected = task_over(memory.data());
  compute_->ffn({&expected, 1});

  FakeDevice device = make();
  const StreamIndex stream = device.make_stream().value();
  const DeviceBuffer there = on_device(device, bytes), here = pinned(device, bytes);
  std::memcpy(here.data(), numbers.data(), numbers.size() * 4);
  ASSERT_TRUE(device.upload(stream, there.data(), here.data(), bytes).ok());
  const FfnTask task = task_over(there.data());
  device.operations(stream).ffn({&task, 1});
  ASSERT_TRUE(device.download(stream, here.data(), there.data(), bytes).ok());
  finish(device, stream);
  const std::size_t at = numbers.size() * 4;
  EXPECT_EQ(std::memcmp(here.data() + at, memory.data() + at, kHidden * 4), 0);
  EXPECT_NE(expected.output[0], 0);
}

TEST_F(FakeDeviceTest, FailuresComeLateAndAreForGood) {
  for (const bool kernel : {false, true}) {
    FakeDeviceOptions options;
    (kernel ? options.failing_kernel : options.failing_copy) = 2;
    FakeDevice device = make(options);
    const StreamIndex stream = device.make_stream().value();
    const DeviceBuffer there = on_device(device, 8), here = pinned(device, 8);
    const std::vector<FfnTask> none;
    DeviceEvent events[2];
    for (DeviceEvent& event : events) {
      ASSERT_TRUE(device.upload(stream, there.data(), here.data(), 8).ok());
      device.operations(stream).ffn(none);
      event = device.record(stream).value();
    }
    EXPECT_TRUE(device.finish(events[0]).ok());
    EXPECT_EQ(device.finish(events[1]).code(), ErrorCode::kDeviceLost);
    EXPECT_EQ(device.memory().status().code(), ErrorCode::kDeviceLost);
    EXPECT_EQ(device.upload(stream, there.data(), here.data(), 8).code(), ErrorCode::kDeviceLost);
  }
  FakeDevice device = make({.failing_allocation = 2});
  EXPECT_TRUE(DeviceBuffer::allocate(device, 8).ok());
  EXPECT_EQ(DeviceBuffer::allocate(device, 8).status().code(), ErrorCode::kBudget);
  EXPECT_TRUE(DeviceBuffer::allocate(device, 8).ok()) << "memory may be there again";
  device.lose();
  EXPECT_EQ(device.make_stream().status().code(), ErrorCode::kDeviceLost);
}

TEST_F(FakeDeviceTest, BatchesRecurAndTheirWorkIsDoneInOrder) {
  FakeDevice device = make();
  const StreamIndex stream = device.make_stream().value();
  const DeviceBuffer there = on_device(device, 64), here = pinned(device, 64);
  auto* const floats = reinterpret_cast<float*>(there.data());
  auto* const read = reinterpret_cast<const float*>(here.data());
  for (const float factor : {2.0f, 2.0f, 3.0f, 2.0f}) {
    device.begin_batch(stream, 7);
    device.operations(stream).map(
        {.op = MapOp::kFill, .out = floats, .out_stride = 1, .rows = 1, .columns = 1});
    device.operations(stream).map({.op = MapOp::kScale,
                                   .out = floats,
                                   .out_stride = 1,
                                   .factor = factor,
                                   .rows = 1,
                                   .columns = 1});
    ASSERT_TRUE(device.download(stream, here.data(), there.data(), 4).ok());
    ASSERT_TRUE(device.end_batch(stream).ok());
    finish(device, stream);
    EXPECT_EQ(*read, factor);
  }
  EXPECT_EQ(device.batches().given, 4u);
  EXPECT_EQ(device.batches().recurred, 2u);
  EXPECT_EQ(device.batches().alone, 0u);
  ASSERT_TRUE(device.upload(stream, there.data(), here.data(), 4).ok());
  EXPECT_EQ(device.batches().alone, 1u);
}

TEST_F(FakeDeviceTest, NothingElseIsDoneWithAStreamWhoseBatchIsOpen) {
  for (int what = 0; what < 4; ++what) {
    FakeDevice device = make();
    const StreamIndex stream = device.make_stream().value();
    const StreamIndex other = device.make_stream().value();
    const DeviceEvent event = device.record(other).value();
    if (what < 3) device.begin_batch(stream, 1);
    EXPECT_TRUE(device.record(other).ok()) << "that is another's";
    Status status;
    if (what == 0) status = device.record(stream).status();
    if (what == 1) status = device.wait(stream, event);
    if (what == 2) device.begin_batch(stream, 2);
    if (what >= 2) status = device.end_batch(stream);
    EXPECT_EQ(status.code(), ErrorCode::kDeviceLost) << what;
  }
}

/// A program without races comes to the same whatever happens first.
TEST_F(FakeDeviceTest, TheCourseOfAProgramWithoutRacesChangesNothing) {
  constexpr std::size_t kStreams = 4, kPlaces = 6, kBytes = 16, kSteps = 60;
  for (std::uint64_t program = 1; program < 20; ++program) {
    Bytes first_result;
    for (std::uint64_t seed = 1; seed < 6; ++seed) {
      FakeDevice device = make({.seed = seed});
      std::vector<StreamIndex> streams;
      for (std::size_t i = 0; i < kStreams; ++i) streams.push_back(device.make_stream().value());
      const DeviceBuffer there = on_device(device, kPlaces * kBytes);
      const DeviceBuffer here = pinned(device, kSteps * kBytes);
      std::vector<DeviceEvent> last(kPlaces);  // that touched the place
      std::vector<bool> touched(kPlaces), written(kSteps);
      std::mt19937_64 random(program);
      for (std::size_t step = 0; step < kSteps; ++step) {
        const StreamIndex stream = streams[random() % kStreams];
        const std::size_t place = random() % kPlaces;
        if (touched[place]) {
          ASSERT_TRUE(device.wait(stream, last[place]).ok());
        }
        std::byte* const host = here.data() + step * kBytes;
        std::byte* const at = there.data() + place * kBytes;
        if (!touched[place] || random() % 2 == 0) {
          std::memset(host, static_cast<int>(step + 1), kBytes);
          ASSERT_TRUE(device.upload(stream, at, host, kBytes).ok());
        } else {
          ASSERT_TRUE(device.download(stream, host, at, kBytes).ok());
        }
        touched[place] = true;
        last[place] = device.record(stream).value();
        if (random() % 10 == 0) {
          ASSERT_TRUE(device.finish(last[random() % kPlaces]).ok());
        }
      }
      for (const StreamIndex stream : streams) finish(device, stream);
      const Bytes result(here.data(), here.data() + kSteps * kBytes);
      if (seed == 1) first_result = result;
      EXPECT_EQ(result, first_result) << "program " << program << ", seed " << seed;
    }
  }
}

}  // namespace
}  // namespace sluice
