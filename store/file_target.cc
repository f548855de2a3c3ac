#include "store/file_target.h"

#include <fcntl.h>
#include <stdio.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <filesystem>
#include <utility>

namespace sluice {
namespace {

namespace fs = std::filesystem;

Status failure(const std::string& path, const char* what, int error) {
  const char* remedy = "";
  if (error == ENOSPC || error == EDQUOT) remedy = ": make room";
  if (error == EFBIG) remedy = ": raise the limit on a file's size (ulimit -f)";
  return {ErrorCode::kIo, path + ": cannot be " + what + ": " + std::strerror(error) + remedy};
}

Status refusal(const std::string& path, const std::string& why) {
  return {ErrorCode::kInvalidArgument, path + ": " + why};
}

/// Closes what it holds.
class Descriptor {
 public:
  explicit Descriptor(int number) : number_(number) {}
  Descriptor(Descriptor&& other) noexcept : number_(std::exchange(other.number_, -1)) {}
  Descriptor& operator=(Descriptor&&) = delete;
  ~Descriptor() {
    if (number_ >= 0) ::close(number_);
  }
  int get() const { return number_; }

 private:
  int number_;
};

class SystemFile final : public PackFile {
 public:
  SystemFile(std::string path, Descriptor descriptor)
      : path_(std::move(path)), descriptor_(std::move(descriptor)) {}

  const std::string& path() const override { return path_; }

  Result<std::uint64_t> size() const override {
    struct stat about = {};
    if (::fstat(descriptor_.get(), &about) != 0) return failure(path_, "looked at", errno);
    return static_cast<std::uint64_t>(about.st_size);
  }

  Status read(std::uint64_t offset, std::span<std::byte> out) const override {
    const std::uint64_t first = offset;
    while (!out.empty()) {
      const ssize_t count =
          ::pread(descriptor_.get(), out.data(), out.size(), static_cast<off_t>(offset));
      if (count < 0 && errno == EINTR) continue;
      if (count < 0) return failure(path_, "read", errno);
      if (count == 0) return Status(ErrorCode::kIo, path_ + ": became shorter while it was read");
      out = out.subspan(static_cast<std::size_t>(count));
      offset += static_cast<std::uint64_t>(count);
    }
    // Read once.
    ::posix_fadvise(descriptor_.get(), static_cast<off_t>(first),
                    static_cast<off_t>(offset - first), POSIX_FADV_DONTNEED);
    return {};
  }

  Status write(std::uint64_t offset, std::span<const std::byte> bytes) override {
    while (!bytes.empty()) {
      const ssize_t count =
          ::pwrite(descriptor_.get(), bytes.data(), bytes.size(), static_cast<off_t>(offset));
      if (count < 0 && errno == EINTR) continue;
      if (count < 0) return failure(path_, "written", errno);
      // The disk begins now, so that `sync` finds little to wait for. Where it cannot, it can wait.
      static_cast<void>(::sync_file_range(descriptor_.get(), static_cast<off_t>(offset),
                                          static_cast<off_t>(count), SYNC_FILE_RANGE_WRITE));
      bytes = bytes.subspan(static_cast<std::size_t>(count));
      offset += static_cast<std::uint64_t>(count);
    }
    return {};
  }

  Status truncate(std::uint64_t bytes) override {
    if (::ftruncate(descriptor_.get(), static_cast<off_t>(bytes)) == 0) return {};
    return failure(path_, "written", errno);
  }

  Status sync() override {
    int outcome = 0;
    do {
      outcome = ::fdatasync(descriptor_.get());
    } while (outcome != 0 && errno == EINTR);
    if (outcome != 0) return failure(path_, "brought to the disk", errno);
    ::posix_fadvise(descriptor_.get(), 0, 0, POSIX_FADV_DONTNEED);
    return {};
  }

  /// One pack at a time. False: another has it.
  Result<bool> lock() {
    while (::flock(descriptor_.get(), LOCK_EX | LOCK_NB) != 0) {
      if (errno == EWOULDBLOCK) return false;
      if (errno != EINTR) return failure(path_, "locked", errno);
    }
    // Between opening and locking another pack may have ended and renamed it.
    struct stat held = {}, named = {};
    return ::fstat(descriptor_.get(), &held) == 0 && ::lstat(path_.c_str(), &named) == 0 &&
           held.st_dev == named.st_dev && held.st_ino == named.st_ino;
  }

