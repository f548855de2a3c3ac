#pragma once
// Memory straight from the kernel, so that a budget counts it and freeing gives it back.

#include <cstddef>
#include <utility>

#include "base/status.h"

namespace sluice {

/// A zeroed, page-aligned anonymous mapping. Pages count against the process only once touched.
/// Movable, not copyable; freed on destruction.
class AlignedBuffer {
 public:
  AlignedBuffer() = default;
  /// `bytes` is rounded up to whole pages; 0 gives an empty buffer. kBudget when the kernel
  /// refuses.
  static Result<AlignedBuffer> allocate(std::size_t bytes);

  AlignedBuffer(AlignedBuffer&& other) noexcept
      : data_(std::exchange(other.data_, nullptr)), size_(std::exchange(other.size_, 0)) {}
  AlignedBuffer& operator=(AlignedBuffer&& other) noexcept {
    std::swap(data_, other.data_);
    std::swap(size_, other.size_);
    return *this;
  }
  AlignedBuffer(const AlignedBuffer&) = delete;
  AlignedBuffer& operator=(const AlignedBuffer&) = delete;
  ~AlignedBuffer();

  /// Advice to the kernel, for memory that will be used whole: huge pages spare kernels that stream
  /// through it most of their TLB misses. A partly used one counts as a whole, but never past the
  /// buffer's end.
  void prefer_huge_pages();

  std::byte* data() { return data_; }
  const std::byte* data() const { return data_; }
  std::size_t size() const { return size_; }
  template <typename T>
  T* as() {
    return reinterpret_cast<T*>(data_);
  }

 private:
  AlignedBuffer(std::byte* data, std::size_t size) : data_(data), size_(size) {}
  std::byte* data_ = nullptr;
  std::size_t size_ = 0;
};

}  // namespace sluice
