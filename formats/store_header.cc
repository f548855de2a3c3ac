#include "formats/store_header.h"

#include <cstring>
#include <string>

#include "formats/checksum.h"
#include "formats/header_reader.h"  // numbers lie as they are in memory
#include "formats/store_format.h"

namespace sluice {
namespace {

constexpr std::size_t kVersionAt = 8;
constexpr std::size_t kNumbersAt = 16;
constexpr std::size_t kOwnChecksumAt = 64;
using Numbers = std::array<std::uint64_t, 6>;
static_assert(kNumbersAt + sizeof(Numbers) == kOwnChecksumAt);

std::uint64_t own_checksum(StoreHeaderBytes bytes) {
  std::memset(bytes.data() + kOwnChecksumAt, 0, sizeof(std::uint64_t));
  return checksum(bytes);
}

Status corrupt(const std::string& field, const std::string& what) {
  return Status(ErrorCode::kCorrupt, "header, " + field + ": " + what);
}

std::string version_text(std::uint32_t major, std::uint32_t minor) {
  return std::to_string(major) + "." + std::to_string(minor);
}

}  // namespace

std::uint64_t StoreHeader::first_block() const {
  const std::uint64_t end = index_offset + index_bytes;
  return (end + kStoreBlockAlignment - 1) / kStoreBlockAlignment * kStoreBlockAlignment;
}

StoreHeaderBytes encode(const StoreHeader& header) {
  StoreHeaderBytes bytes{};
  std::memcpy(bytes.data(), kStoreMagic.data(), kStoreMagic.size());
  const std::array<std::uint32_t, 2> version = {header.major, header.minor};
  std::memcpy(bytes.data() + kVersionAt, version.data(), sizeof version);
  const Numbers numbers = {header.file_bytes,   header.index_offset, header.index_bytes,
                           header.table_offset, header.table_bytes,  header.index_checksum};
  std::memcpy(bytes.data() + kNumbersAt, numbers.data(), sizeof numbers);
  const std::uint64_t own = own_checksum(bytes);
  std::memcpy(bytes.data() + kOwnChecksumAt, &own, sizeof own);
  return bytes;
}

Result<StoreHeader> decode_store_header(std::span<const std::byte, kStoreHeaderBytes> bytes,
                                        std::uint64_t file_bytes) {
  if (std::memcmp(bytes.data(), kStoreMagic.data(), kStoreMagic.size()) != 0) {
    return corrupt("magic at byte 0", "not a store");
  }
  std::array<std::uint32_t, 2> version{};
  std::memcpy(version.data(), bytes.data() + kVersionAt, sizeof version);
  StoreHeader header{.major = version[0], .minor = version[1]};
  // First of all: what stands where is the major version's affair.
  if (header.major > kStoreMajor) {
    return Status(ErrorCode::kUnsupported, "made by a newer Sluice (store version " +
                                               version_text(header.major, header.minor) +
                                               ", this one reads " + std::to_string(kStoreMajor) +
                                               ".x): update Sluice, or pack the model again");
  }
  StoreHeaderBytes copy;
  std::memcpy(copy.data(), bytes.data(), bytes.size());
  std::uint64_t own = 0;
  std::memcpy(&own, bytes.data() + kOwnChecksumAt, sizeof own);
  if (own != own_checksum(copy)) {
    return corrupt("checksum at byte 64",
                   "does not fit the header, which is damaged: copy the file again, or pack again");
  }
  if (header.major == 0) return corrupt("version at byte 8", "is 0");
  Numbers numbers{};
  std::memcpy(numbers.data(), bytes.data() + kNumbersAt, sizeof numbers);
  header.file_bytes = numbers[0];
  header.index_offset = numbers[1];
  header.index_bytes = numbers[2];
  header.table_offset = numbers[3];
  header.table_bytes = numbers[4];
  header.index_checksum = numbers[5];
  if (header.file_bytes != file_bytes) {
    return corrupt("file size at byte 16",
                   "the file should have " + std::to_string(header.file_bytes) + " bytes and has " +
                       std::to_string(file_bytes) +
                       ": it was not copied whole; copy it again, or pack again");
  }
  if (header.index_offset < kStoreHeaderBytes || header.index_offset > file_bytes ||
      header.index_bytes > file_bytes - header.index_offset ||
      header.index_bytes > kMostIndexBytes) {
    return corrupt("index at byte 24", std::to_string(header.index_bytes) + " bytes at " +
                                           std::to_string(header.index_offset) +
                                           " are out of range");
  }
  if (header.table_offset < header.index_offset + header.index_bytes ||
      header.table_offset > file_bytes || header.table_bytes != file_bytes - header.table_offset ||
      header.table_bytes % 8 != 0) {
    return corrupt("table at byte 40", std::to_string(header.table_bytes) + " bytes at " +
                                           std::to_string(header.table_offset) +
                                           " are out of range");
  }
  return header;
}

}  // namespace sluice
