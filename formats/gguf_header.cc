#include "formats/gguf_header.h"

#include <array>
#include <bit>
#include <string>
#include <utility>

#include "base/tensor_format.h"
#include "formats/tensor_collector.h"

namespace sluice {
namespace {

constexpr std::uint64_t kMostPairs = std::uint64_t{1} << 16;
constexpr std::uint64_t kMostTensors = std::uint64_t{1} << 20;
constexpr std::uint64_t kLeastPairBytes = 8 + 1 + 4 + 1;
constexpr std::uint64_t kLeastTensorBytes = 8 + 1 + 4 + 8 + 4 + 8;
constexpr std::uint64_t kLongestTensorName = 255;
constexpr std::uint32_t kMostDimensions = 4;

/// Formats that ggml has and our table lacks, so that such a tensor is known by name and refused
/// only when it is needed.
struct ForeignFormat {
  std::uint32_t number;
  std::string_view name;
};
constexpr auto kForeignFormats = std::to_array<ForeignFormat>({
    {9, "Q8_1"},
    {15, "Q8_K"},
    {40, "NVFP4"},
    {41, "Q1_0"},
});

std::string_view foreign_format(std::uint32_t number) {
  for (const ForeignFormat& format : kForeignFormats) {
    if (format.number == number) return format.name;
  }
  return {};
}

/// An entry before the place of the data is known.
struct PlacedEntry {
  GgufEntry entry;
  std::uint64_t field = 0;  // byte of its offset field
};

Result<PlacedEntry> read_tensor_entry(HeaderReader& reader, std::uint64_t alignment) {
  PlacedEntry placed;
  TensorInfo& info = placed.entry.info;
  SLUICE_ASSIGN(const auto length, reader.read<std::uint64_t>("length of a tensor's name"));
  if (length == 0 || length > kLongestTensorName) {
    return reader.corrupt("length of a tensor's name", std::to_string(length) + " is out of range");
  }
  SLUICE_TRY(reader.read_text(info.name, length, "tensor's name"));
  if (info.name.find('\0') != std::string::npos) {
    return reader.corrupt("tensor's name", "holds a NUL");
  }
  const std::string field = "tensor '" + info.name + "', ";
  SLUICE_ASSIGN(const auto dimensions, reader.read<std::uint32_t>(field + "dimensions"));
  if (dimensions == 0 || dimensions > kMostDimensions) {
    return reader.corrupt(field + "dimensions", std::to_string(dimensions) + " is not 1 to 4");
  }
  info.shape.resize(dimensions);
  for (std::uint32_t i = 0; i < dimensions; ++i) {
    // The file has the innermost first.
    SLUICE_ASSIGN(info.shape[dimensions - 1 - i], reader.read<std::uint64_t>(field + "extent"));
    if (info.shape[dimensions - 1 - i] == 0) return reader.corrupt(field + "extent", "is 0");
  }
  SLUICE_ASSIGN(const auto number, reader.read<std::uint32_t>(field + "format"));
  const TensorFormat* format = find_gguf_format(number);
  std::uint64_t bytes = 0;
  if (format != nullptr) {
    info.type = format->type;
    auto size = checked_tensor_bytes(*format, info.shape);
    if (!size.ok()) return reader.corrupt(field + "extents", size.status().message());
    bytes = *size;
  } else {
    placed.entry.foreign = foreign_format(number);
    if (placed.entry.foreign.empty()) {
      return reader.corrupt(field + "format", "number " + std::to_string(number) + " is unknown");
    }
  }
  placed.field = reader.position();
  SLUICE_ASSIGN(const auto offset, reader.read<std::uint64_t>(field + "offset"));
  if (offset % alignment != 0) {
    return reader.corrupt(field + "offset", std::to_string(offset) + " is not a multiple of " +
                                                std::to_string(alignment));
  }
  info.ranges.push_back({0, offset, bytes});
  return placed;
}

Result<std::uint64_t> take_alignment(GgufMetadata& metadata) {
  SLUICE_ASSIGN(const auto chosen, metadata.take<std::int64_t>("general.alignment"));
  const std::int64_t alignment = chosen.value_or(32);
  if (alignment < 1 || alignment > (1 << 20) ||
      !std::has_single_bit(static_cast<std::uint64_t>(alignment))) {
    return Status(ErrorCode::kCorrupt, "general.alignment " + std::to_string(alignment) +
                                           " is not a power of two up to 1048576, as tensors "
                                           "need it: convert the model again, or leave the key "
                                           "out for the usual 32");
  }
  return static_cast<std::uint64_t>(alignment);
}

/// Turns the offset in the data into one in the file.
Status place(PlacedEntry& placed, std::uint64_t data, const HeaderReader& reader) {
  FileRange& range = placed.entry.info.ranges.front();
  const std::uint64_t file_size = reader.file_size();
  if (data > file_size || range.offset > file_size - data ||
      range.bytes > file_size - data - range.offset) {
    return Status(ErrorCode::kCorrupt,
                  reader.path() + ": tensor '" + placed.entry.info.name + "', offset at byte " +
                      std::to_string(placed.field) + ": its " + std::to_string(range.bytes) +
                      " bytes at " + std::to_string(range.offset) +
                      " in the data reach beyond the file's " + std::to_string(file_size) +
                      " bytes; is the file whole?");
  }
  range.offset += data;
  return {};
}

}  // namespace

Result<GgufHeader> read_gguf_header(HeaderReader& reader) {
  GgufHeader header;
  SLUICE_ASSIGN(const auto magic, reader.read<std::uint32_t>("magic"));
  if (magic != kGgufMagic) return reader.corrupt("magic", "not a GGUF file");
  SLUICE_ASSIGN(header.version, reader.read<std::uint32_t>("version"));
  if (header.version != 0 && (header.version & 0xffff) == 0) {
    return reader.error(ErrorCode::kUnsupported, "version",
                        "the file is big-endian; convert it to little-endian");
  }
  if (header.version != 2 && header.version != 3) {
    return reader.error(
        ErrorCode::kUnsupported, "version",
        "GGUF version " + std::to_string(header.version) + "; only 2 and 3 can be read");
  }
  SLUICE_ASSIGN(header.tensor_count, reader.read<std::uint64_t>("tensor count"));
  if (header.tensor_count > kMostTensors ||
      header.tensor_count > reader.remaining() / kLeastTensorBytes) {
    return reader.corrupt(
        "tensor count", std::to_string(header.tensor_count) + " tensors cannot fit into the file");
  }
  SLUICE_ASSIGN(header.pair_count, reader.read<std::uint64_t>("key-value count"));
  if (header.pair_count > kMostPairs || header.pair_count > reader.remaining() / kLeastPairBytes) {
    return reader.corrupt("key-value count", std::to_string(header.pair_count) +
                                                 " key-values cannot fit into the file");
  }
  return header;
}

Result<std::vector<GgufEntry>> read_gguf_entries(HeaderReader& reader, std::uint64_t count,
                                                 GgufMetadata& metadata) {
  const auto alignment = take_alignment(metadata);
  if (!alignment.ok()) return alignment.status().with_context(reader.path());
  std::vector<PlacedEntry> placed;
  placed.reserve(static_cast<std::size_t>(count));
  for (std::uint64_t i = 0; i < count; ++i) {
    SLUICE_ASSIGN(PlacedEntry entry, read_tensor_entry(reader, *alignment));
    placed.push_back(std::move(entry));
  }
  const std::uint64_t data = (reader.position() + *alignment - 1) / *alignment * *alignment;
  std::vector<GgufEntry> entries;
  entries.reserve(placed.size());
  for (PlacedEntry& entry : placed) {
    SLUICE_TRY(place(entry, data, reader));
    entries.push_back(std::move(entry.entry));
  }
  return entries;
}

}  // namespace sluice
