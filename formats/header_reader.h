#pragma once
// A cursor over the header of a file: small buffered reads with an account of where each field
// stands, so that an error can name the field and its byte. The file is never mapped, and what was
// read of it is dropped from the page cache at the end: a mapping's pages and the cache would both
// count against the memory budget.

#include <bit>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/aligned_buffer.h"
#include "base/status.h"

namespace sluice {

static_assert(std::endian::native == std::endian::little, "headers are read as they lie");

/// Movable; closes the file when it goes. Not for sharing between threads.
class HeaderReader {
 public:
  /// kNotFound or kIo when the file cannot be opened; kInvalidArgument for what is not a regular
  /// file.
  static Result<HeaderReader> open(const std::string& path);

  HeaderReader(HeaderReader&& other) noexcept;
  HeaderReader& operator=(HeaderReader&& other) noexcept;
  HeaderReader(const HeaderReader&) = delete;
  HeaderReader& operator=(const HeaderReader&) = delete;
  ~HeaderReader();

  const std::string& path() const { return path_; }
  std::uint64_t file_size() const { return file_size_; }
  std::uint64_t position() const { return position_; }
  std::uint64_t remaining() const { return file_size_ - position_; }

  /// Fills `out`; kCorrupt when the file ends before.
  Status read(std::span<std::byte> out, std::string_view field);
  /// A little-endian number.
  template <typename T>
  Result<T> read(std::string_view field) {
    T value{};
    SLUICE_TRY(read(std::as_writable_bytes(std::span(&value, 1)), field));
    return value;
  }
  /// `length` bytes, in a string that keeps its storage from call to call. Checks the length
  /// against the file first.
  Status read_text(std::string& out, std::uint64_t length, std::string_view field);
  Status skip(std::uint64_t bytes, std::string_view field);

  /// "path: field at byte N: message", where N is the start of the last field read.
  Status error(ErrorCode code, std::string_view field, std::string_view message) const;
  Status corrupt(std::string_view field, std::string_view message) const {
    return error(ErrorCode::kCorrupt, field, message);
  }

 private:
  HeaderReader(std::string path, int descriptor, std::uint64_t file_size);
  void close();
  Status refill(std::string_view field);
  Status check_length(std::uint64_t bytes, std::string_view field);

  std::string path_;
  int descriptor_ = -1;
  std::uint64_t file_size_ = 0;
  std::uint64_t position_ = 0;
  std::uint64_t field_start_ = 0;
  std::uint64_t buffer_start_ = 0;
  std::uint64_t high_water_ = 0;  // end of what was read
  std::vector<std::byte> buffer_;
};

/// For a file that is read from end to end; kUnsupported when it is larger than `limit` bytes.
Result<HeaderReader> open_whole_file(const std::string& path, std::uint64_t limit);
/// A whole small file; kUnsupported when it is larger than `limit` bytes.
Result<AlignedBuffer> read_whole_file(const std::string& path, std::uint64_t limit,
                                      std::size_t* size);

}  // namespace sluice
