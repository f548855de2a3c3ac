#pragma once
// The small arrays that a graph's kernels read: where they stay on the device, and what is in them.
//
// Those that change from launch to launch are one block of bytes, which the caller writes anew and
// the graph brings to the device first. The others are put down behind it, once.

#include <cstddef>
#include <span>
#include <utility>
#include <vector>

#include "cuda/runtime.h"
#include "cuda/upload_ring.h"

namespace sluice::cuda {

/// Movable, not copyable. Not thread-safe.
class GraphArguments {
 public:
  GraphArguments() = default;
  GraphArguments(GraphArguments&& other) noexcept { *this = std::move(other); }
  GraphArguments& operator=(GraphArguments&& other) noexcept;
  ~GraphArguments();

  /// To be called once, before anything else: for so many bytes that change, and at most so many
  /// that do not.
  cudaError_t create(std::size_t changing, std::size_t constant);
  std::size_t device_bytes() const { return device_bytes_; }

  /// While a stream is captured: what changes is `changing` on the host, and comes first.
  cudaError_t begin(cudaStream_t stream, std::span<const std::byte> changing);
  /// Where the device will have the bytes when the graph is launched: those of `changing` at their
  /// places among these, others put down. cudaErrorInvalidValue where there is no room.
  cudaError_t place(std::span<const std::byte> bytes, const std::byte*& there);
  /// After that: brings over what does not change.
  cudaError_t end(cudaStream_t stream);

  /// For the next launch. REQUIRES: the last one's work is done; as many bytes as ever.
  void change(std::span<const std::byte> changing);

 private:
  static std::size_t whole(std::size_t bytes) {
    return (bytes + UploadRing::kAlignment - 1) / UploadRing::kAlignment * UploadRing::kAlignment;
  }

  std::byte* there_ = nullptr;
  std::byte* pinned_ = nullptr;
  std::size_t device_bytes_ = 0, changing_bytes_ = 0;
  std::span<const std::byte> changing_;  // during a capture
  std::vector<std::byte> constant_;      // as the device has it, from changing_bytes_ on
};

}  // namespace sluice::cuda
