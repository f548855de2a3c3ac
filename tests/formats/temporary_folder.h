#pragma once
// A folder for the files that a test writes, gone at its end.

#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <string>
#include <string_view>

namespace sluice::test {

class TemporaryFolder {
 public:
  TemporaryFolder() {
    // In memory where there is such a place: dropping a fresh file from the page cache waits for
    // the disk.
    const std::filesystem::path memory = "/dev/shm";
    std::error_code ignored;
    const bool there =
        std::filesystem::is_directory(memory, ignored) && ::access(memory.c_str(), W_OK) == 0;
    const auto base = there ? memory : std::filesystem::temp_directory_path();
    std::string pattern = (base / "sluice-XXXXXX").string();
    path_ = ::mkdtemp(pattern.data());
  }
  ~TemporaryFolder() {
    std::error_code ignored;
    std::filesystem::remove_all(path_, ignored);
  }
  TemporaryFolder(const TemporaryFolder&) = delete;
  TemporaryFolder& operator=(const TemporaryFolder&) = delete;

  std::string path() const { return path_.string(); }
  std::string path(std::string_view name) const { return (path_ / name).string(); }
  /// Writes a file and gives its path.
  std::string write(std::string_view name, std::string_view contents) const {
    std::ofstream(path_ / name, std::ios::binary) << contents;
    return path(name);
  }

 private:
  std::filesystem::path path_;
};

inline std::string read_file(const std::filesystem::path& path) {
  std::ifstream stream(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(stream), std::istreambuf_iterator<char>()};
}

/// What `gzip -dc` makes of a file.
inline std::string read_gzip(const std::filesystem::path& path) {
  std::string contents;
  std::FILE* pipe = ::popen(("gzip -dc '" + path.string() + "'").c_str(), "r");
  if (pipe == nullptr) return contents;
  char buffer[65536];
  while (const std::size_t count = std::fread(buffer, 1, sizeof buffer, pipe)) {
    contents.append(buffer, count);
  }
  ::pclose(pipe);
  return contents;
}

}  // namespace sluice::test
