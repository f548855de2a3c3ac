#pragma once
// A processor with memory of its own, beside the host: what is moved there and back, what it
// computes, and when that is done.
//
// Work is given to streams and done later: what one stream was given happens in that order, streams
// among each other in any. Pointers to a device's memory are addresses that the host never reads.
//
// Errors of work come late, too, where its end is waited for. kDeviceLost is for good: every later
// call gives it, and nothing that the device had is left.

#include <cstddef>
#include <cstdint>
#include <string_view>
#include <utility>

#include "base/operations.h"
#include "base/status.h"

namespace sluice {

using StreamIndex = std::uint32_t;

/// A moment of a stream: all that it was given before is done.
struct DeviceEvent {
  std::uint64_t number = 0;
};

class DeviceBackend {
 public:
  /// Of its memory whole ones are handed out.
  static constexpr std::uint64_t kPage = 4096;
  static constexpr std::uint64_t whole_pages(std::uint64_t bytes) {
    return (bytes + kPage - 1) / kPage * kPage;
  }

  virtual ~DeviceBackend() = default;

  /// For people: "NVIDIA GeForce RTX 4090, 24 GiB".
  virtual std::string_view name() const = 0;

  /// As the driver sees it now: what other processes have is not free.
  struct Memory {
    std::uint64_t total = 0, free = 0;
  };
  virtual Result<Memory> memory() = 0;

  /// 256-byte aligned; holds anything. kBudget, naming what is free, where there is not so much.
  virtual Result<std::byte*> allocate(std::size_t bytes) = 0;
  /// Waits for all work that the device was given.
  virtual void release(std::byte* memory) = 0;
  /// Of the host, which devices copy from and to without the processor's help.
  virtual Result<std::byte*> allocate_pinned(std::size_t bytes) = 0;
  virtual void release_pinned(std::byte* memory) = 0;

  virtual Result<StreamIndex> make_stream() = 0;
  /// `host`: pinned, unchanged until that is done.
  virtual Status upload(StreamIndex stream, std::byte* device, const std::byte* host,
                        std::size_t bytes) = 0;
  virtual Status download(StreamIndex stream, std::byte* host, const std::byte* device,
                          std::size_t bytes) = 0;
  /// Whether operations take such a matrix: its form counts, not where it lies.
  virtual bool multiplies(const WeightMatrix& weight) const = 0;
  /// What the stream computes, to the bit as the host does, given by the call and done in the
  /// stream's order. Pointers are to the device's memory. What is refused is an error of the next
  /// `record`, and nothing is given until then.
  virtual Operations& operations(StreamIndex stream) = 0;

  /// What the stream is given from here to the end is a batch: pieces of work that recur together,
  /// which a device may do with less ado than one by one. They may be given at the end, and later
  /// are what they would be without. `key` is what the caller calls them by: where it comes with
  /// other work than before, that is as right, and slower. REQUIRES: no batch of the stream is
  /// open; until its end nothing else is done with the stream, and no memory is given back.
  virtual void begin_batch(StreamIndex stream, std::uint64_t key) = 0;
  virtual Status end_batch(StreamIndex stream) = 0;
  /// Of the device's memory, what a stream's batches may come to take, beside what is allocated.
  virtual std::uint64_t batch_bytes() const = 0;

  virtual Result<DeviceEvent> record(StreamIndex stream) = 0;
  /// What `stream` is given from now on happens after the event.
  virtual Status wait(StreamIndex stream, DeviceEvent event) = 0;
  /// Whether it has happened. Errors of work before it come here and below.
  virtual Result<bool> done(DeviceEvent event) = 0;
  /// The host waits for it.
  virtual Status finish(DeviceEvent event) = 0;
  /// Between two events that have happened.
  virtual Result<double> seconds_between(DeviceEvent first, DeviceEvent second) = 0;
};

/// A device's memory, or the host's pinned memory; freed on destruction. Movable, not copyable.
class DeviceBuffer {
 public:
  DeviceBuffer() = default;
  /// Errors are those of DeviceBackend. Borrows the device.
  static Result<DeviceBuffer> allocate(DeviceBackend& device, std::size_t bytes) {
    SLUICE_ASSIGN(std::byte* const data, device.allocate(bytes));
    return DeviceBuffer(device, data, bytes, /*pinned=*/false);
  }
  static Result<DeviceBuffer> allocate_pinned(DeviceBackend& device, std::size_t bytes) {
    SLUICE_ASSIGN(std::byte* const data, device.allocate_pinned(bytes));
    return DeviceBuffer(device, data, bytes, /*pinned=*/true);
  }
  DeviceBuffer(DeviceBuffer&& other) noexcept { *this = std::move(other); }
  DeviceBuffer& operator=(DeviceBuffer&& other) noexcept {
    std::swap(device_, other.device_);
    std::swap(data_, other.data_);
    std::swap(size_, other.size_);
    std::swap(pinned_, other.pinned_);
    return *this;
  }
  ~DeviceBuffer() {
    if (data_ == nullptr) return;
    if (pinned_) {
      device_->release_pinned(data_);
    } else {
      device_->release(data_);
    }
  }

  std::byte* data() const { return data_; }
  std::size_t size() const { return size_; }

 private:
  DeviceBuffer(DeviceBackend& device, std::byte* data, std::size_t size, bool pinned)
      : device_(&device), data_(data), size_(size), pinned_(pinned) {}
  DeviceBackend* device_ = nullptr;
  std::byte* data_ = nullptr;
  std::size_t size_ = 0;
  bool pinned_ = false;
};

}  // namespace sluice
