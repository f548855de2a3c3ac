#pragma once
// Everything that decides a store's bytes, in parts, so that two packs that do not go together can
// be told apart by what differs.

#include <array>
#include <cstdint>
#include <string>

#include "base/status.h"
#include "formats/imatrix.h"
#include "formats/store_format.h"

namespace sluice {

struct PackIdentity {
  /// Checksums: of the program's version; the source's paths; its sizes; its times of change; the
  /// importance matrix with all of these; and of what goes where.
  std::array<std::uint64_t, 6> parts{};

  bool operator==(const PackIdentity&) const = default;
  /// What differs first, such as "another model". REQUIRES: they differ.
  std::string difference(const PackIdentity& other) const;
};

/// That the source's files are still the same is told by their paths, sizes and times of change.
/// `importance` may be null. kIo: a file that cannot be looked at.
Result<PackIdentity> identity_of(const StorePlan& plan, const ImportanceMatrix* importance);

}  // namespace sluice
