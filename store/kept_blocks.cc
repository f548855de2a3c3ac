#include "store/kept_blocks.h"

#include <algorithm>

#include "base/cancellation.h"
#include "formats/checksum.h"
#include "store/block_writer.h"

namespace sluice {

Result<std::size_t> count_right_blocks(const StorePlan& plan, const PackFile& file,
                                       std::span<const std::uint64_t> checksums,
                                       std::span<std::byte> buffer,
                                       const std::function<void(std::uint64_t right)>& progress,
                                       const std::atomic<bool>* cancel) {
  SLUICE_ASSIGN(const std::uint64_t size, file.size());
  RunningChecksum hash;
  for (std::size_t i = 0; i < checksums.size(); ++i) {
    const StoreBlock& block = plan.blocks[i];
    const std::uint64_t block_end = block.offset + block.bytes;
    if (block_end > size) return i;
    // The padding behind the last one may be missing, and comes when the file is made longer.
    const std::uint64_t end = std::min(offset_after(plan, i + 1), size);
    hash.restart();
    bool right = true;
    for (std::uint64_t at = block.offset; at < end;) {
      SLUICE_TRY(check_cancelled(cancel));
      const std::uint64_t stop = at < block_end ? block_end : end;
      const auto part =
          buffer.first(static_cast<std::size_t>(std::min<std::uint64_t>(stop - at, buffer.size())));
      SLUICE_TRY(file.read(at, part));
      if (at < block_end) {
        hash.add(part);
      } else {
        right = right && std::ranges::count(part, std::byte{0}) == std::ssize(part);
      }
      at += part.size();
    }
    if (!right || hash.value() != checksums[i]) return i;
    if (progress) progress(offset_after(plan, i + 1));
  }
  return checksums.size();
}

}  // namespace sluice
