#pragma once
// The first 4 KiB of a store. Numbers are little-endian.
//
//     byte  0  "SLUICE\r\n"                     a transfer that turns line ends is found at once
//           8  major, minor version, u32 each
//          16  bytes of the file
//          24  the index: offset, bytes
//          40  the table: offset, bytes
//          56  checksum of the index
//          64  checksum of these 4 KiB, in which these eight bytes are zero
//          72  zeros

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>

#include "base/status.h"

namespace sluice {

inline constexpr std::size_t kStoreHeaderBytes = 4096;
inline constexpr std::array<char, 8> kStoreMagic = {'S', 'L', 'U', 'I', 'C', 'E', '\r', '\n'};
inline constexpr std::uint32_t kStoreMajor = 1;
inline constexpr std::uint32_t kStoreMinor = 0;
/// Far above any model: the index of one like DeepSeek V3, with its tokenizer, is 6 MB.
inline constexpr std::uint64_t kMostIndexBytes = std::uint64_t{256} << 20;

struct StoreHeader {
  std::uint32_t major = kStoreMajor;
  std::uint32_t minor = kStoreMinor;
  std::uint64_t file_bytes = 0;
  std::uint64_t index_offset = 0;
  std::uint64_t index_bytes = 0;
  std::uint64_t table_offset = 0;
  std::uint64_t table_bytes = 0;
  std::uint64_t index_checksum = 0;

  /// Where offsets in the index count from: behind the index, at the next 4 KiB.
  std::uint64_t first_block() const;
};

using StoreHeaderBytes = std::array<std::byte, kStoreHeaderBytes>;

StoreHeaderBytes encode(const StoreHeader& header);

/// Messages name the field. kUnsupported: another major version; kCorrupt: what no store has, for
/// one that is `file_bytes` long. Then index and table lie in the file, behind the header and
/// behind each other.
Result<StoreHeader> decode_store_header(std::span<const std::byte, kStoreHeaderBytes> bytes,
                                        std::uint64_t file_bytes);

}  // namespace sluice
