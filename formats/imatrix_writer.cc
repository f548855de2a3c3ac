#include "formats/imatrix_writer.h"

#include <limits>
#include <string_view>

#include "formats/gguf_header.h"

namespace sluice {
namespace {

constexpr std::uint64_t kAlignment = 32;  // GGUF's, where the file names none
enum Kind : std::uint32_t { kUnsigned = 4, kText = 8, kArray = 9 };
constexpr std::uint32_t kFormatF32 = 0;

std::uint64_t aligned(std::uint64_t bytes) {
  return (bytes + kAlignment - 1) / kAlignment * kAlignment;
}

template <typename T>
void append(std::string& bytes, T number) {
  bytes.append(reinterpret_cast<const char*>(&number), sizeof number);
}

void append_text(std::string& bytes, std::string_view text) {
  append(bytes, std::uint64_t{text.size()});
  bytes += text;
}

void append_key(std::string& bytes, std::string_view key, Kind kind) {
  append_text(bytes, key);
  append(bytes, std::uint32_t{kind});
}

/// An entry of the header for numbers [experts, columns] at `offset`; the offset behind them.
std::uint64_t append_tensor(std::string& bytes, std::string_view name, std::uint64_t experts,
                            std::uint64_t columns, std::uint64_t offset) {
  append_text(bytes, name);
  append(bytes, std::uint32_t{2});
  append(bytes, columns);
  append(bytes, experts);
  append(bytes, kFormatF32);
  append(bytes, offset);
  return aligned(offset + experts * columns * sizeof(float));
}

}  // namespace

Status ImportanceWriter::begin(std::span<const Entry> entries, const Text& text) {
  entries_.assign(entries.begin(), entries.end());
  std::string header;
  append(header, kGgufMagic);
  append(header, std::uint32_t{3});
  append(header, std::uint64_t{2 * entries.size()});
  append(header, std::uint64_t{4});
  append_key(header, "general.type", kText);
  append_text(header, "imatrix");
  append_key(header, "imatrix.datasets", kArray);
  append(header, std::uint32_t{kText});
  append(header, std::uint64_t{1});
  append_text(header, text.name);
  append_key(header, "imatrix.chunk_count", kUnsigned);
  append(header, text.chunks);
  append_key(header, "imatrix.chunk_size", kUnsigned);
  append(header, text.chunk_size);
  std::uint64_t offset = 0;
  for (const Entry& entry : entries_) {
    offset = append_tensor(header, entry.tensor + ".in_sum2", entry.experts, entry.columns, offset);
    offset = append_tensor(header, entry.tensor + ".counts", entry.experts, 1, offset);
  }
  SLUICE_TRY(write(header));
  return pad();
}

Status ImportanceWriter::add(std::span<const double> sums, std::span<const std::uint64_t> counts) {
  const Entry& entry = entries_[added_++];
  std::string row;
  for (std::uint64_t expert = 0; expert < entry.experts; ++expert) {
    row.clear();
    for (const double sum : sums.subspan(expert * entry.columns, entry.columns)) {
      if (!(sum <= double{std::numeric_limits<float>::max()})) {  // or is not a number
        return Status(ErrorCode::kCorrupt,
                      "'" + entry.tensor + "', expert " + std::to_string(expert) +
                          ": the squares of what it reads add up to " + std::to_string(sum));
      }
      append(row, static_cast<float>(sum));
    }
    SLUICE_TRY(write(row));
  }
  SLUICE_TRY(pad());
  row.clear();
  for (const std::uint64_t count : counts) append(row, static_cast<float>(count));
  SLUICE_TRY(write(row));
  return pad();
}

Status ImportanceWriter::write(std::string_view bytes) {
  written_ += bytes.size();
  return sink_(std::as_bytes(std::span(bytes)));
}

Status ImportanceWriter::pad() {
  const std::string zeros(aligned(written_) - written_, '\0');
  return zeros.empty() ? Status() : write(zeros);
}

}  // namespace sluice
