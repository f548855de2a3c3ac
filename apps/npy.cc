#include "apps/npy.h"

#include <fmt/format.h>
#include <unistd.h>

#include <bit>
#include <cerrno>
#include <cstring>
#include <filesystem>

namespace sluice::apps {
namespace {

static_assert(std::endian::native == std::endian::little, "'<f4' below");

Status failure(const std::string& path) {
  return Status(ErrorCode::kIo,
                fmt::format("{}: cannot be written: {}", path, std::strerror(errno)));
}

}  // namespace

Result<NpyWriter> NpyWriter::create(const std::string& path, std::size_t rows,
                                    std::size_t columns) {
  NpyWriter writer;
  writer.path_ = path;
  std::error_code ignored;
  const bool in_place =
      std::filesystem::exists(path, ignored) && !std::filesystem::is_regular_file(path, ignored);
  writer.written_ = in_place ? path : fmt::format("{}.{}.part", path, getpid());
  writer.file_.reset(std::fopen(writer.written_.c_str(), "wb"));
  if (!writer.file_) return failure(path);
  std::string header =
      fmt::format("{{'descr': '<f4', 'fortran_order': False, 'shape': ({}, {}), }}", rows, columns);
  // Magic, version 1.0 and a 16-bit length come before; all together a multiple of 64, ended by a
  // line feed.
  constexpr std::size_t kPrefix = 10;
  header.append(63 - (kPrefix + header.size()) % 64, ' ').push_back('\n');
  const auto length = static_cast<std::uint16_t>(header.size());
  const char prefix[kPrefix] = {'\x93',
                                'N',
                                'U',
                                'M',
                                'P',
                                'Y',
                                1,
                                0,
                                static_cast<char>(length & 0xff),
                                static_cast<char>(length >> 8)};
  if (std::fwrite(prefix, 1, kPrefix, writer.file_.get()) != kPrefix ||
      std::fwrite(header.data(), 1, header.size(), writer.file_.get()) != header.size()) {
    return failure(path);
  }
  return writer;
}

Status NpyWriter::write(std::span<const float> row) {
  if (std::fwrite(row.data(), sizeof(float), row.size(), file_.get()) != row.size())
    return failure(path_);
  return {};
}

Status NpyWriter::close() {
  if (std::fclose(file_.release()) != 0) return failure(path_);
  if (written_ != path_ && std::rename(written_.c_str(), path_.c_str()) != 0) return failure(path_);
  written_ = path_;
  return {};
}

NpyWriter::~NpyWriter() {
  if (written_ != path_) std::remove(written_.c_str());
}

}  // namespace sluice::apps
