#pragma once
// The checksum of what Sluice writes: XXH3, 64 bits, seed 0. It finds damage, not malice.

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>

#include "base/status.h"

namespace sluice {

std::uint64_t checksum(std::span<const std::byte> bytes);
std::uint64_t checksum(std::string_view bytes);

/// kCorrupt: what was read there is not what the file's checksum is of; and what to do.
Status damaged_block(const std::string& path, std::uint64_t offset, std::uint64_t bytes);

/// A checksum of bytes that come in pieces. Movable.
class RunningChecksum {
 public:
  RunningChecksum();
  RunningChecksum(RunningChecksum&&) noexcept;
  RunningChecksum& operator=(RunningChecksum&&) noexcept;
  ~RunningChecksum();

  void add(std::span<const std::byte> bytes);
  void add_zeros(std::uint64_t count);
  /// Of what was added since the beginning or the last `restart`.
  std::uint64_t value() const;
  void restart();

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace sluice
