#include "formats/safetensors.h"

#include <array>
#include <filesystem>
#include <map>
#include <optional>
#include <set>
#include <utility>

#include "formats/header_reader.h"
#include "formats/json.h"
#include "formats/tensor_collector.h"

namespace sluice {
namespace {

constexpr std::uint64_t kLengthBytes = 8;
constexpr std::uint64_t kLongestHeader = 100'000'000;  // the format's own limit
constexpr std::uint64_t kLongestIndex = std::uint64_t{64} << 20;
constexpr std::size_t kMostDimensions = 8;

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

class HeaderParser {
 public:
  HeaderParser(std::string path, std::string_view text, std::uint64_t data_size, std::uint32_t file)
      : path_(std::move(path)), text_(text), data_size_(data_size), file_(file) {}

  Result<std::vector<SafetensorsTensor>> parse() {
    SLUICE_ASSIGN(const nlohmann::json header, parse_json(text_, path_, kLengthBytes));
    if (!header.is_object()) {
      return Status(ErrorCode::kCorrupt, path_ + ": header at byte 8: not a JSON object");
    }
    std::vector<SafetensorsTensor> tensors;
    tensors.reserve(header.size());
    for (const auto& [name, entry] : header.items()) {
      if (name == "__metadata__") continue;
      SLUICE_ASSIGN(SafetensorsTensor tensor, parse_tensor(name, entry));
      if (tensor.info.ranges.front().bytes > 0) tensors.push_back(std::move(tensor));
    }
    return tensors;
  }

 private:
  Status corrupt(const std::string& name, std::string_view message) const {
    // The document has lost its offsets; on this path there is time to look the name up again.
    const std::size_t at = text_.find('"' + name + '"');
    const std::uint64_t offset = kLengthBytes + (at == std::string_view::npos ? 0 : at);
    return Status(ErrorCode::kCorrupt, path_ + ": tensor '" + name + "' at byte " +
                                           std::to_string(offset) + ": " + std::string(message));
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
    const std::uint64_t data = kLengthBytes + text_.size();
    SafetensorsTensor tensor{{name, TensorType::kF32, {}, {}}, {}};
    tensor.info.ranges.push_back({file_, data + *begin, *end - *begin});
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

  std::string path_;
  std::string_view text_;
  std::uint64_t data_size_;
  std::uint32_t file_;
};

/// "model.safetensors.index.json": tensor → file.
Result<std::map<std::string, std::string>> read_index(const std::string& path) {
  SLUICE_ASSIGN(const nlohmann::json index, read_json_object(path, kLongestIndex));
  const nlohmann::json* weights = json_member(index, "weight_map");
  if (weights == nullptr || !weights->is_object() || weights->empty()) {
    return Status(ErrorCode::kCorrupt, path + ": 'weight_map' is missing or empty");
  }
  std::map<std::string, std::string> files;
  for (const auto& [name, file] : weights->items()) {
    if (!file.is_string()) {
      return Status(ErrorCode::kCorrupt, path + ": the file of '" + name + "' is not a text");
    }
    const auto& text = file.get_ref<const std::string&>();
    // A name in the folder, not a way out of it.
    if (text.empty() || text.find('/') != std::string::npos || text.starts_with('.') ||
        text.find('\0') != std::string::npos) {
      return Status(ErrorCode::kCorrupt, path + ": '" + text + "' is not the name of a shard");
    }
    files.emplace(name, text);
  }
  return files;
}

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

Result<std::vector<SafetensorsTensor>> read_safetensors(const std::string& path,
                                                        std::uint32_t file) {
  SLUICE_ASSIGN(HeaderReader reader, HeaderReader::open(path));
  SLUICE_ASSIGN(const auto length, reader.read<std::uint64_t>("header length"));
  if (length < 2 || length > kLongestHeader || length > reader.remaining()) {
    return reader.corrupt("header length", std::to_string(length) + " is out of range");
  }
  SLUICE_ASSIGN(AlignedBuffer text, AlignedBuffer::allocate(static_cast<std::size_t>(length)));
  SLUICE_TRY(reader.read(std::span(text.data(), static_cast<std::size_t>(length)), "header"));
  const std::string_view view(reinterpret_cast<const char*>(text.data()),
                              static_cast<std::size_t>(length));
  return HeaderParser(path, view, reader.remaining(), file).parse();
}

Result<std::vector<SafetensorsTensor>> read_safetensors_folder(const std::string& folder,
                                                               std::vector<std::string>& files) {
  const std::filesystem::path base(folder);
  const std::filesystem::path single = base / "model.safetensors";
  const std::filesystem::path index_path = base / "model.safetensors.index.json";
  std::error_code ignored;
  if (std::filesystem::exists(single, ignored)) {
    files.push_back(single.string());
    return read_safetensors(files.back(), static_cast<std::uint32_t>(files.size() - 1));
  }
  if (!std::filesystem::exists(index_path, ignored)) return no_weights(base);
  SLUICE_ASSIGN(const auto index, read_index(index_path.string()));
  std::set<std::string> shards;
  for (const auto& [name, shard] : index) shards.insert(shard);
  std::vector<SafetensorsTensor> tensors;
  for (const std::string& shard : shards) {
    files.push_back((base / shard).string());
    SLUICE_ASSIGN(auto part,
                  read_safetensors(files.back(), static_cast<std::uint32_t>(files.size() - 1)));
    for (SafetensorsTensor& tensor : part) {
      const auto found = index.find(tensor.info.name);
      if (found != index.end() && found->second == shard) tensors.push_back(std::move(tensor));
    }
  }
  std::set<std::string_view> present;
  for (const SafetensorsTensor& tensor : tensors) present.insert(tensor.info.name);
  for (const auto& [name, shard] : index) {
    if (!present.contains(name)) {
      return Status(ErrorCode::kCorrupt, (base / shard).string() + ": tensor '" + name +
                                             "', which the index places here, is missing");
    }
  }
  return tensors;
}

}  // namespace sluice
