#pragma once
// How the small arrays that tasks carry from the host come to the device without anybody waiting:
// through a ring of pinned slots, each with its copy on the device.

#include <cstddef>
#include <cstdint>
#include <span>
#include <type_traits>

#include "cuda/runtime.h"

namespace sluice::cuda {

/// Not thread-safe.
class UploadRing {
 public:
  static constexpr std::size_t kSlots = 8;
  static constexpr std::size_t kSlotBytes = 128 << 10;
  /// Of an upload.
  template <typename T>
  static constexpr std::size_t kMost = kSlotBytes / sizeof(T);

  UploadRing() = default;
  ~UploadRing();
  UploadRing(const UploadRing&) = delete;
  UploadRing& operator=(const UploadRing&) = delete;

  /// To be called once, before anything else.
  cudaError_t create();
  /// `there` is where the device will have the array for what the stream is given next, up to
  /// `close`. The host waits only where it is kSlots uploads ahead of the device. REQUIRES: at most
  /// kMost<T>.
  template <typename T>
  cudaError_t upload(cudaStream_t stream, std::span<const T> array, const T*& there) {
    static_assert(std::is_trivially_copyable_v<T> && alignof(T) <= 16);
    const std::byte* bytes = nullptr;
    const cudaError_t error = upload_bytes(stream, std::as_bytes(array), bytes);
    there = reinterpret_cast<const T*>(bytes);
    return error;
  }
  /// Bytes of all uploads so far, each filled up to kAlignment.
  std::uint64_t uploaded() const { return uploaded_; }
  static constexpr std::size_t kAlignment = 256;
  /// The stream has been given all that reads the last upload.
  cudaError_t close(cudaStream_t stream);

 private:
  cudaError_t upload_bytes(cudaStream_t stream, std::span<const std::byte> bytes,
                           const std::byte*& there);

  std::byte* pinned_ = nullptr;  // [kSlots, kSlotBytes]
  std::byte* there_ = nullptr;   // likewise, on the device
  cudaEvent_t read_[kSlots] = {};
  std::size_t next_ = 0;
  std::uint64_t uploaded_ = 0;
};

}  // namespace sluice::cuda
