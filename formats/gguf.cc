#include "formats/gguf.h"

#include <array>
#include <bit>
#include <cstdio>
#include <utility>

#include "formats/architectures.h"
#include "formats/completion.h"
#include "formats/gguf_metadata.h"
#include "formats/gguf_names.h"
#include "formats/gguf_settings.h"
#include "formats/gguf_tokenizer.h"
#include "formats/header_reader.h"
#include "formats/tensor_collector.h"

namespace sluice {
namespace {

constexpr std::uint32_t kMagic = 0x46554747;  // "GGUF"
constexpr std::uint64_t kMostPairs = std::uint64_t{1} << 16;
constexpr std::uint64_t kMostTensors = std::uint64_t{1} << 20;
constexpr std::uint64_t kLeastPairBytes = 8 + 1 + 4 + 1;
constexpr std::uint64_t kLeastTensorBytes = 8 + 1 + 4 + 8 + 4 + 8;
constexpr std::uint64_t kLongestTensorName = 255;
constexpr std::uint32_t kMostDimensions = 4;
constexpr std::int64_t kMostParts = 99999;  // five digits in the names of a split set

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

struct Header {
  std::uint32_t version = 0;
  std::uint64_t tensor_count = 0;
  std::uint64_t pair_count = 0;
};

Result<Header> read_header(HeaderReader& reader) {
  Header header;
  SLUICE_ASSIGN(const auto magic, reader.read<std::uint32_t>("magic"));
  if (magic != kMagic) return reader.corrupt("magic", "not a GGUF file");
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

/// What a tensor's entry in the header says, before the place of the data is known.
struct TensorEntry {
  TensorInfo info;
  std::string_view foreign;  // the format's name where our table lacks it
  std::uint64_t field = 0;   // byte of its offset field
};

Result<TensorEntry> read_tensor_entry(HeaderReader& reader, std::uint64_t alignment) {
  TensorEntry entry;
  TensorInfo& info = entry.info;
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
    entry.foreign = foreign_format(number);
    if (entry.foreign.empty()) {
      return reader.corrupt(field + "format", "number " + std::to_string(number) + " is unknown");
    }
  }
  entry.field = reader.position();
  SLUICE_ASSIGN(const auto offset, reader.read<std::uint64_t>(field + "offset"));
  if (offset % alignment != 0) {
    return reader.corrupt(field + "offset", std::to_string(offset) + " is not a multiple of " +
                                                std::to_string(alignment));
  }
  info.ranges.push_back({0, offset, bytes});
  return entry;
}

class GgufOpener {
 public:
  explicit GgufOpener(CheckpointParts parts) : parts_(parts) {}

  Result<Checkpoint> open(const std::string& path) {
    SLUICE_ASSIGN(HeaderReader reader, HeaderReader::open(path));
    SLUICE_ASSIGN(const Header header, read_header(reader));
    SLUICE_ASSIGN(GgufMetadata metadata, read_gguf_metadata(reader, header.pair_count));
    checkpoint_.files.push_back(path);
    checkpoint_.settings_file = path;
    checkpoint_.container = "GGUF v" + std::to_string(header.version);
    if (const Status status = take_settings(metadata); !status.ok()) {
      return status.with_context(path);
    }
    const Architecture* architecture = find_architecture(checkpoint_.architecture);
    if (const Status status = translate_gguf_settings(checkpoint_, architecture); !status.ok()) {
      return status.with_context(path);
    }
    if (parts_ == CheckpointParts::kEverything) {
      SLUICE_ASSIGN(const Split split, take_split(metadata, path));
      if (split.count > 1 && split.number != 0) {
        return Status(ErrorCode::kInvalidArgument,
                      path + ": part " + std::to_string(split.number + 1) + " of " +
                          std::to_string(split.count) + "; open the first part instead");
      }
      SLUICE_TRY(read_tensors(reader, header.tensor_count, metadata, 0));
      if (split.count > 1) SLUICE_TRY(read_parts(path, split));
      if (const Status status = collector_.finish(checkpoint_); !status.ok()) {
        return status.with_context(path);
      }
      SLUICE_TRY(read_rope_factors());
    }
    if (const Status status = complete_checkpoint(checkpoint_, Container::kGguf, architecture);
        !status.ok()) {
      return status.with_context(path);
    }
    return std::move(checkpoint_);
  }

