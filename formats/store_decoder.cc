#include <algorithm>
#include <limits>
#include <string>
#include <utility>

#include "formats/cbor.h"
#include "formats/index_field.h"
#include "formats/store_codec.h"
#include "formats/store_layout_check.h"
#include "formats/store_tokenizer.h"
#include "formats/store_words.h"

namespace sluice {
namespace {

constexpr std::size_t kLongestName = 1024;
constexpr std::size_t kMostDimensions = 8;

TensorType type_of(const IndexField& field) {
  const std::string name = field.text();
  for (const TensorFormat& format : tensor_formats()) {
    if (format.name == name) return format.type;
  }
  field.fail("'" + name + "' is no number format that this version knows: update Sluice",
             ErrorCode::kUnsupported);
  return TensorType::kF32;
}

std::int64_t integer_of(const IndexField& field) {
  const nlohmann::json& value = field.value();
  const bool fits = value.is_number_integer() &&
                    (!value.is_number_unsigned() ||
                     value.get<std::uint64_t>() <=
                         static_cast<std::uint64_t>(std::numeric_limits<std::int64_t>::max()));
  if (fits) return value.get<std::int64_t>();
  field.fail("is not an integer of 64 bits");
  return 0;
}

double real_of(const IndexField& field) {
  if (field.value().is_number_float()) return field.value().get<double>();
  field.fail("is not a real number");
  return 0;
}

Setting setting_of(const IndexField& field) {
  const nlohmann::json& value = field.value();
  if (value.is_boolean()) return field.flag();
  if (value.is_string()) return field.text();
  if (value.is_number_float()) return real_of(field);
  if (value.is_number()) return integer_of(field);
  if (const auto list = field.find("reals")) {
    std::vector<double> reals;
    for (const IndexField& element : list->elements()) reals.push_back(real_of(element));
    return reals;
  }
  std::vector<std::int64_t> integers;
  for (const IndexField& element : field["integers"].elements()) {
    integers.push_back(integer_of(element));
  }
  return integers;
}

/// Offset and bytes in turn, all within `end`; twice 0 in the place of one that is not there, where
/// `some` may be missing.
std::vector<FileRange> ranges_of(const IndexField& field, std::uint64_t end, bool some = false) {
  const std::vector<std::uint64_t> numbers = field.numbers();
  std::vector<FileRange> ranges;
  if (numbers.empty() || numbers.size() % 2 != 0) field.fail("does not hold pairs");
  for (std::size_t i = 0; i + 1 < numbers.size() && !field.failed(); i += 2) {
    const std::uint64_t offset = numbers[i], bytes = numbers[i + 1];
    const bool missing = some && bytes == 0 && offset == 0;
    if ((bytes == 0 && !missing) || offset > end || bytes > end - offset) {
      field.fail(std::to_string(bytes) + " bytes at " + std::to_string(offset) + " of " +
                 std::to_string(end));
    }
    ranges.push_back({0, offset, bytes});
  }
  return ranges;
}

class IndexDecoder {
 public:
  IndexDecoder(const nlohmann::json& document, std::uint64_t block_bytes)
      : root_(document, "", failure_), block_bytes_(block_bytes) {}

  Result<StoreIndex> decode(CheckpointParts parts) {
    Checkpoint& checkpoint = index_.checkpoint;
    checkpoint.container = root_["packed_by"]["container"].text();
    checkpoint.architecture = root_["architecture"].text();
    for (const auto& [key, field] : root_["settings"].members()) {
      checkpoint.settings.emplace(key, setting_of(field));
    }
    for (const auto& [key, field] : root_["setting_names"].members()) {
      checkpoint.setting_names.emplace(key, field.text());
    }
    checkpoint.tokenizer = decode_tokenizer(root_["tokenizer"]);
    if (parts == CheckpointParts::kEverything && failure_.ok()) {
      read_blocks();
      for (const auto& [name, field] : root_["tensors"].members()) read_tensor(name, field);
    }
    SLUICE_TRY(failure_);
    return std::move(index_);
  }

