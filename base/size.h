#pragma once
// Sizes in bytes as people write and read them. A unit is a power of 1024.

#include <cstdint>
#include <string>
#include <string_view>

#include "base/status.h"

namespace sluice {

/// "123", "512M", "1.5G", "64 KiB": a number, then optionally K, M, G or T in either case, then
/// optionally "B" or "iB". A fraction of a byte is dropped. kInvalidArgument, naming the text and
/// what is wrong with it, for anything else and for what exceeds 64 bits.
Result<std::uint64_t> parse_size(std::string_view text);

/// "123", "1.5K", "512M", "7.09G": at most two decimals, rounded up, so that a budget given as the
/// answer is never less than `bytes`. parse_size reads it back.
std::string format_size(std::uint64_t bytes);

}  // namespace sluice