 private:
  struct Split {
    std::int64_t number = 0;
    std::int64_t count = 1;
    std::optional<std::int64_t> tensors;
  };

  static Result<Split> take_split(GgufMetadata& metadata, const std::string& path) {
    Split split;
    auto number = metadata.take<std::int64_t>("split.no");
    auto count = metadata.take<std::int64_t>("split.count");
    auto tensors = metadata.take<std::int64_t>("split.tensors.count");
    for (const auto* value : {&number, &count, &tensors}) {
      if (!value->ok()) return value->status().with_context(path);
    }
    split.number = number->value_or(0);
    // gguf-split writes a count of 0 or none into a file that stands alone.
    split.count = std::max<std::int64_t>(count->value_or(1), 1);
    split.tensors = *tensors;
    if (split.count > kMostParts || split.number < 0 || split.number >= split.count) {
      return Status(ErrorCode::kCorrupt, path + ": split.no " + std::to_string(split.number) +
                                             " of split.count " + std::to_string(split.count));
    }
    return split;
  }

  /// Architecture, tokenizer, and every other key without the architecture's prefix.
  Status take_settings(GgufMetadata& metadata) {
    SLUICE_ASSIGN(const auto architecture, metadata.take<std::string>("general.architecture"));
    if (!architecture || architecture->empty() || architecture->size() > 64) {
      return Status(ErrorCode::kCorrupt, "general.architecture is missing or no name");
    }
    checkpoint_.architecture = *architecture;
    SLUICE_ASSIGN(checkpoint_.tokenizer, take_gguf_tokenizer(metadata));
    const std::string prefix = *architecture + ".";
    for (auto& [key, value] : metadata.values) {
      if (key.starts_with("split.")) continue;
      std::string name = key.starts_with(prefix) ? key.substr(prefix.size()) : key;
      constexpr std::string_view kSampling = "general.sampling.";
      if (name.starts_with(kSampling)) name = "sampling." + name.substr(kSampling.size());
      if (name == "sampling.temp") name = "sampling.temperature";
      if (name == "sampling.penalty_repeat") name = "sampling.repeat_penalty";
      if (!checkpoint_.settings.try_emplace(name, value).second) {
        return Status(ErrorCode::kCorrupt, "key '" + key + "' appears twice");
      }
    }
    return {};
  }

  Status read_tensors(HeaderReader& reader, std::uint64_t count, GgufMetadata& metadata,
                      std::uint32_t file) {
    const auto chosen = metadata.take<std::int64_t>("general.alignment");
    if (!chosen.ok()) return chosen.status().with_context(reader.path());
    const std::int64_t alignment = chosen->value_or(32);
    if (alignment < 1 || alignment > (1 << 20) ||
        !std::has_single_bit(static_cast<std::uint64_t>(alignment))) {
      return Status(ErrorCode::kCorrupt, reader.path() + ": general.alignment " +
                                             std::to_string(alignment) +
                                             " is not a power of two up to 1048576, as tensors "
                                             "need it: convert the model again, or leave the key "
                                             "out for the usual 32");
    }
    const auto unit = static_cast<std::uint64_t>(alignment);
    std::vector<TensorEntry> entries;
    entries.reserve(static_cast<std::size_t>(count));
    for (std::uint64_t i = 0; i < count; ++i) {
      SLUICE_ASSIGN(TensorEntry entry, read_tensor_entry(reader, unit));
      entries.push_back(std::move(entry));
    }
    const std::uint64_t data = (reader.position() + unit - 1) / unit * unit;
    for (TensorEntry& entry : entries) {
      if (const Status status = place(std::move(entry), data, reader.file_size(), file);
          !status.ok()) {
        return status.with_context(reader.path());
      }
    }
    tensor_count_ += count;
    return {};
  }

  /// Turns an offset in the data into one in the file and hands the tensor on.
  Status place(TensorEntry entry, std::uint64_t data, std::uint64_t file_size, std::uint32_t file) {
    FileRange& range = entry.info.ranges.front();
    if (data > file_size || range.offset > file_size - data ||
        range.bytes > file_size - data - range.offset) {
      return Status(ErrorCode::kCorrupt,
                    "tensor '" + entry.info.name + "', offset at byte " +
                        std::to_string(entry.field) + ": its " + std::to_string(range.bytes) +
                        " bytes at " + std::to_string(range.offset) +
                        " in the data reach beyond the file's " + std::to_string(file_size) +
                        " bytes; is the file whole?");
    }
    range.offset += data;
    range.file = file;
    GgufName name = translate_gguf_name(entry.info.name, checkpoint_.architecture);
    if (name.name.empty()) return {};
    if (!entry.foreign.empty()) {
      collector_.add_unreadable(name.name, entry.foreign);
      return {};
    }
    if (name.expert) return collector_.add_expert(name.name, *name.expert, std::move(entry.info));
    entry.info.name = std::move(name.name);
    return collector_.add(std::move(entry.info));
  }

