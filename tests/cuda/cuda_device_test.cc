// A GPU, or the shim's, as a DeviceBackend: what base/fake_device_test.cc asks of the device that
// is none.

#include "cuda/cuda_device.h"

#include <cstring>
#include <random>

#include "tests/cuda/device_memory.h"

namespace sluice::testing {
namespace {

using cuda::CudaDevice;
using cuda::EventRing;

class CudaDeviceTest : public DeviceTest {
 protected:
  void SetUp() override {
    DeviceTest::SetUp();
    if (IsSkipped()) return;
    auto opened = CudaDevice::open(0);
    ASSERT_TRUE(opened.ok()) << opened.status().message();
    device_ = std::move(opened).value();
  }
  DeviceBuffer on_device(std::size_t bytes) {
    return std::move(DeviceBuffer::allocate(*device_, bytes)).value();
  }
  DeviceBuffer pinned(std::size_t bytes, int value = 0) {
    DeviceBuffer buffer = std::move(DeviceBuffer::allocate_pinned(*device_, bytes)).value();
    std::memset(buffer.data(), value, bytes);
    return buffer;
  }
  void finish(StreamIndex stream) {
    ASSERT_TRUE(device_->finish(device_->record(stream).value()).ok());
  }

  std::unique_ptr<CudaDevice> device_;
};

TEST_F(CudaDeviceTest, GivesBackWhatItWasGiven) {
  const StreamIndex stream = device_->make_stream().value();
  const DeviceBuffer there = on_device(64), from = pinned(64, 2), to = pinned(64);
  EXPECT_EQ(reinterpret_cast<std::uintptr_t>(there.data()) % 256, 0u);
  ASSERT_TRUE(device_->upload(stream, there.data(), from.data(), 64).ok());
  ASSERT_TRUE(device_->download(stream, to.data(), there.data(), 64).ok());
  const DeviceEvent event = device_->record(stream).value();
  ASSERT_TRUE(device_->finish(event).ok());
  EXPECT_TRUE(device_->done(event).value());
  EXPECT_EQ(to.data()[63], std::byte{2});
  EXPECT_FALSE(device_->name().empty());
}

TEST_F(CudaDeviceTest, SaysHowMuchMemoryIsFree) {
  constexpr std::size_t kBytes = 64 << 20;
  const DeviceBackend::Memory before = device_->memory().value();
  EXPECT_LE(before.free, before.total);
  {
    const DeviceBuffer some = on_device(kBytes);
    EXPECT_LE(device_->memory()->free + kBytes, before.free);
    const auto more = DeviceBuffer::allocate(*device_, before.total);
    ASSERT_FALSE(more.ok());
    EXPECT_EQ(more.status().code(), ErrorCode::kBudget);
    EXPECT_NE(more.status().message().find(" free"), std::string::npos) << more.status().message();
    EXPECT_TRUE(DeviceBuffer::allocate(*device_, 8).ok()) << "a refusal is not the end";
  }
  EXPECT_EQ(device_->memory()->free, before.free);
}

TEST_F(CudaDeviceTest, ThereIsNoDeviceOfSuchANumber) {
  for (const int index : {-1, CudaDevice::count()}) {
    EXPECT_EQ(CudaDevice::open(index).status().code(), ErrorCode::kNotFound);
  }
}

TEST_F(CudaDeviceTest, EventsAreForgottenWhenTheyHaveHappened) {
  const StreamIndex stream = device_->make_stream().value();
  std::vector<DeviceEvent> events;
  for (std::size_t i = 0; i < 2 * EventRing::kEvents + 3; ++i) {
    events.push_back(device_->record(stream).value());
    EXPECT_EQ(events.back().number, i + 1);
  }
  const DeviceEvent oldest = events[events.size() - EventRing::kEvents], last = events.back();
  ASSERT_TRUE(device_->finish(last).ok());
  for (const DeviceEvent event : {events.front(), oldest, last}) {
    EXPECT_TRUE(device_->done(event).value());
    EXPECT_TRUE(device_->finish(event).ok());
    EXPECT_TRUE(device_->wait(stream, event).ok());
  }
  EXPECT_GE(device_->seconds_between(oldest, last).value(), 0);
  const DeviceEvent forgotten = events[events.size() - EventRing::kEvents - 1];
  EXPECT_EQ(device_->seconds_between(forgotten, last).status().code(), ErrorCode::kInvalidArgument);
}

/// A program without races comes to what it would come to in the order in which it is written.
TEST_F(CudaDeviceTest, AProgramWithoutRacesHasOneResult) {
  constexpr std::size_t kStreams = 4, kPlaces = 6, kBytes = 4096, kSteps = 200;
  std::vector<StreamIndex> streams;
  for (std::size_t i = 0; i < kStreams; ++i) streams.push_back(device_->make_stream().value());
  const DeviceBuffer there = on_device(kPlaces * kBytes), here = pinned(kSteps * kBytes);
  for (std::uint64_t program = 1; program < 20; ++program) {
    std::vector<DeviceEvent> last(kPlaces);  // that touched the place
    std::vector<int> holds(kPlaces), wanted(kSteps);
    std::mt19937_64 random(program);
    for (std::size_t step = 0; step < kSteps; ++step) {
      const StreamIndex stream = streams[random() % kStreams];
      const std::size_t place = random() % kPlaces;
      if (holds[place] != 0) {
        ASSERT_TRUE(device_->wait(stream, last[place]).ok());
      }
      std::byte* const host = here.data() + step * kBytes;
      std::byte* const at = there.data() + place * kBytes;
      if (holds[place] == 0 || random() % 2 == 0) {
        wanted[step] = holds[place] = static_cast<int>(step + 1);
        std::memset(host, wanted[step], kBytes);
        ASSERT_TRUE(device_->upload(stream, at, host, kBytes).ok());
      } else {
        wanted[step] = holds[place];
        std::memset(host, 0, kBytes);
        ASSERT_TRUE(device_->download(stream, host, at, kBytes).ok());
      }
      last[place] = device_->record(stream).value();
      if (random() % 10 == 0) {
        ASSERT_TRUE(device_->finish(last[place]).ok());
      }
    }
    for (const StreamIndex stream : streams) finish(stream);
    for (std::size_t at = 0; at < kSteps * kBytes; ++at) {
      ASSERT_EQ(static_cast<int>(here.data()[at]), wanted[at / kBytes]) << "program " << program;
    }
  }
}

#ifdef SLUICE_CUDA_HOST_SHIM

namespace host_shim = cuda::host_shim;

/// A little of everything; the first error ends it.
Status use_everything() {
  SLUICE_ASSIGN(const std::unique_ptr<CudaDevice> device, CudaDevice::open(0));
  SLUICE_TRY(device->memory());
  SLUICE_ASSIGN(const StreamIndex first, device->make_stream());
  SLUICE_ASSIGN(const StreamIndex second, device->make_stream());
  SLUICE_ASSIGN(const DeviceBuffer there, DeviceBuffer::allocate(*device, 64));
  SLUICE_ASSIGN(const DeviceBuffer here, DeviceBuffer::allocate_pinned(*device, 64));
  std::memset(here.data(), 1, 64);
  SLUICE_TRY(device->upload(first, there.data(), here.data(), 64));
  SLUICE_ASSIGN(const DeviceEvent uploaded, device->record(first));
  SLUICE_TRY(device->wait(second, uploaded));
  SLUICE_TRY(device->download(second, here.data(), there.data(), 64));
  SLUICE_ASSIGN(const DeviceEvent end, device->record(second));
  SLUICE_TRY(device->done(end));
  SLUICE_TRY(device->finish(end));
  SLUICE_TRY(device->seconds_between(uploaded, end));
  return {};
}

struct Failure {
  cudaError_t error;
  bool late;
  ErrorCode code;
};

TEST(CudaDeviceFailures, OfEveryCallComeToAStatus) {
  const Failure failures[] = {{cudaErrorLaunchFailure, false, ErrorCode::kDeviceLost},
                              {cudaErrorIllegalAddress, true, ErrorCode::kDeviceLost},
                              {cudaErrorMemoryAllocation, false, ErrorCode::kBudget},
                              {cudaErrorInvalidValue, false, ErrorCode::kInternal}};
  host_shim::fail_call(0);
  ASSERT_TRUE(use_everything().ok());
  const std::uint64_t calls = host_shim::calls();
  for (const Failure& failure : failures) {
    std::uint64_t failed = 0;
    for (std::uint64_t nth = 1; nth <= calls; ++nth) {
      host_shim::fail_call(nth, failure.error, failure.late);
      const Status status = use_everything();
      if (status.ok()) continue;  // it failed while memory was given back
      ++failed;
      // The first calls are those that look for a device.
      EXPECT_TRUE(status.code() == failure.code || nth <= 3) << nth << ": " << status.message();
      EXPECT_FALSE(status.message().empty());
    }
    EXPECT_GT(failed, calls / 2);
  }
  host_shim::fail_call(0);
}

TEST(CudaDeviceFailures, ALostDeviceStaysLost) {
  for (const bool late : {false, true}) {
    host_shim::fail_call(0);
    const auto device = std::move(CudaDevice::open(0)).value();
    const StreamIndex stream = device->make_stream().value();
    const DeviceBuffer there = std::move(DeviceBuffer::allocate(*device, 8)).value();
    const DeviceBuffer here = std::move(DeviceBuffer::allocate_pinned(*device, 8)).value();
    host_shim::fail_call(2, cudaErrorLaunchFailure, late);
    const Status status = device->upload(stream, there.data(), here.data(), 8);
    EXPECT_EQ(status.ok(), late) << "errors of work come late";
    EXPECT_EQ(device->memory().status().code(), ErrorCode::kDeviceLost);
    host_shim::fail_call(0);  // the driver has forgotten, and the device knows
    for (const Status& later :
         {device->memory().status(), device->make_stream().status(),
          DeviceBuffer::allocate(*device, 8).status(),
          DeviceBuffer::allocate_pinned(*device, 8).status(), device->record(stream).status(),
          device->upload(stream, there.data(), here.data(), 8),
          device->download(stream, here.data(), there.data(), 8), device->wait(stream, {1}),
          device->done({1}).status(), device->finish({1}),
          device->seconds_between({1}, {1}).status()}) {
      EXPECT_EQ(later.code(), ErrorCode::kDeviceLost) << later.message();
    }
  }
}

TEST(CudaDeviceFailures, WhatIsNotDoneIsNotYetDone) {
  host_shim::fail_call(0);
  const auto device = std::move(CudaDevice::open(0)).value();
  const DeviceEvent event = device->record(device->make_stream().value()).value();
  host_shim::fail_call(2, cudaErrorNotReady);
  EXPECT_FALSE(device->done(event).value());
  EXPECT_TRUE(device->done(event).value());
}

TEST(CudaDeviceFailures, ABuildWithoutCodeForADeviceSaysSo) {
  host_shim::fail_call(0);
  std::uint64_t unsupported = 0;
  for (std::uint64_t nth = 1; nth < 30; ++nth) {
    host_shim::fail_call(nth, cudaErrorNoKernelImageForDevice);
    const Status status = CudaDevice::open(0).status();
    if (status.code() != ErrorCode::kUnsupported) continue;
    ++unsupported;
    EXPECT_NE(status.message().find("compute capability 9.0"), std::string::npos);
  }
  host_shim::fail_call(0);
  EXPECT_EQ(unsupported, 1u);
}

#endif

}  // namespace
}  // namespace sluice::testing
