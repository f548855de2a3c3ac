#pragma once
// Where the tests find their data: the whole set where SLUICE_TEST_DATA points, else the bundled part in tests/data.

#include <cstdlib>
#include <filesystem>
#include <string>

namespace sluice::test {

inline std::filesystem::path bundled_data() { return std::filesystem::path(SLUICE_SOURCE_DIR) / "tests" / "data"; }

/// The path of `relative` (as in "oracle/mixtral/model.gguf") in the whole set, else in the bundled part, else empty: the test is skipped then.
inline std::filesystem::path test_data(const std::string& relative) {
  if (const char* whole = std::getenv("SLUICE_TEST_DATA"); whole != nullptr && *whole != '\0') {
    if (auto path = std::filesystem::path(whole) / relative; std::filesystem::exists(path)) return path;
  }
  if (auto path = bundled_data() / relative; std::filesystem::exists(path)) return path;
  return {};
}

}  // namespace sluice::test
