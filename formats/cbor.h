#pragma once
// CBOR (RFC 8949) from files that nobody vouches for.

#include <cstddef>
#include <span>

#include <nlohmann/json.hpp>

#include "base/status.h"

namespace sluice {

/// One value, and nothing behind it. kCorrupt, with the byte: what is no CBOR, and what a store
/// has no use for, lists and texts of unknown length and tags among it. Bounded in depth and in the
/// number of values, so that what it takes is some ten times `bytes` at the most.
Result<nlohmann::json> read_cbor(std::span<const std::byte> bytes);

}  // namespace sluice
