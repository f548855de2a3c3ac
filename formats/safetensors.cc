#include "formats/safetensors.h"

#include <algorithm>
#include <array>
#include <filesystem>
#include <map>
#include <optional>
#include <utility>

#include "formats/header_reader.h"
#include "formats/json.h"
#include "formats/tensor_collector.h"

namespace sluice {
namespace {

constexpr std::uint64_t kLongestHeader = 100'000'000;  // the format's own limit
constexpr std::uint64_t kLongestIndex = std::uint64_t{64} << 20;
constexpr std::size_t kMostDimensions = 8;
constexpr std::size_t kLongestName = 1024;

struct Dtype {
  std::string_view name;
  TensorType type;
};
constexpr auto kDtypes = std::to_array<Dtype>({
    {"F32", TensorType::kF32},
    {"F16", TensorType::kF16},
    {"BF16", TensorType::kBF16},
});

std::optional<TensorType> type_of(std::string_view dtype) {
  for (const Dtype& row : kDtypes) {
    if (row.name == dtype) return row.type;
  }
  return std::nullopt;
}

std::optional<std::uint64_t> as_unsigned(const nlohmann::json& value) {
  if (!value.is_number_unsigned()) return std::nullopt;
  return value.get<std::uint64_t>();
}

/// The header while it is read: each tensor is handed on as soon as its entry is whole.
class HeaderParser : public JsonBuilder {
 public:
  HeaderParser(std::uint64_t data_begin, std::uint64_t data_size, std::uint32_t file,
               const TakeTensor& take)
      : data_begin_(data_begin), data_size_(data_size), file_(file), take_(take) {}

  /// What the taker said to a tensor.
  const Status& refusal() const { return refusal_; }

 protected:
  Fate fate_of(nlohmann::json& value) override {
    if (depth() == 0 && !value.is_object()) return stop("header: not a JSON object");
    if (depth() < 2 || key_at(1) != kMetadata) return Fate::kKeep;
    return value.is_string() ? Fate::kDrop
                             : stop("'__metadata__' holds something other than texts");
  }

  bool finish_member(nlohmann::json& header, const std::string& name) override {
    const nlohmann::json entry = std::move(header[name]);
    header.erase(name);
    if (name == kMetadata) return true;
    if (name.size() > kLongestName) {
      return fail("a tensor's name of " + std::to_string(name.size()) + " bytes, more than " +
                  std::to_string(kLongestName));
    }
    auto tensor = parse_tensor(name, entry);
    if (!tensor.ok()) return fail(tensor.status().message());
    if (tensor->info.ranges.front().bytes == 0) return true;
    refusal_ = take_(*std::move(tensor));
    return refusal_.ok() || fail(refusal_.message());
  }

 private:
  static constexpr std::string_view kMetadata = "__metadata__";

  Fate stop(std::string message) {
    fail(std::move(message));
    return Fate::kStop;
  }

  static Status corrupt(const std::string& name, const std::string& message) {
    return Status(ErrorCode::kCorrupt, "tensor '" + name + "': " + message);
  }

  Result<SafetensorsTensor> parse_tensor(const std::string& name, const nlohmann::json& entry) {
    const nlohmann::json* dtype = json_member(entry, "dtype");
    const nlohmann::json* shape = json_member(entry, "shape");
    const nlohmann::json* offsets = json_member(entry, "data_offsets");
    if (dtype == nullptr || !dtype->is_string()) return corrupt(name, "'dtype' is not a text");
    if (shape == nullptr || !shape->is_array() || shape->size() > kMostDimensions) {
      return corrupt(name, "'shape' is not a list of at most 8 extents");
    }
    if (offsets == nullptr || !offsets->is_array() || offsets->size() != 2) {
      return corrupt(name, "'data_offsets' is not a pair");
    }
    const auto begin = as_unsigned((*offsets)[0]);
    const auto end = as_unsigned((*offsets)[1]);
    if (!begin || !end || *begin > *end || *end > data_size_) {
      return corrupt(name, "'data_offsets' " + offsets->dump() + " do not lie in the file's " +
                               std::to_string(data_size_) + " bytes of data; is it whole?");
    }
    SafetensorsTensor tensor{{name, TensorType::kF32, {}, {}}, {}};
    tensor.info.ranges.push_back({file_, data_begin_ + *begin, *end - *begin});
    bool empty = false;
    for (const nlohmann::json& element : *shape) {
      const auto extent = as_unsigned(element);
      if (!extent) return corrupt(name, "'shape' holds something other than extents");
      empty = empty || *extent == 0;
      tensor.info.shape.push_back(*extent);
    }
    if (tensor.info.shape.empty()) tensor.info.shape.push_back(1);
    const auto type = type_of(dtype->get_ref<const std::string&>());
    if (!type) {
      tensor.foreign = dtype->get<std::string>();
      return tensor;
    }
    tensor.info.type = *type;
    std::uint64_t bytes = 0;
    if (!empty) {
      const auto size = checked_tensor_bytes(tensor_format(*type), tensor.info.shape);
      if (!size.ok()) return corrupt(name, size.status().message());
      bytes = *size;
    }
    if (bytes != *end - *begin) {
      return corrupt(name, "'data_offsets' span " + std::to_string(*end - *begin) +
                               " bytes, but its shape and dtype need " + std::to_string(bytes));
    }
    return tensor;
  }

