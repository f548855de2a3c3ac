#pragma once
// Files of known contents that vanish with their object.

#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <span>
#include <stdexcept>
#include <string>
#include <vector>

namespace sluice::test {

/// The word at offset 8 * `index` of every temporary file: it tells where it is.
inline std::uint64_t pattern_word(std::uint64_t index) {
  const std::uint64_t word = (index + 1) * 0x9e3779b97f4a7c15u;
  return word ^ (word >> 29);
}

inline std::byte pattern_at(std::uint64_t offset) {
  return static_cast<std::byte>(pattern_word(offset / 8) >> (offset % 8 * 8));
}

/// The index of the first byte that is not what the file has at `offset` on, or bytes.size().
inline std::size_t first_difference(std::span<const std::byte> bytes, std::uint64_t offset) {
  for (std::size_t i = 0; i < bytes.size();) {
    if ((offset + i) % 8 == 0 && i + 8 <= bytes.size()) {
      std::uint64_t word = 0;
      std::memcpy(&word, bytes.data() + i, 8);
      if (word == pattern_word((offset + i) / 8)) {
        i += 8;
        continue;
      }
    }
    if (bytes[i] != pattern_at(offset + i)) return i;
    ++i;
  }
  return bytes.size();
}

inline bool matches(std::span<const std::byte> bytes, std::uint64_t offset) {
  return first_difference(bytes, offset) == bytes.size();
}

class TemporaryFile {
 public:
  /// `bytes` of the pattern in `directory`, on the disk and out of the page cache.
  explicit TemporaryFile(std::size_t bytes, const std::filesystem::path& directory =
                                                std::filesystem::temp_directory_path()) {
    path_ = (directory / "sluice-io-XXXXXX").string();
    descriptor_ = ::mkstemp(path_.data());
    if (descriptor_ < 0) throw std::runtime_error("mkstemp " + path_);
    std::vector<std::byte> block;
    for (std::size_t offset = 0; offset < bytes; offset += block.size()) {
      block.resize(std::min<std::size_t>(bytes - offset, 1u << 20));
      for (std::size_t i = 0; i < block.size(); ++i) block[i] = pattern_at(offset + i);
      if (::write(descriptor_, block.data(), block.size()) != static_cast<ssize_t>(block.size())) {
        throw std::runtime_error("write " + path_);
      }
    }
    ::fsync(descriptor_);
    ::posix_fadvise(descriptor_, 0, 0, POSIX_FADV_DONTNEED);
  }
  TemporaryFile(const TemporaryFile&) = delete;
  TemporaryFile& operator=(const TemporaryFile&) = delete;
  ~TemporaryFile() {
    ::close(descriptor_);
    ::unlink(path_.c_str());
  }

  const std::string& path() const { return path_; }
  void truncate(std::size_t bytes) {
    if (::ftruncate(descriptor_, static_cast<off_t>(bytes)) != 0)
      throw std::runtime_error("ftruncate");
  }
  /// Pages of the file that are in the page cache.
  std::size_t resident_pages() const {
    const auto bytes = static_cast<std::size_t>(std::filesystem::file_size(path_));
    const auto page = static_cast<std::size_t>(::sysconf(_SC_PAGESIZE));
    void* const map = ::mmap(nullptr, bytes, PROT_READ, MAP_SHARED, descriptor_, 0);
    if (map == MAP_FAILED) throw std::runtime_error("mmap");
    std::vector<unsigned char> present((bytes + page - 1) / page);
    const int outcome = ::mincore(map, bytes, present.data());
    ::munmap(map, bytes);
    if (outcome != 0) throw std::runtime_error("mincore");
    return static_cast<std::size_t>(
        std::count_if(present.begin(), present.end(), [](unsigned char flag) { return flag & 1; }));
  }

 private:
  std::string path_;
  int descriptor_ = -1;
};

}  // namespace sluice::test
