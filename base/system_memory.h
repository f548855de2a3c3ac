#pragma once
// What the operating system says about memory: what this process holds, and what it could still
// get.

#include <cstdint>
#include <filesystem>
#include <string>

#include "base/status.h"

namespace sluice {

/// In bytes, as the kernel counts pages of every kind that are mapped into this process.
struct ProcessMemory {
  std::uint64_t resident = 0;
  std::uint64_t peak_resident = 0;  // since the process began
};

struct SystemMemory {
  /// Bytes that this process can take beyond what it holds, without pushing anything but clean page
  /// cache out.
  std::uint64_t available = 0;
  /// What sets that bound: "MemAvailable", or the limit's file, "/sys/fs/cgroup/jobs/memory.max".
  std::string limited_by;
};

/// From /proc/self/status. kIo where that cannot be read. `root` stands before every path, for
/// tests.
Result<ProcessMemory> process_memory(const std::filesystem::path& root = "/");

/// The least of MemAvailable and, for each cgroup from this process's own up to the root, in the
/// unified hierarchy (v2: memory.max, memory.high) and in the memory controller's (v1:
/// memory.limit_in_bytes, hierarchical_memory_limit), the limit less what is used, page cache of
/// files not counted as used. A process whose own cgroup is not below the mount that it sees, as in
/// many containers, is under the mount's root. kIo where /proc/meminfo cannot be read.
Result<SystemMemory> system_memory(const std::filesystem::path& root = "/");

}  // namespace sluice
