#pragma once
// The files that a run works with, so that none of its results is written over one of them.

#include <sys/types.h>

#include <string>
#include <vector>

#include "base/status.h"

namespace sluice {
struct Checkpoint;
}

namespace sluice::apps {

/// Knows a file by what it is, whatever link or path leads to it. Devices and pipes, and what is
/// not there, are nobody's loss.
class RunFiles {
 public:
  /// `what` completes "is …", such as "what --text names"; a path of "-" is standard input.
  void add(const std::string& path, const std::string& what);
  /// What may be written after all.
  void remove(const std::string& path);
  /// All that the model is read from.
  void add(const Checkpoint& checkpoint);
  /// kInvalidArgument, saying what it is, where `path` leads to one of them.
  Status check_output(const std::string& path) const;

 private:
  struct File {
    dev_t device;
    ino_t number;
    std::string what;
  };
  std::vector<File> files_;
};

}  // namespace sluice::apps
