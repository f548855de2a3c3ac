#include "base/system_memory.h"

#include <sys/resource.h>

#include <algorithm>
#include <charconv>
#include <fstream>
#include <optional>
#include <sstream>
#include <string_view>
#include <vector>

namespace sluice {
namespace {

namespace fs = std::filesystem;

constexpr std::uint64_t kKibibyte = 1024;

std::optional<std::uint64_t> parse_number(std::string_view text) {
  while (!text.empty() && (text.front() == ' ' || text.front() == '\t')) text.remove_prefix(1);
  std::uint64_t value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc()) return std::nullopt;
  return value;
}

std::vector<std::string> read_lines(const fs::path& path) {
  std::vector<std::string> lines;
  std::ifstream file(path);
  for (std::string line; std::getline(file, line);) lines.push_back(std::move(line));
  return lines;
}

/// The number in a file of one number; absent for "max" and for a file that is not there.
std::optional<std::uint64_t> read_number(const fs::path& path) {
  const std::vector<std::string> lines = read_lines(path);
  return lines.empty() ? std::nullopt : parse_number(lines.front());
}

/// The number of the line "key 123" or "key: 123".
std::optional<std::uint64_t> find_number(const std::vector<std::string>& lines,
                                         std::string_view key) {
  for (const std::string_view line : lines) {
    if (!line.starts_with(key) || line.size() == key.size()) continue;
    const char next = line[key.size()];
    if (next == ' ' || next == ':') return parse_number(line.substr(key.size() + 1));
  }
  return std::nullopt;
}

fs::path below(const fs::path& root, const fs::path& absolute) {
  return root / absolute.relative_path();
}

/// A mounted cgroup hierarchy that may limit memory, and the cgroup of this process in it.
struct Hierarchy {
  bool unified = false;  // v2
  fs::path mount;        // "/sys/fs/cgroup"
  fs::path cgroup;       // relative to the mount; may not exist there
};

/// Whether "memory" is in a list such as "cpu,memory".
bool names_memory(std::string_view list) {
  while (!list.empty()) {
    const std::size_t comma = std::min(list.find(','), list.size());
    if (list.substr(0, comma) == "memory") return true;
    list.remove_prefix(std::min(comma + 1, list.size()));
  }
  return false;
}

/// Lines of /proc/self/cgroup are "0::/path" for v2 and "4:memory,other:/path" for v1.
std::optional<fs::path> own_cgroup(const std::vector<std::string>& lines, bool unified) {
  for (const std::string_view line : lines) {
    const std::size_t first = line.find(':');
    const std::size_t second = first == line.npos ? line.npos : line.find(':', first + 1);
    if (second == line.npos) continue;
    const std::string_view controllers = line.substr(first + 1, second - first - 1);
    if (unified ? controllers.empty() : names_memory(controllers)) {
      return fs::path(line.substr(second + 1));
    }
  }
  return std::nullopt;
}

/// `cgroup` as seen from a mount whose root is the cgroup `mount_root`; the mount's own root where
/// it lies outside.
fs::path relative_cgroup(const fs::path& cgroup, const fs::path& mount_root) {
  const fs::path relative = cgroup.lexically_relative(mount_root);
  if (relative.empty() || *relative.begin() == "..") return ".";
  return relative;
}

std::vector<Hierarchy> find_hierarchies(const fs::path& root) {
  const std::vector<std::string> cgroups = read_lines(below(root, "/proc/self/cgroup"));
  std::vector<Hierarchy> hierarchies;
  const auto add = [&](bool unified, const fs::path& mount, const fs::path& mount_root) {
    const auto known = [&](const Hierarchy& other) { return other.mount == mount; };
    const std::optional<fs::path> cgroup = own_cgroup(cgroups, unified);
    if (!cgroup || std::ranges::any_of(hierarchies, known)) return;
    hierarchies.push_back({unified, mount, relative_cgroup(*cgroup, mount_root)});
  };
  // "35 31 0:32 /root /mount options … - type source super,options"
  for (const std::string& line : read_lines(below(root, "/proc/self/mountinfo"))) {
    std::istringstream fields(line);
    std::string skipped, mount_root, mount, field, type, source, options;
    fields >> skipped >> skipped >> skipped >> mount_root >> mount;
    while (fields >> field && field != "-") {
    }
    fields >> type >> source >> options;
    if (type == "cgroup2") add(true, mount, mount_root);
    if (type == "cgroup" && names_memory(options)) add(false, mount, mount_root);
  }
  // Sandboxes may hide the mounts but show the files.
  add(true, "/sys/fs/cgroup", "/");
  add(true, "/sys/fs/cgroup/unified", "/");
  add(false, "/sys/fs/cgroup/memory", "/");
  return hierarchies;
}

struct Limit {
  std::uint64_t bytes = 0;
  std::string file;
};

/// The smaller of `limit` and the file's number.
void tighten(std::optional<Limit>& limit, std::optional<std::uint64_t> bytes,
             const fs::path& file) {
  if (bytes && (!limit || *bytes < limit->bytes)) limit = Limit{*bytes, file.string()};
}

/// Takes the limit of one cgroup, if it has one, into account. `directory` is its path without
/// `root`.
void apply_cgroup(const fs::path& root, const fs::path& directory, bool unified,
                  SystemMemory& memory) {
  const auto file = [&](const char* name) { return below(root, directory / name); };
  const std::vector<std::string> statistics = read_lines(file("memory.stat"));
  std::optional<Limit> limit;
  std::optional<std::uint64_t> used;
  std::uint64_t file_cache = 0;
  if (unified) {
    tighten(limit, read_number(file("memory.max")), directory / "memory.max");
    tighten(limit, read_number(file("memory.high")), directory / "memory.high");
    used = read_number(file("memory.current"));
    for (const char* key : {"inactive_file", "active_file"}) {
      file_cache += find_number(statistics, key).value_or(0);
    }
  } else {
    tighten(limit, read_number(file("memory.limit_in_bytes")), directory / "memory.limit_in_bytes");
    // Names the ancestors' limits too, even those outside the mount. No limit is a huge number.
    tighten(limit, find_number(statistics, "hierarchical_memory_limit"), directory / "memory.stat");
    used = read_number(file("memory.usage_in_bytes"));
    for (const char* key : {"total_inactive_file", "total_active_file"}) {
      file_cache += find_number(statistics, key).value_or(0);
    }
  }
  if (!limit) return;
  const std::uint64_t held = used.value_or(0) - std::min(file_cache, used.value_or(0));
  const std::uint64_t available = limit->bytes - std::min(held, limit->bytes);
  if (available < memory.available) memory = {available, limit->file};
}

}  // namespace

