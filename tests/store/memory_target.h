#pragma once
// A PackTarget in memory that knows what a disk may lose: everything since the last sync, sector by
// sector. Its operations are counted, and from a chosen one on it has no power, no room or a fault.

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <optional>
#include <random>
#include <string>
#include <utility>
#include <vector>

#include "store/pack_target.h"

namespace sluice::test {

constexpr std::uint64_t kNever = std::numeric_limits<std::uint64_t>::max();

struct MemoryFaults {
  std::uint64_t operations = 0;           // writes, cuts, syncs and renamings so far
  std::uint64_t power_fails_at = kNever;  // that operation and all later ones fail
  std::uint64_t sync_fails_at =
      kNever;  // that operation, if it is a sync, loses what it should keep

  Status power() {
    return ++operations < power_fails_at ? Status() : Status(ErrorCode::kIo, "no power");
  }
};

class MemoryFile final : public PackFile {
 public:
  MemoryFile(std::string path, MemoryFaults& faults) : path_(std::move(path)), faults_(faults) {}

  const std::string& path() const override { return path_; }
  Result<std::uint64_t> size() const override { return std::uint64_t{seen_.size()}; }
  Status read(std::uint64_t offset, std::span<std::byte> out) const override {
    if (offset + out.size() > seen_.size()) return {ErrorCode::kInternal, "read past the end"};
    std::copy_n(seen_.begin() + static_cast<std::ptrdiff_t>(offset), out.size(), out.begin());
    return {};
  }
  Status write(std::uint64_t offset, std::span<const std::byte> bytes) override {
    Status status = faults_.power();
    if (offset + bytes.size() > most_bytes_) {
      bytes = bytes.first(most_bytes_ - std::min(most_bytes_, offset));
      if (status.ok()) status = Status(ErrorCode::kIo, "the disk is full");
    }
    for (std::size_t at = 0; at < bytes.size();) {
      const std::size_t count = std::min(kSector - (offset + at) % kSector, bytes.size() - at);
      const auto sector = bytes.subspan(at, count);
      pending_.push_back(
          {offset + at, std::vector<std::byte>(sector.begin(), sector.end()), false});
      apply(pending_.back(), seen_);
      at += count;
    }
    return status;
  }
  Status truncate(std::uint64_t bytes) override {
    SLUICE_TRY(faults_.power());
    pending_.push_back({bytes, {}, true});
    apply(pending_.back(), seen_);
    return {};
  }
  Status sync() override {
    SLUICE_TRY(faults_.power());
    if (faults_.operations == faults_.sync_fails_at) {
      pending_.clear();  // as Linux does: the pages count as clean, and the next sync succeeds
      return {ErrorCode::kIo, "the disk failed"};
    }
    for (const Change& change : pending_) apply(change, durable_);
    pending_.clear();
    return {};
  }

  /// What a disk may have after the power went: of the changes since the last sync any.
  void lose_power(std::mt19937_64& random) {
    for (const Change& change : pending_) {
      if (random() % 2 == 0) apply(change, durable_);
    }
    pending_.clear();
    seen_ = durable_;
  }
  const std::vector<std::byte>& bytes() const { return seen_; }
  /// The disk is full when the file has so many.
  void set_most_bytes(std::uint64_t bytes) { most_bytes_ = bytes; }

 private:
  static constexpr std::size_t kSector = 512;
  struct Change {
    std::uint64_t offset = 0;
    std::vector<std::byte> bytes;
    bool cut = false;
  };
  static void apply(const Change& change, std::vector<std::byte>& file) {
    if (change.cut) return file.resize(change.offset);
    const std::size_t end = change.offset + change.bytes.size();
    if (file.size() < end) file.resize(end);
    std::ranges::copy(change.bytes, file.begin() + static_cast<std::ptrdiff_t>(change.offset));
  }

  const std::string path_;
  MemoryFaults& faults_;
  std::vector<std::byte> seen_, durable_;
  std::vector<Change> pending_;
  std::uint64_t most_bytes_ = kNever;
};

class MemoryTarget final : public PackTarget {
 public:
  const std::string& path() const override { return path_; }
  bool has_its_name() const override { return published.has_value(); }
  MemoryFile& partial() override { return partial_; }
  MemoryFile& journal() override { return journal_; }
  Result<std::uint64_t> free_bytes() const override { return free; }
  Status publish() override {
    SLUICE_TRY(faults.power());
    published = partial_.bytes();
    return {};
  }
  void lose_power(std::mt19937_64& random) {
    partial_.lose_power(random);
    journal_.lose_power(random);
    faults = {};
  }

  MemoryFaults faults;
  std::uint64_t free = kNever;
  std::optional<std::vector<std::byte>> published;

 private:
  const std::string path_ = "memory.slc";
  MemoryFile partial_{"memory.slc.partial", faults};
  MemoryFile journal_{"memory.slc.partial.journal", faults};
};

}  // namespace sluice::test