 private:
  void read_blocks() {
    const IndexField field = root_["blocks"];
    std::uint64_t end = 0;
    for (const FileRange& range : ranges_of(field, block_bytes_)) {
      if (range.offset % kStoreRangeAlignment != 0 || range.offset < end) {
        field.fail("the one at " + std::to_string(range.offset) +
                   " does not begin at a multiple of 64 behind the one before it");
        return;
      }
      index_.blocks.push_back({range.offset, range.bytes});
      end = range.offset + range.bytes;
    }
  }

  /// Ranges of a tensor, each within a block.
  std::vector<FileRange> blocks_ranges(const IndexField& field, bool some = false) const {
    std::vector<FileRange> ranges = ranges_of(field, block_bytes_, some);
    for (const FileRange& range : ranges) {
      if (range.bytes == 0) continue;
      const auto after =
          std::ranges::upper_bound(index_.blocks, range.offset, {}, &StoreBlock::offset);
      const bool inside =
          after != index_.blocks.begin() &&
          range.offset + range.bytes <= std::prev(after)->offset + std::prev(after)->bytes;
      if (!inside) {
        field.fail(std::to_string(range.bytes) + " bytes at " + std::to_string(range.offset) +
                   " are not in one block");
        break;
      }
    }
    return ranges;
  }

  void read_tensor(const std::string& name, const IndexField& field) {
    if (failure_.ok() && (name.empty() || name.size() > kLongestName)) {
      field.fail("its name is out of range");
    }
    if (!failure_.ok()) return;
    TensorInfo tensor{name, type_of(field["type"]), field["shape"].numbers(), {}};
    if (const auto nested = field.find("nested")) tensor.nested = read_nested(*nested);
    if (!tensor.nested || field.find("ranges")) tensor.ranges = blocks_ranges(field["ranges"]);
    if (tensor.shape.empty() || tensor.shape.size() > kMostDimensions) {
      field["shape"].fail("does not have 1 to 8 extents");
    }
    if (const auto stored = field.find("stored")) tensor.stored = read_layout(*stored);
    if (!failure_.ok()) return;
    if (const Status status = check_stored_tensor(tensor); !status.ok()) {
      field.fail(status.message(), status.code());
      return;
    }
    index_.checkpoint.tensors.emplace(name, std::move(tensor));
  }

  NestedRanges read_nested(const IndexField& field) const {
    const std::string name = field["form"].text();
    const NestedForm* const form = find_nested_form(name);
    if (form == nullptr) {
      field.fail("'" + name + "' is no form of planes that this version knows: update Sluice",
                 ErrorCode::kUnsupported);
    }
    return {form, blocks_ranges(field["ranges"], /*some=*/true)};
  }

  StoredLayout read_layout(const IndexField& field) const {
    StoredLayout layout;
    layout.code = static_cast<StoredCode>(field["code"].word(store_words::kCodes));
    layout.type = type_of(field["type"]);
    layout.rows = field["rows"].number();
    layout.columns = field["columns"].number();
    layout.offset = field["offset"].number();
    layout.unit_stride = field["unit_stride"].number();
    layout.row_stride = field["row_stride"].number();
    layout.column_stride = field["column_stride"].number();
    layout.stored_columns = field["stored_columns"].number();
    layout.arithmetic =
        static_cast<StoredArithmetic>(field["arithmetic"].word(store_words::kArithmetics));
    const auto scales = field.find("scales");
    if (!scales) return layout;
    layout.scales = blocks_ranges(*scales);
    layout.scale_type = type_of(field["scale_type"]);
    layout.block_rows = field["block_rows"].number();
    layout.block_columns = field["block_columns"].number();
    return layout;
  }

  Status failure_;
  IndexField root_;
  std::uint64_t block_bytes_;
  StoreIndex index_;
};

}  // namespace

Result<StoreIndex> decode_store_index(std::span<const std::byte> index, std::uint64_t block_bytes,
                                      CheckpointParts parts) {
  SLUICE_ASSIGN(const nlohmann::json document, read_cbor(index));
  return IndexDecoder(document, block_bytes).decode(parts);
}

}  // namespace sluice
