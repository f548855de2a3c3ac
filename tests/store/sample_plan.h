#pragma once
// A plan over files of random bytes, and the store that it must become, put together the plain way.

#include <xxhash.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <random>
#include <stdexcept>
#include <string>
#include <vector>

#include "formats/store_format.h"

namespace sluice::test {

/// A folder that vanishes with its object.
class TemporaryFolder {
 public:
  TemporaryFolder() {
    std::string name = (std::filesystem::temp_directory_path() / "sluice-store-XXXXXX").string();
    if (::mkdtemp(name.data()) == nullptr) throw std::runtime_error("mkdtemp " + name);
    path_ = name;
  }
  ~TemporaryFolder() {
    std::error_code ignored;
    std::filesystem::remove_all(path_, ignored);
  }
  TemporaryFolder(const TemporaryFolder&) = delete;
  TemporaryFolder& operator=(const TemporaryFolder&) = delete;

  std::string operator/(const std::string& name) const { return (path_ / name).string(); }
  /// What is in it, sorted.
  std::vector<std::string> names() const {
    std::vector<std::string> names;
    for (const auto& entry : std::filesystem::directory_iterator(path_)) {
      names.push_back(entry.path().filename().string());
    }
    std::ranges::sort(names);
    return names;
  }

 private:
  std::filesystem::path path_;
};

inline std::vector<std::byte> random_bytes(std::size_t count, std::mt19937_64& random) {
  std::vector<std::byte> bytes(count);
  for (std::byte& byte : bytes) byte = static_cast<std::byte>(random() >> 7);
  return bytes;
}

inline void write_file(const std::string& path, const std::vector<std::byte>& bytes) {
  std::ofstream file(path, std::ios::binary);
  file.write(reinterpret_cast<const char*>(bytes.data()),
             static_cast<std::streamsize>(bytes.size()));
  if (!file.flush()) throw std::runtime_error("write " + path);
}

inline std::vector<std::byte> read_file(const std::string& path) {
  std::vector<std::byte> bytes(std::filesystem::file_size(path));
  std::ifstream file(path, std::ios::binary);
  file.read(reinterpret_cast<char*>(bytes.data()), static_cast<std::streamsize>(bytes.size()));
  return bytes;
}

class SamplePlan {
 public:
  /// `blocks` of a few kilobytes, of two files in the folder; some without bytes, some without
  /// copies that follow one another in the source.
  SamplePlan(const TemporaryFolder& folder, std::uint64_t seed, std::size_t blocks,
             std::size_t most_copy_bytes = 9000) {
    std::mt19937_64 random(seed);
    const std::size_t source_bytes = 20 * most_copy_bytes;
    std::vector<std::vector<std::byte>> sources;
    for (const char* name : {"one.bin", "two.bin"}) {
      plan.files.push_back(folder / name);
      sources.push_back(random_bytes(source_bytes + random() % 777, random));
      write_file(plan.files.back(), sources.back());
    }
    plan.head = random_bytes(2 * kPage, random);
    bytes = plan.head;
    std::vector<std::uint64_t> checksums;
    for (std::size_t i = 0; i < blocks; ++i) {
      bytes.resize((bytes.size() + kPage - 1) / kPage * kPage);
      const std::size_t begin = bytes.size();
      for (std::size_t copies = random() % 7 == 0 ? 0 : 1 + random() % 6; copies > 0; --copies) {
        bytes.resize((bytes.size() + 63) / 64 * 64);
        const auto file = static_cast<std::uint32_t>(random() % 2);
        const std::size_t count = 1 + random() % most_copy_bytes;
        const std::size_t from = random() % (sources[file].size() - count + 1);
        plan.copies.push_back({{file, from, count}, bytes.size()});
        const auto first = sources[file].begin() + static_cast<std::ptrdiff_t>(from);
        bytes.insert(bytes.end(), first, first + static_cast<std::ptrdiff_t>(count));
      }
      plan.blocks.push_back({begin, bytes.size() - begin});
      checksums.push_back(XXH3_64bits(bytes.data() + begin, bytes.size() - begin));
    }
    bytes.resize((bytes.size() + kPage - 1) / kPage * kPage);
    plan.table_offset = bytes.size();
    const auto append = [&](std::uint64_t word) {
      for (int i = 0; i < 8; ++i) bytes.push_back(static_cast<std::byte>(word >> (8 * i) & 0xff));
    };
    for (const std::uint64_t checksum : checksums) append(checksum);
    append(XXH3_64bits(bytes.data() + plan.table_offset, bytes.size() - plan.table_offset));
    plan.file_bytes = bytes.size();
  }

  StorePlan plan;
  std::vector<std::byte> bytes;  // of the store

 private:
  static constexpr std::size_t kPage = 4096;
};

}  // namespace sluice::test
