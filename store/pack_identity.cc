#include "store/pack_identity.h"

#include <sys/stat.h>

#include <algorithm>
#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <span>
#include <string_view>
#include <vector>

#include "formats/checksum.h"

namespace sluice {
namespace {

using Words = std::vector<std::uint64_t>;

constexpr std::array<std::string_view, 6> kDifferences = {
    "another version of this program",
    "another model",
    "a model that had another size",
    "a model that has been changed, or touched, since",
    "another --imatrix, or one that has been changed since",
    "other options (--nested, --target-bits, --calibration, --drop-floats or --keep), or by "
    "another "
    "build of this program",
};

std::uint64_t checksum_of(const Words& words) { return checksum(std::as_bytes(std::span(words))); }

struct FileWords {
  Words path, size, time;

  Status add(const std::string& file) {
    struct stat about = {};
    if (::stat(file.c_str(), &about) != 0) {
      return {ErrorCode::kIo, file + ": cannot be looked at: " + std::strerror(errno)};
    }
    const std::unique_ptr<char, void (*)(void*)> real(::realpath(file.c_str(), nullptr), std::free);
    path.push_back(checksum(std::string_view(real ? real.get() : file.c_str())));
    size.push_back(static_cast<std::uint64_t>(about.st_size));
    time.insert(time.end(), {static_cast<std::uint64_t>(about.st_mtim.tv_sec),
                             static_cast<std::uint64_t>(about.st_mtim.tv_nsec)});
    return {};
  }
};

}  // namespace

std::string PackIdentity::difference(const PackIdentity& other) const {
  const auto [here, there] = std::ranges::mismatch(parts, other.parts);
  return std::string(kDifferences[static_cast<std::size_t>(here - parts.begin())]);
}

Result<PackIdentity> identity_of(const StorePlan& plan, const ImportanceMatrix* importance) {
  FileWords source, matrix;
  for (const std::string& file : plan.files) SLUICE_TRY(source.add(file));
  if (importance != nullptr) SLUICE_TRY(matrix.add(importance->path()));
  Words made = {checksum(plan.head), plan.table_offset};
  for (const StoreBlock& block : plan.blocks) {
    made.insert(made.end(), {block.offset, block.bytes});
  }
  for (const StoreCopy& copy : plan.copies) {
    made.insert(made.end(), {copy.from.file, copy.from.offset, copy.from.bytes, copy.to});
  }
  return PackIdentity{
      {checksum(std::string_view(SLUICE_VERSION)), checksum_of(source.path),
       checksum_of(source.size), checksum_of(source.time),
       checksum_of({checksum_of(matrix.path), checksum_of(matrix.size), checksum_of(matrix.time)}),
       checksum_of(made)}};
}

}  // namespace sluice