  Status read_parts(const std::string& first, const Split& split) {
    std::array<char, 32> ending{};
    const auto ending_of = [&](std::int64_t part) {
      std::snprintf(ending.data(), ending.size(), "-%05d-of-%05d.gguf", static_cast<int>(part),
                    static_cast<int>(split.count));
      return std::string_view(ending.data());
    };
    if (!first.ends_with(ending_of(1))) {
      return Status(ErrorCode::kInvalidArgument,
                    first + ": the first of " + std::to_string(split.count) +
                        " parts must be named \"…" + std::string(ending_of(1)) + "\"");
    }
    const std::string stem = first.substr(0, first.size() - ending_of(1).size());
    for (std::int64_t part = 1; part < split.count; ++part) {
      const std::string path = stem + std::string(ending_of(part + 1));
      SLUICE_ASSIGN(HeaderReader reader, HeaderReader::open(path));
      SLUICE_ASSIGN(const Header header, read_header(reader));
      SLUICE_ASSIGN(GgufMetadata metadata, read_gguf_metadata(reader, header.pair_count));
      SLUICE_ASSIGN(const Split own, take_split(metadata, path));
      if (own.number != part || own.count != split.count) {
        return Status(ErrorCode::kCorrupt,
                      path + ": says it is part " + std::to_string(own.number + 1) + " of " +
                          std::to_string(own.count) + ", not " + std::to_string(part + 1) + " of " +
                          std::to_string(split.count));
      }
      checkpoint_.files.push_back(path);
      SLUICE_TRY(
          read_tensors(reader, header.tensor_count, metadata, static_cast<std::uint32_t>(part)));
    }
    if (split.tensors && *split.tensors != static_cast<std::int64_t>(tensor_count_)) {
      return Status(ErrorCode::kCorrupt,
                    first + ": split.tensors.count is " + std::to_string(*split.tensors) +
                        ", but the parts hold " + std::to_string(tensor_count_) + " tensors");
    }
    return {};
  }

  /// Divisors of RoPE's frequencies: numbers of the model's description, though they are kept as
  /// tensors.
  Status read_rope_factors() {
    constexpr std::uint64_t kMost = 1 << 16;
    constexpr std::array<std::pair<std::string_view, std::string_view>, 3> kFactors{
        {{"rope_freqs.weight", "rope.factors"},
         {"rope_factors_short.weight", "rope.factors_short"},
         {"rope_factors_long.weight", "rope.factors_long"}}};
    for (const auto& [name, key] : kFactors) {
      const auto found = checkpoint_.tensors.find(name);
      if (found == checkpoint_.tensors.end()) continue;
      const TensorInfo& tensor = found->second;
      const FileRange& range = tensor.ranges.front();
      const std::string& path = checkpoint_.files[range.file];
      if (tensor.type != TensorType::kF32 || tensor.elements() > kMost) {
        return Status(ErrorCode::kCorrupt,
                      path + ": tensor '" + tensor.name + "' is not a list of floats");
      }
      SLUICE_ASSIGN(HeaderReader reader, HeaderReader::open(path));
      SLUICE_TRY(reader.skip(range.offset, name));
      std::vector<float> values(tensor.elements());
      SLUICE_TRY(reader.read(std::as_writable_bytes(std::span(values)), name));
      checkpoint_.settings.insert_or_assign(std::string(key),
                                            std::vector<double>(values.begin(), values.end()));
      checkpoint_.tensors.erase(found);
    }
    return {};
  }

  CheckpointParts parts_;
  Checkpoint checkpoint_;
  TensorCollector collector_;
  std::uint64_t tensor_count_ = 0;
};

}  // namespace

Result<Checkpoint> open_gguf(const std::string& path, CheckpointParts parts) {
  return GgufOpener(parts).open(path);
}

}  // namespace sluice
