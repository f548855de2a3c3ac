#pragma once
// The real PackTarget: NAME.partial and NAME.partial.journal beside NAME.

#include <memory>
#include <string>
#include <vector>

#include "base/status.h"
#include "store/pack_target.h"

namespace sluice {

/// Owns both files and holds a lock on the partial one, so that two packers never share it. Written
/// bytes go to the disk early and leave the page cache with every sync, those that are read at
/// once. What is empty at the end goes with the object, and a journal that was made for nothing.
/// One thread at a time.
class FileTarget final : public PackTarget {
 public:
  /// Opens what an earlier pack left, or creates both files. `sources` are what will be packed:
  /// none of them may be written to. kInvalidArgument: the path is taken, names a folder, or
  /// another pack is at it; kIo: the system's reason.
  static Result<std::unique_ptr<FileTarget>> open(const std::string& path,
                                                  const std::vector<std::string>& sources);
  ~FileTarget() override;

  const std::string& path() const override { return path_; }
  bool has_its_name() const override { return published_; }
  PackFile& partial() override { return *partial_; }
  PackFile& journal() override { return *journal_; }
  Result<std::uint64_t> free_bytes() const override;
  Status publish() override;

 private:
  explicit FileTarget(const std::string& path) : path_(path) {}

  const std::string path_;
  std::unique_ptr<PackFile> partial_, journal_;
  bool journal_is_new_ = false;  // made here
  bool published_ = false;
};

}  // namespace sluice