Result<ProcessMemory> process_memory(const fs::path& root) {
  const std::vector<std::string> status = read_lines(below(root, "/proc/self/status"));
  const std::optional<std::uint64_t> resident = find_number(status, "VmRSS");
  if (!resident) return Status(ErrorCode::kIo, "/proc/self/status does not tell VmRSS");
  ProcessMemory memory;
  memory.resident = *resident * kKibibyte;
  if (const std::optional<std::uint64_t> peak = find_number(status, "VmHWM")) {
    memory.peak_resident = *peak * kKibibyte;
  } else if (rusage usage{}; getrusage(RUSAGE_SELF, &usage) == 0) {  // sandboxes leave VmHWM out
    memory.peak_resident = static_cast<std::uint64_t>(usage.ru_maxrss) * kKibibyte;
  }
  memory.peak_resident = std::max(memory.peak_resident, memory.resident);
  return memory;
}

Result<SystemMemory> system_memory(const fs::path& root) {
  const std::vector<std::string> meminfo = read_lines(below(root, "/proc/meminfo"));
  const std::optional<std::uint64_t> available = find_number(meminfo, "MemAvailable");
  if (!available) return Status(ErrorCode::kIo, "/proc/meminfo does not tell MemAvailable");
  SystemMemory memory{*available * kKibibyte, "MemAvailable"};
  for (const Hierarchy& hierarchy : find_hierarchies(root)) {
    for (fs::path cgroup = hierarchy.cgroup; !cgroup.empty() && cgroup != ".";
         cgroup = cgroup.parent_path()) {
      apply_cgroup(root, hierarchy.mount / cgroup, hierarchy.unified, memory);
    }
    apply_cgroup(root, hierarchy.mount, hierarchy.unified, memory);
  }
  return memory;
}

}  // namespace sluice