 private:
  const std::string path_;
  const Descriptor descriptor_;
};

bool is_empty(const PackFile& file) {
  const auto size = file.size();
  return size.ok() && *size == 0;
}

Result<std::unique_ptr<SystemFile>> open_file(const std::string& path,
                                              int access = O_RDWR | O_CREAT) {
  // A link would lead the renamed file's bytes elsewhere, and a pipe would be waited for.
  constexpr int kFlags = O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK;
  Descriptor descriptor(::open(path.c_str(), access | kFlags, 0666));
  if (descriptor.get() < 0) {
    return failure(path, (access & O_CREAT) != 0 ? "created" : "opened", errno);
  }
  struct stat about = {};
  if (::fstat(descriptor.get(), &about) != 0) return failure(path, "looked at", errno);
  if (!S_ISREG(about.st_mode)) return refusal(path, "is not a regular file: choose another name");
  return std::make_unique<SystemFile>(path, std::move(descriptor));
}

std::string folder_of(const std::string& path) {
  const fs::path folder = fs::path(path).parent_path();
  return folder.empty() ? "." : folder.string();
}

/// Names in the folder are on the disk.
Status sync_folder(const std::string& path) {
  const std::string folder = folder_of(path);
  const Descriptor descriptor(::open(folder.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  // File systems that cannot do it say EINVAL.
  if (descriptor.get() >= 0 && (::fsync(descriptor.get()) == 0 || errno == EINVAL)) return {};
  return failure(folder, "brought to the disk", errno);
}

/// As rename(2), but what is there stays.
Status rename_to_free(const std::string& from, const std::string& to) {
  if (::renameat2(AT_FDCWD, from.c_str(), AT_FDCWD, to.c_str(), RENAME_NOREPLACE) == 0) return {};
  if (errno == EEXIST) return name_is_taken(to);
  if (errno != EINVAL && errno != ENOSYS) return failure(from, "renamed", errno);
  // The file system has no such thing: all that is left is to look first.
  struct stat about = {};
  if (::lstat(to.c_str(), &about) == 0) return name_is_taken(to);
  return ::rename(from.c_str(), to.c_str()) == 0 ? Status() : failure(from, "renamed", errno);
}

Status check_name(const std::string& path) {
  std::error_code ignored;
  const fs::path name(path);
  if (!name.has_filename() || fs::is_directory(name, ignored)) {
    return refusal(path, "is a folder: name the file that is to be written");
  }
  const std::string folder = folder_of(path);
  if (!fs::is_directory(folder, ignored)) return refusal(folder, "there is no such folder");
  return fs::exists(fs::symlink_status(name, ignored)) ? name_is_taken(path) : Status();
}

/// What a packer leaves that is killed when it has renamed the file and not removed the journal.
bool journal_was_left(const std::string& path, const std::string& partial,
                      const std::string& journal) {
  std::error_code ignored;
  const auto kind = [&](const std::string& name) {
    return fs::symlink_status(name, ignored).type();
  };
  return kind(path) == fs::file_type::regular && kind(journal) == fs::file_type::regular &&
         kind(partial) == fs::file_type::not_found;
}

}  // namespace

Result<std::unique_ptr<FileTarget>> FileTarget::open(const std::string& path,
                                                     const std::vector<std::string>& sources) {
  const std::string partial = path + ".partial";
  const std::string journal = partial + ".journal";
  const Status name = check_name(path);
  const bool has_its_name = !name.ok() && journal_was_left(path, partial, journal);
  if (!name.ok() && !has_its_name) return name;
  for (const std::string& source : sources) {
    std::error_code ignored;
    for (const std::string& written : {partial, journal}) {
      if (!fs::equivalent(source, written, ignored)) continue;
      return refusal(written, "would be written to and is what is to be packed: rename it first");
    }
  }
  SLUICE_ASSIGN(std::unique_ptr<SystemFile> locked,
                has_its_name ? open_file(path, O_RDONLY) : open_file(partial));
  SLUICE_ASSIGN(const bool ours, locked->lock());
  if (!ours) return refusal(partial, "another 'sluice pack' is at it: wait until that has ended");
  std::unique_ptr<FileTarget> target(new FileTarget(path));
  target->published_ = has_its_name;
  target->partial_ = std::move(locked);
  if (has_its_name) {
    SLUICE_ASSIGN(target->journal_, open_file(journal, O_RDWR));
    return target;
  }
  SLUICE_TRY(check_name(path));  // the other may have published
  SLUICE_ASSIGN(target->journal_, open_file(journal));
  SLUICE_ASSIGN(const std::uint64_t journal_bytes, target->journal_->size());
  target->journal_is_new_ = journal_bytes == 0;
  SLUICE_TRY(sync_folder(path));
  return target;
}

FileTarget::~FileTarget() {
  if (published_) return;
  const bool nothing = is_empty(*partial_);
  if (journal_is_new_ && (nothing || is_empty(*journal_))) ::unlink(journal_->path().c_str());
  if (nothing) ::unlink(partial_->path().c_str());
}

Result<std::uint64_t> FileTarget::free_bytes() const {
  struct statvfs about = {};
  const std::string folder = folder_of(path_);
  if (::statvfs(folder.c_str(), &about) != 0) return failure(folder, "looked at", errno);
  return std::uint64_t{about.f_bavail} * about.f_frsize;
}

Status FileTarget::publish() {
  if (!published_) SLUICE_TRY(rename_to_free(partial_->path(), path_));
  published_ = true;
  SLUICE_TRY(sync_folder(path_));
  // Without its store it says nothing; whoever packs to this name again starts over.
  ::unlink(journal_->path().c_str());
  return {};
}

}  // namespace sluice
