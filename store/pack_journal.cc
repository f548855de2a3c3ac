#include "store/pack_journal.h"

#include <algorithm>
#include <cstddef>
#include <tuple>

#include "formats/checksum.h"

namespace sluice {
namespace {

constexpr std::uint64_t kMagic = 0x324b434150434c53;  // "SLCPACK2" as bytes
constexpr std::size_t kWordBytes = sizeof(std::uint64_t);
constexpr std::size_t kHeadBytes =
    kWordBytes * (1 + std::tuple_size_v<decltype(PackIdentity::parts)> + 1);
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

std::uint64_t check_of(std::uint64_t number, std::uint64_t of_block, std::uint64_t pin) {
  std::vector<std::byte> bytes;
  for (const std::uint64_t word : {number, of_block, pin}) put(bytes, word);
  return checksum(bytes);
}

/// The journal's beginning, its own checksum included.
std::vector<std::byte> head_of(const PackIdentity& identity) {
  std::vector<std::byte> bytes;
  put(bytes, kMagic);
  for (const std::uint64_t part : identity.parts) put(bytes, part);
  put(bytes, checksum(bytes));
  return bytes;
}

std::uint64_t last_word(std::span<const std::byte> bytes) { return get(bytes.last(kWordBytes)); }

std::optional<PackIdentity> read_head(std::span<const std::byte> bytes) {
  if (bytes.size() < kHeadBytes) return std::nullopt;
  PackIdentity identity;
  for (std::size_t i = 0; i < identity.parts.size(); ++i) {
    identity.parts[i] = get(bytes.subspan((1 + i) * kWordBytes));
  }
  if (!std::ranges::equal(head_of(identity), bytes.first(kHeadBytes))) return std::nullopt;
  return identity;
}

/// Of the record at the front: the block's checksum, if it is block `number` and its check is
/// right.
std::optional<std::uint64_t> read_record(std::span<const std::byte> bytes, std::uint64_t number,
                                         std::uint64_t pin) {
  if (bytes.size() < kRecordBytes || get(bytes) != number) return std::nullopt;
  const std::uint64_t of_block = get(bytes.subspan(kWordBytes));
  if (last_word(bytes.first(kRecordBytes)) != check_of(number, of_block, pin)) return std::nullopt;
  return of_block;
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

Result<PackJournal> PackJournal::open(PackFile& file, std::uint64_t most_blocks) {
  PackJournal journal(file);
  SLUICE_ASSIGN(const std::uint64_t size, file.size());
  std::vector<std::byte> bytes(std::min(size, kHeadBytes + kRecordBytes * most_blocks));
  SLUICE_TRY(file.read(0, bytes));
  if (!may_be_journal(bytes)) {
    return Status(ErrorCode::kInvalidArgument,
                  file.path() +
                      ": this is no journal of a store being packed, or one of another version of "
                      "this program, and is left as it is: remove it and the .partial file, or "
                      "pack under another name");
  }
  journal.identity_ = read_head(bytes);
  if (!journal.identity_) return journal;
  std::span<const std::byte> rest = bytes;
  journal.pin_ = last_word(rest.first(kHeadBytes));
  for (rest = rest.subspan(kHeadBytes);; rest = rest.subspan(kRecordBytes)) {
    const auto of_block = read_record(rest, journal.checksums_.size(), journal.pin_);
    if (!of_block) return journal;
    journal.checksums_.push_back(*of_block);
  }
}

Status PackJournal::restart(const PackIdentity& identity, std::size_t keep) {
  checksums_.resize(std::min(keep, checksums_.size()));
  if (checksums_.empty()) {
    const std::vector<std::byte> head = head_of(identity);
    SLUICE_TRY(file_->truncate(0));
    SLUICE_TRY(file_->write(0, head));
    identity_ = identity;
    pin_ = last_word(head);
  } else {
    SLUICE_TRY(file_->truncate(kHeadBytes + kRecordBytes * checksums_.size()));
  }
  // Before anything is written to the store: records that were cut off must not come back.
  return file_->sync();
}

Status PackJournal::append(std::span<const std::uint64_t> checksums) {
  if (checksums.empty()) return {};
  std::vector<std::byte> records;
  std::uint64_t number = checksums_.size();
  for (const std::uint64_t of_block : checksums) {
    for (const std::uint64_t word : {number, of_block, check_of(number, of_block, pin_)}) {
      put(records, word);
    }
    ++number;
  }
  SLUICE_TRY(file_->write(kHeadBytes + kRecordBytes * checksums_.size(), records));
  SLUICE_TRY(file_->sync());
  checksums_.insert(checksums_.end(), checksums.begin(), checksums.end());
  return {};
}

}  // namespace sluice
