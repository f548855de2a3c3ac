#pragma once
// What readers over files that are vectors have in common: which files there are.

#include <algorithm>
#include <string>
#include <utility>
#include <vector>

#include "io/block_reader.h"

namespace sluice::test {

class FilesInMemory : public BlockReader {
 public:
  using File = std::vector<std::byte>;

  /// `files` outlives the reader.
  FilesInMemory(std::vector<std::string> names, const std::vector<File>& files)
      : names_(std::move(names)), files_(files) {}

  Result<FileIndex> open(const std::string& path) override {
    const auto at = std::find(names_.begin(), names_.end(), path);
    if (at == names_.end()) return Status(ErrorCode::kNotFound, path + ": no such file");
    return static_cast<FileIndex>(at - names_.begin());
  }
  std::uint64_t file_size(FileIndex file) const override { return files_[file].size(); }
  void limit_in_flight(std::size_t) override {}
  ReaderCounters counters() const override { return {}; }

 protected:
  const File& file(FileIndex index) const { return files_[index]; }

 private:
  const std::vector<std::string> names_;
  const std::vector<File>& files_;
};

}  // namespace sluice::test
