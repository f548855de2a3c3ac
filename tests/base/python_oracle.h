#pragma once
// Runs the Python scripts whose answers the tests compare with, and holds the files that they
// exchange.

#include <gtest/gtest.h>
#include <stdlib.h>

#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <optional>
#include <string>
#include <vector>

namespace sluice::test {

/// A folder that goes away with the object.
class TemporaryFolder {
 public:
  TemporaryFolder() {
    std::string name = (std::filesystem::temp_directory_path() / "sluice-base-XXXXXX").string();
    if (mkdtemp(name.data()) != nullptr) path_ = name;
  }
  TemporaryFolder(const TemporaryFolder&) = delete;
  TemporaryFolder& operator=(const TemporaryFolder&) = delete;
  ~TemporaryFolder() {
    std::error_code ignored;
    if (!path_.empty()) std::filesystem::remove_all(path_, ignored);
  }
  const std::filesystem::path& path() const { return path_; }

 private:
  std::filesystem::path path_;
};

/// The interpreter with numpy and gguf, or nothing: skip the test then.
inline std::optional<std::string> python() {
  const char* interpreter = std::getenv("SLUICE_PYTHON");
  if (interpreter == nullptr || *interpreter == '\0') return std::nullopt;
  return interpreter;
}

/// Runs `script` (relative to the source folder) and returns its exit status.
inline int run_python(const std::string& interpreter, const std::string& script,
                      const std::vector<std::string>& arguments) {
  std::string command = '\'' + interpreter + "' '" SLUICE_SOURCE_DIR "/" + script + '\'';
  for (const std::string& argument : arguments) command += " '" + argument + '\'';
  return std::system(command.c_str());
}

/// A whole file as values of T; empty when it is not there.
template <typename T>
std::vector<T> read_values(const std::filesystem::path& path) {
  std::ifstream file(path, std::ios::binary);
  const std::string bytes{std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>()};
  std::vector<T> values(bytes.size() / sizeof(T));
  if (!values.empty()) std::memcpy(values.data(), bytes.data(), values.size() * sizeof(T));
  return values;
}

template <typename T>
void write_values(const std::filesystem::path& path, const std::vector<T>& values) {
  std::ofstream file(path, std::ios::binary);
  file.write(reinterpret_cast<const char*>(values.data()),
             static_cast<std::streamsize>(values.size() * sizeof(T)));
}

}  // namespace sluice::test
