#include "apps/output_file.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <filesystem>

#include "apps/cancel.h"
#include "base/cancellation.h"

namespace sluice::apps {
namespace {

struct Target {
  int descriptor = -1;
  bool created = false;  // the path named nothing before
  bool shared = false;   // it is standard output or standard error
};

/// What standard output or standard error already is goes on from where that stands: opened once
/// more, each would write over the other.
Target open_target(const std::string& path) {
  struct stat wanted = {}, standard = {};
  if (stat(path.c_str(), &wanted) == 0) {
    for (const int number : {STDOUT_FILENO, STDERR_FILENO}) {
      const bool same = fstat(number, &standard) == 0 && wanted.st_dev == standard.st_dev &&
                        wanted.st_ino == standard.st_ino;
      if (same && (fcntl(number, F_GETFL) & O_ACCMODE) != O_RDONLY)
        return {.descriptor = fcntl(number, F_DUPFD_CLOEXEC, 0), .shared = true};
    }
  }
  const int existing = ::open(path.c_str(), O_WRONLY | O_CLOEXEC);
  if (existing >= 0 || errno != ENOENT) return {.descriptor = existing};
  return {.descriptor = ::open(path.c_str(), O_WRONLY | O_CREAT | O_CLOEXEC, 0666),
          .created = true};
}

const char* remedy(int error) {
  switch (error) {
    case EFBIG:
      return ": raise the limit on a file's size (ulimit -f) or write elsewhere";
    case ENOSPC:
    case EDQUOT:
      return ": make room or write elsewhere";
    default:
      return "";
  }
}

}  // namespace

Result<OutputFile> OutputFile::create(const std::string& path, const RunFiles& files) {
  SLUICE_TRY(files.check_output(path));
  OutputFile output;
  output.path_ = path;
  const Target target = open_target(path);
  if (target.descriptor < 0) return output.failure();
  struct stat about = {};
  output.created_ = target.created;
  output.regular_ =
      !target.shared && fstat(target.descriptor, &about) == 0 && S_ISREG(about.st_mode);
  output.file_.reset(fdopen(target.descriptor, "wb"));
  if (!output.file_) {
    const Status status = output.failure();
    ::close(target.descriptor);
    return status;
  }
  return output;
}

Status OutputFile::failure() const {
  const int error = errno;
  // A pipe that nobody reads was waited for.
  if (error == EINTR) SLUICE_TRY(check_cancelled(&cancel_requested()));
  return Status(ErrorCode::kIo, fmt::format("{}: cannot be written: {}{}", path_,
                                            std::strerror(error), remedy(error)));
}

Status OutputFile::write(std::span<const std::byte> bytes) {
  // What the file held goes only now.
  if (!begun_ && regular_ && ftruncate(fileno(file_.get()), 0) != 0) return failure();
  begun_ = true;
  if (std::fwrite(bytes.data(), 1, bytes.size(), file_.get()) != bytes.size()) return failure();
  return {};
}

Status OutputFile::flush() {
  if (std::fflush(file_.get()) != 0) return failure();
  return {};
}

Status OutputFile::close() {
  SLUICE_TRY(flush());  // while it is still open, so that a failure can be undone
  if (std::fclose(file_.release()) != 0) return failure();
  return {};
}

OutputFile::~OutputFile() {
  if (!file_) return;
  const int descriptor = regular_ && begun_ ? fcntl(fileno(file_.get()), F_DUPFD_CLOEXEC, 0) : -1;
  file_.reset();  // writes what it still holds
  std::error_code ignored;
  if (created_) std::filesystem::remove(std::filesystem::canonical(path_, ignored), ignored);
  if (descriptor < 0) return;
  [[maybe_unused]] const int result = ftruncate(descriptor, 0);
  ::close(descriptor);
}

}  // namespace sluice::apps
