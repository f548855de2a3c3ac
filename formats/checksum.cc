#include "formats/checksum.h"

// XXH3's state belongs to the caller this way, not to a library's heap.
#define XXH_STATIC_LINKING_ONLY
#include <xxhash.h>

#include <algorithm>
#include <array>

namespace sluice {

struct RunningChecksum::State {
  XXH3_state_t hash;
};

std::uint64_t checksum(std::span<const std::byte> bytes) {
  return XXH3_64bits(bytes.data(), bytes.size());
}

std::uint64_t checksum(std::string_view bytes) { return checksum(std::as_bytes(std::span(bytes))); }

Status damaged_block(const std::string& path, std::uint64_t offset, std::uint64_t bytes) {
  return Status(ErrorCode::kCorrupt,
                path + ": the block of " + std::to_string(bytes) + " bytes at offset " +
                    std::to_string(offset) +
                    " does not fit its checksum: the file is damaged; copy it again, or pack it "
                    "again");
}

RunningChecksum::RunningChecksum() : state_(std::make_unique<State>()) { restart(); }
RunningChecksum::RunningChecksum(RunningChecksum&&) noexcept = default;
RunningChecksum& RunningChecksum::operator=(RunningChecksum&&) noexcept = default;
RunningChecksum::~RunningChecksum() = default;

void RunningChecksum::add(std::span<const std::byte> bytes) {
  if (!bytes.empty()) XXH3_64bits_update(&state_->hash, bytes.data(), bytes.size());
}

void RunningChecksum::add_zeros(std::uint64_t count) {
  static constexpr std::array<std::byte, 64> kZeros{};
  while (count > 0) {
    const auto piece = static_cast<std::size_t>(std::min<std::uint64_t>(count, kZeros.size()));
    add(std::span(kZeros).first(piece));
    count -= piece;
  }
}

std::uint64_t RunningChecksum::value() const { return XXH3_64bits_digest(&state_->hash); }

void RunningChecksum::restart() { XXH3_64bits_reset(&state_->hash); }

}  // namespace sluice
