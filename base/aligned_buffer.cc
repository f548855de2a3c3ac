#include "base/aligned_buffer.h"

#include <sys/mman.h>
#include <unistd.h>

#include <limits>
#include <string>

namespace sluice {

Result<AlignedBuffer> AlignedBuffer::allocate(std::size_t bytes) {
  if (bytes == 0) return AlignedBuffer();
  const auto page = static_cast<std::size_t>(sysconf(_SC_PAGESIZE));
  if (bytes > std::numeric_limits<std::size_t>::max() - page) {
    return Status(ErrorCode::kBudget, "an allocation of " + std::to_string(bytes) + " bytes is impossible");
  }
  const std::size_t size = (bytes + page - 1) / page * page;
  void* data = mmap(nullptr, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (data == MAP_FAILED) {
    return Status(ErrorCode::kBudget, "the system refused " + std::to_string(size) + " bytes of memory");
  }
  return AlignedBuffer(static_cast<std::byte*>(data), size);
}

void AlignedBuffer::prefer_huge_pages() {
#ifdef MADV_HUGEPAGE
  if (data_ != nullptr) madvise(data_, size_, MADV_HUGEPAGE);
#endif
}

AlignedBuffer::~AlignedBuffer() {
  if (data_ != nullptr) munmap(data_, size_);
}

}  // namespace sluice
