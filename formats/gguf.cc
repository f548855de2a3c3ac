#include "formats/gguf.h"

#include <array>
#include <cstdio>
#include <utility>

#include "formats/architectures.h"
#include "formats/completion.h"
#include "formats/gguf_header.h"
#include "formats/gguf_metadata.h"
#include "formats/gguf_names.h"
#include "formats/gguf_settings.h"
#include "formats/gguf_tokenizer.h"
#include "formats/header_reader.h"
#include "formats/tensor_collector.h"

namespace sluice {
namespace {

constexpr std::int64_t kMostParts = 99999;  // five digits in the names of a split set

class GgufOpener {
 public:
  explicit GgufOpener(CheckpointParts parts) : parts_(parts) {}

  Result<Checkpoint> open(const std::string& path) {
    SLUICE_ASSIGN(HeaderReader reader, HeaderReader::open(path));
    SLUICE_ASSIGN(const GgufHeader header, read_gguf_header(reader));
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
    SLUICE_ASSIGN(std::vector<GgufEntry> entries, read_gguf_entries(reader, count, metadata));
    for (GgufEntry& entry : entries) {
      entry.info.ranges.front().file = file;
      if (const Status status = add(std::move(entry)); !status.ok()) {
        return status.with_context(reader.path());
      }
    }
    tensor_count_ += count;
    return {};
  }

  Status add(GgufEntry entry) {
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
      SLUICE_ASSIGN(const GgufHeader header, read_gguf_header(reader));
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