  std::uint64_t data_begin_;
  std::uint64_t data_size_;
  std::uint32_t file_;
  const TakeTensor& take_;
  Status refusal_;
};

/// model.safetensors.index.json while it is read: which shard each tensor is in.
class ShardIndex : public JsonBuilder {
 public:
  const std::vector<std::string>& shards() const { return shards_; }

  /// REQUIRES: sorted. Whether the index places the tensor into this shard.
  bool claim(std::string_view name, std::size_t shard) {
    const auto found = std::ranges::lower_bound(places_, name, {}, &Place::name);
    if (found == places_.end() || found->name != name || found->shard != shard) return false;
    found->claimed = true;
    return true;
  }
  void sort() { std::ranges::sort(places_, {}, &Place::name); }
  bool empty() const { return places_.empty(); }
  /// A tensor that is nowhere, and its shard.
  std::optional<std::pair<std::string, std::string>> missing() const {
    const auto found = std::ranges::find(places_, false, &Place::claimed);
    if (found == places_.end()) return std::nullopt;
    return std::pair(found->name, shards_[found->shard]);
  }

 protected:
  Fate fate_of(nlohmann::json& value) override {
    if (depth() != 2 || key_at(1) != "weight_map") return Fate::kKeep;
    if (!value.is_string()) {
      fail("the file of '" + coming_key() + "' is not a text");
      return Fate::kStop;
    }
    const auto& shard = value.get_ref<const std::string&>();
    // A name in the folder, not a way out of it.
    if (shard.empty() || shard.find('/') != std::string::npos || shard.starts_with('.') ||
        shard.find('\0') != std::string::npos) {
      fail("'" + shard + "' is not the name of a shard");
      return Fate::kStop;
    }
    const auto [known, fresh] = numbers_.try_emplace(shard, shards_.size());
    if (fresh) shards_.push_back(shard);
    places_.push_back({coming_key(), known->second, false});
    return Fate::kDrop;
  }

 private:
  struct Place {
    std::string name;
    std::size_t shard;
    bool claimed;
  };
  std::vector<Place> places_;
  std::vector<std::string> shards_;
  std::map<std::string, std::size_t, std::less<>> numbers_;
};

Status no_weights(const std::filesystem::path& folder) {
  std::string message =
      folder.string() + ": no model.safetensors and no model.safetensors.index.json";
  std::error_code ignored;
  for (const std::string_view other : {"pytorch_model.bin", "pytorch_model.bin.index.json"}) {
    if (std::filesystem::exists(folder / other, ignored)) {
      message += "; PyTorch's .bin files are not read, convert them to safetensors";
      break;
    }
  }
  return Status(ErrorCode::kNotFound, std::move(message));
}

}  // namespace

Status read_safetensors(const std::string& path, std::uint32_t file, const TakeTensor& take) {
  SLUICE_ASSIGN(HeaderReader reader, HeaderReader::open(path));
  SLUICE_ASSIGN(const auto length, reader.read<std::uint64_t>("header length"));
  if (length < 2 || length > kLongestHeader || length > reader.remaining()) {
    return reader.corrupt("header length", std::to_string(length) + " is out of range");
  }
  HeaderParser parser(reader.position() + length, reader.remaining() - length, file, take);
  const Status status = parser.parse(reader, length);
  return parser.refusal().ok() ? status : parser.refusal().with_context(path);
}

Status read_safetensors_folder(const std::string& folder, std::vector<std::string>& files,
                               const TakeTensor& take) {
  const std::filesystem::path base(folder);
  const std::filesystem::path single = base / "model.safetensors";
  const std::filesystem::path index_path = base / "model.safetensors.index.json";
  std::error_code ignored;
  if (std::filesystem::exists(single, ignored)) {
    files.push_back(single.string());
    return read_safetensors(files.back(), static_cast<std::uint32_t>(files.size() - 1), take);
  }
  if (!std::filesystem::exists(index_path, ignored)) return no_weights(base);
  ShardIndex index;
  SLUICE_ASSIGN(HeaderReader reader, open_whole_file(index_path.string(), kLongestIndex));
  SLUICE_TRY(index.parse(reader, reader.file_size()));
  if (index.empty()) {
    return Status(ErrorCode::kCorrupt, index_path.string() + ": 'weight_map' is missing or empty");
  }
  index.sort();
  for (std::size_t shard = 0; shard < index.shards().size(); ++shard) {
    files.push_back((base / index.shards()[shard]).string());
    const auto take_own = [&](SafetensorsTensor tensor) {
      return index.claim(tensor.info.name, shard) ? take(std::move(tensor)) : Status();
    };
    SLUICE_TRY(
        read_safetensors(files.back(), static_cast<std::uint32_t>(files.size() - 1), take_own));
  }
  if (const auto missing = index.missing()) {
    return Status(ErrorCode::kCorrupt, (base / missing->second).string() + ": tensor '" +
                                           missing->first +
                                           "', which the index places here, is missing");
  }
  return {};
}

}  // namespace sluice
