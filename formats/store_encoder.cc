#include <cstdint>
#include <string>
#include <utility>
#include <variant>

#include <nlohmann/json.hpp>

#include "formats/store_codec.h"
#include "formats/store_tokenizer.h"
#include "formats/store_words.h"

namespace sluice {
namespace {

using nlohmann::json;

/// A list says of what it is: an empty one could be of anything, and 1.0 is no integer.
json encode_setting(const Setting& setting) {
  if (const auto* list = std::get_if<std::vector<std::int64_t>>(&setting)) {
    return {{"integers", *list}};
  }
  if (const auto* list = std::get_if<std::vector<double>>(&setting)) return {{"reals", *list}};
  return std::visit([](const auto& value) { return json(value); }, setting);
}

json encode_ranges(const std::vector<FileRange>& ranges) {
  json numbers = json::array();
  for (const FileRange& range : ranges) {
    numbers.push_back(range.offset);
    numbers.push_back(range.bytes);
  }
  return numbers;
}

json encode_layout(const StoredLayout& layout) {
  json stored = {
      {"code", store_words::kCodes[static_cast<std::size_t>(layout.code)]},
      {"type", tensor_format(layout.type).name},
      {"rows", layout.rows},
      {"columns", layout.columns},
      {"offset", layout.offset},
      {"unit_stride", layout.unit_stride},
      {"row_stride", layout.row_stride},
      {"column_stride", layout.column_stride},
      {"stored_columns", layout.stored_columns},
      {"arithmetic", store_words::kArithmetics[static_cast<std::size_t>(layout.arithmetic)]},
  };
  if (layout.scales.empty()) return stored;
  stored["scales"] = encode_ranges(layout.scales);
  stored["scale_type"] = tensor_format(layout.scale_type).name;
  stored["block_rows"] = layout.block_rows;
  stored["block_columns"] = layout.block_columns;
  return stored;
}

json encode_tensor(const TensorInfo& tensor) {
  json entry = {{"type", tensor_format(tensor.type).name}, {"shape", tensor.shape}};
  if (!tensor.ranges.empty()) entry["ranges"] = encode_ranges(tensor.ranges);
  if (tensor.nested) {
    entry["nested"] = {{"form", tensor.nested->form->name},
                       {"ranges", encode_ranges(tensor.nested->groups)}};
  }
  if (tensor.stored) entry["stored"] = encode_layout(*tensor.stored);
  return entry;
}

}  // namespace

std::vector<std::byte> encode_store_index(const StoreIndex& index) {
  const Checkpoint& checkpoint = index.checkpoint;
  json settings = json::object(), names = json::object(), tensors = json::object();
  for (const auto& [key, value] : checkpoint.settings) settings[key] = encode_setting(value);
  for (const auto& [key, name] : checkpoint.setting_names) names[key] = name;
  for (const auto& [name, tensor] : checkpoint.tensors) tensors[name] = encode_tensor(tensor);
  json blocks = json::array();
  for (const StoreBlock& block : index.blocks) {
    blocks.push_back(block.offset);
    blocks.push_back(block.bytes);
  }
  const json document = {
      {"packed_by", {{"program", "Sluice " SLUICE_VERSION}, {"container", checkpoint.container}}},
      {"architecture", checkpoint.architecture},
      {"settings", std::move(settings)},
      {"setting_names", std::move(names)},
      {"tokenizer", encode_tokenizer(checkpoint.tokenizer)},
      {"tensors", std::move(tensors)},
      {"blocks", std::move(blocks)},
  };
  const std::vector<std::uint8_t> cbor = json::to_cbor(document);
  const auto bytes = std::as_bytes(std::span(cbor));
  return {bytes.begin(), bytes.end()};
}

}  // namespace sluice
