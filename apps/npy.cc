#include "apps/npy.h"

#include <fmt/format.h>

#include <bit>

namespace sluice::apps {
namespace {

static_assert(std::endian::native == std::endian::little, "'<f4' below");

/// Magic, version 1.0, a 16-bit length and a Python literal; all together a multiple of 64, ended
/// by a line feed.
std::string npy_header(std::size_t rows, std::size_t columns) {
  std::string literal =
      fmt::format("{{'descr': '<f4', 'fortran_order': False, 'shape': ({}, {}), }}", rows, columns);
  constexpr std::size_t kPrefix = 10;
  literal.append(63 - (kPrefix + literal.size()) % 64, ' ').push_back('\n');
  std::string header = "\x93NUMPY\x01";
  header += '\0';
  header += static_cast<char>(literal.size() & 0xff);
  header += static_cast<char>(literal.size() >> 8);
  return header + literal;
}

}  // namespace

Result<NpyWriter> NpyWriter::create(const std::string& path, const RunFiles& files,
                                    std::size_t rows, std::size_t columns) {
  SLUICE_ASSIGN(OutputFile file, OutputFile::create(path, files));
  return NpyWriter(std::move(file), npy_header(rows, columns));
}

Status NpyWriter::write(std::span<const float> row) {
  if (!header_.empty()) SLUICE_TRY(file_.write(std::exchange(header_, {})));
  return file_.write(std::as_bytes(row));
}

}  // namespace sluice::apps
