#include "store/pack_journal.h"

#include <algorithm>
#include <cstddef>
#include <optional>

#include "formats/checksum.h"

namespace sluice {
namespace {

constexpr std::uint64_t kMagic = 0x314b434150434c53;  // "SLCPACK1" as bytes
constexpr std::size_t kWordBytes = sizeof(std::uint64_t);
constexpr std::size_t kRecordBytes = 3 * kWordBytes;

void put(std::vector<std::byte>& bytes, std::uint64_t word) {
  for (std::size_t i = 0; i < kWordBytes; ++i) {
    bytes.push_back(static_cast<std::byte>(word >> (8 * i) & 0xff));
  }
}

std::uint64_t get(std::span<const std::byte> bytes) {
  std::uint64_t word = 0;
  for (std::size_t i = 0; i < kWordBytes; ++i) {
    word |= static_cast<std::uint64_t>(bytes[i]) << (8 * i);
  }
  return word;
}

std::uint64_t check_of(std::uint64_t first, std::uint64_t second, std::uint64_t pin) {
  std::vector<std::byte> bytes;
  for (const std::uint64_t word : {first, second, pin}) put(bytes, word);
  return checksum(bytes);
}

void put_record(std::vector<std::byte>& bytes, std::uint64_t first, std::uint64_t second,
                std::uint64_t pin) {
  for (const std::uint64_t word : {first, second, check_of(first, second, pin)}) put(bytes, word);
}

/// Of the record at the front: its second word, if its first is `first` and its check is right.
std::optional<std::uint64_t> second_of(std::span<const std::byte> bytes, std::uint64_t first,
                                       std::optional<std::uint64_t> pin) {
  if (bytes.size() < kRecordBytes || get(bytes) != first) return std::nullopt;
  const std::uint64_t second = get(bytes.subspan(kWordBytes));
  const std::uint64_t check = get(bytes.subspan(2 * kWordBytes));
  if (check != check_of(first, second, pin.value_or(second))) return std::nullopt;
  return second;
}

/// Is it a journal's start, even one of which only a part, or its length alone, came to the disk?
bool may_be_journal(std::span<const std::byte> bytes) {
  std::vector<std::byte> magic;
  put(magic, kMagic);
  const std::span<const std::byte> start = bytes.first(std::min(bytes.size(), magic.size()));
  return std::ranges::equal(start, std::span(magic).first(start.size())) ||
         std::ranges::all_of(bytes, [](std::byte byte) { return byte == std::byte{0}; });
}

}  // namespace

Result<PackJournal> PackJournal::open(PackFile& file, std::uint64_t pin,
                                      std::uint64_t most_blocks) {
  PackJournal journal(file, pin);
  SLUICE_ASSIGN(const std::uint64_t size, file.size());
  std::vector<std::byte> bytes(std::min(size, kRecordBytes * (most_blocks + 1)));
  SLUICE_TRY(file.read(0, bytes));
  if (!may_be_journal(bytes)) {
    return Status(ErrorCode::kInvalidArgument,
                  file.path() +
                      ": this is no journal of a store being packed, and is left as it "
                      "is: move it away, or pack under another name");
  }
  std::span<const std::byte> rest = bytes;
  const auto its_pin = second_of(rest, kMagic, std::nullopt);
  journal.fresh_ = !its_pin;
  journal.other_ = its_pin && *its_pin != pin;
  if (journal.fresh_ || journal.other_) return journal;
  for (;;) {
    rest = rest.subspan(kRecordBytes);
    const auto of_block = second_of(rest, journal.checksums_.size(), pin);
    if (!of_block) return journal;
    journal.checksums_.push_back(*of_block);
  }
}

Status PackJournal::restart(std::size_t keep) {
  checksums_.resize(std::min(keep, checksums_.size()));
  if (checksums_.empty()) {
    std::vector<std::byte> first;
    put_record(first, kMagic, pin_, pin_);
    SLUICE_TRY(file_->truncate(0));
    SLUICE_TRY(file_->write(0, first));
  } else {
    SLUICE_TRY(file_->truncate(kRecordBytes * (checksums_.size() + 1)));
  }
  fresh_ = false;
  // Before anything is written to the store: records that were cut off must not come back.
  return file_->sync();
}

Status PackJournal::append(std::span<const std::uint64_t> checksums) {
  if (checksums.empty()) return {};
  std::vector<std::byte> records;
  std::uint64_t number = checksums_.size();
  for (const std::uint64_t checksum : checksums) put_record(records, number++, checksum, pin_);
  SLUICE_TRY(file_->write(kRecordBytes * (checksums_.size() + 1), records));
  SLUICE_TRY(file_->sync());
  checksums_.insert(checksums_.end(), checksums.begin(), checksums.end());
  return {};
}

}  // namespace sluice
