#include "formats/stored_layout.h"

#include <array>
#include <cmath>
#include <cstring>
#include <string>
#include <utility>
#include <vector>

#include "base/half.h"

namespace sluice {
namespace {

constexpr std::uint64_t kMxfp4Elements = 32;
constexpr std::uint64_t kMxfp4Codes = 16;  // bytes of a block without its exponent

Status corrupt(const TensorInfo& tensor, const std::string& what) {
  return Status(ErrorCode::kCorrupt, "tensor '" + tensor.name + "': " + what);
}

std::array<float, 256> f8_values() {
  std::array<float, 256> values{};
  for (int code = 0; code < 256; ++code)
    values[code] = f8_e4m3_to_float(static_cast<std::uint8_t>(code));
  return values;
}

std::uint64_t units_of(const TensorInfo& tensor) {
  const StoredLayout& stored = *tensor.stored;
  return tensor.elements() / (stored.rows * stored.columns * tensor.ranges.size());
}

/// Runs over the range's numbers in the order in which they are wanted: place(stored index).
template <typename Place>
void for_each_number(const TensorInfo& tensor, Place place) {
  const StoredLayout& stored = *tensor.stored;
  const std::uint64_t units = units_of(tensor);
  for (std::uint64_t unit = 0; unit < units; ++unit) {
    for (std::uint64_t row = 0; row < stored.rows; ++row) {
      const std::uint64_t start =
          stored.offset + unit * stored.unit_stride + row * stored.row_stride;
      for (std::uint64_t column = 0; column < stored.columns; ++column) {
        place(start + column * stored.column_stride);
      }
    }
  }
}

/// One past the last stored number that is asked for.
std::uint64_t reach(const TensorInfo& tensor) {
  const StoredLayout& stored = *tensor.stored;
  return stored.offset + (units_of(tensor) - 1) * stored.unit_stride +
         (stored.rows - 1) * stored.row_stride + (stored.columns - 1) * stored.column_stride + 1;
}

Status misfit(const TensorInfo& tensor, std::uint64_t bytes, std::uint64_t scale_bytes) {
  std::string what = "its range holds " + std::to_string(bytes) + " bytes";
  if (scale_bytes != 0) what += " and its scales " + std::to_string(scale_bytes);
  return corrupt(tensor, what);
}

/// Blocks of scales in a range: downwards and across.
struct Grid {
  std::uint64_t rows, columns;
};
Grid grid_of(const StoredLayout& stored, std::uint64_t bytes) {
  const std::uint64_t rows = bytes / stored.stored_columns;
  return {(rows + stored.block_rows - 1) / stored.block_rows,
          (stored.stored_columns + stored.block_columns - 1) / stored.block_columns};
}

template <typename T>
T load(const std::byte* bytes, std::uint64_t index) {
  T value;
  std::memcpy(&value, bytes + index * sizeof value, sizeof value);
  return value;
}

/// use(number), where number(i) is the i-th number that the range holds. Nothing of the range's
/// size is allocated, but for types whose numbers come in blocks.
template <typename Use>
Status with_plain_numbers(const TensorInfo& tensor, std::span<const std::byte> bytes,
                          const Use& use) {
  const TensorFormat& format = tensor_format(tensor.stored->type);
  const std::uint64_t count = bytes.size() / format.block_bytes * format.block_elements;
  const std::byte* const data = bytes.data();
  switch (format.type) {
    case TensorType::kF32:
      return use([=](std::uint64_t i) { return load<float>(data, i); });
    case TensorType::kF16:
      return use([=](std::uint64_t i) { return half_to_float(load<std::uint16_t>(data, i)); });
    case TensorType::kBF16:
      return use([=](std::uint64_t i) { return bf16_to_float(load<std::uint16_t>(data, i)); });
    default: {
      std::vector<float> values(count);
      format.decode(data, values.data(), count);
      return use([&](std::uint64_t i) { return values[i]; });
    }
  }
}

template <typename Use>
Status with_f8_numbers(const TensorInfo& tensor, std::span<const std::byte> bytes,
                       std::span<const std::byte> scales, const Use& use) {
  static const std::array<float, 256> kValues = f8_values();
  const StoredLayout& stored = *tensor.stored;
  const auto [grid_rows, grid_columns] = grid_of(stored, bytes.size());
  std::vector<float> grid(grid_rows * grid_columns);
  tensor_format(stored.scale_type).decode(scales.data(), grid.data(), grid.size());
  return use([&, across = grid_columns](std::uint64_t i) {
    const std::uint64_t row = i / stored.stored_columns, column = i % stored.stored_columns;
    return kValues[std::to_integer<std::uint8_t>(bytes[i])] *
           grid[row / stored.block_rows * across + column / stored.block_columns];
  });
}

template <typename Use>
Status with_numbers(const TensorInfo& tensor, std::span<const std::byte> bytes,
                    std::span<const std::byte> scales, const Use& use) {
  return tensor.stored->code == StoredCode::kType ? with_plain_numbers(tensor, bytes, use)
                                                  : with_f8_numbers(tensor, bytes, scales, use);
}

/// Blocks of MXFP4 as the rest of Sluice has them: the exponent, then 16 bytes of which byte i
/// holds elements i and i + 16.
void relay_mxfp4(const TensorInfo& tensor, std::span<const std::byte> codes,
                 std::span<const std::byte> exponents, std::span<std::byte> out) {
  const StoredLayout& stored = *tensor.stored;
  std::byte* to = out.data();
  for (std::uint64_t unit = 0; unit < units_of(tensor); ++unit) {
    for (std::uint64_t row = 0; row < stored.rows; ++row) {
      const std::uint64_t start =
          (stored.offset + unit * stored.unit_stride + row * stored.row_stride) / kMxfp4Elements;
      for (std::uint64_t block = start; block < start + stored.columns / kMxfp4Elements; ++block) {
        const std::byte* from = codes.data() + block * kMxfp4Codes;
        *to++ = exponents[block];
        for (std::uint64_t i = 0; i < kMxfp4Codes; ++i) {
          const auto nibble = [&](std::uint64_t element) {
            const auto pair = std::to_integer<unsigned>(from[element / 2]);
            return element % 2 == 0 ? pair & 0xf : pair >> 4;
          };
          *to++ = static_cast<std::byte>(nibble(i) | nibble(i + kMxfp4Codes) << 4);
        }
      }
    }
  }
}

float apply(StoredArithmetic arithmetic, float value) {
  switch (arithmetic) {
    case StoredArithmetic::kNone:
      break;
    case StoredArithmetic::kPlusOne:
      return value + 1;
    case StoredArithmetic::kMinusExp:
      return -std::exp(value);
  }
  return value;
}

}  // namespace

std::uint64_t relaid_bytes(const TensorInfo& tensor) {
  return tensor_format(tensor.type).bytes(tensor.elements() / tensor.ranges.size());
}

Status check_range(const TensorInfo& tensor, std::uint64_t bytes, std::uint64_t scale_bytes) {
  const StoredLayout& stored = *tensor.stored;
  bool fits = false;
  switch (stored.code) {
    case StoredCode::kType: {
      const TensorFormat& format = tensor_format(stored.type);
      const std::uint64_t count = bytes / format.block_bytes * format.block_elements;
      fits = format.bytes(count) == bytes && reach(tensor) <= count;
      break;
    }
    case StoredCode::kF8E4M3: {
      const auto [rows, columns] = grid_of(stored, bytes);
      fits = bytes % stored.stored_columns == 0 && reach(tensor) <= bytes &&
             tensor_format(stored.scale_type).bytes(rows * columns) == scale_bytes;
      break;
    }
    case StoredCode::kSplitMxfp4:
      fits = stored.column_stride == 1 && stored.columns % kMxfp4Elements == 0 &&
             stored.offset % kMxfp4Elements == 0 && stored.row_stride % kMxfp4Elements == 0 &&
             stored.unit_stride % kMxfp4Elements == 0 &&
             reach(tensor) <= scale_bytes * kMxfp4Elements && bytes == scale_bytes * kMxfp4Codes;
      break;
  }
  return fits ? Status() : misfit(tensor, bytes, scale_bytes);
}

Status decode_range(const TensorInfo& tensor, std::span<const std::byte> stored,
                    std::span<const std::byte> scales, std::span<float> out) {
  SLUICE_TRY(check_range(tensor, stored.size(), scales.size()));
  if (out.size() != tensor.elements() / tensor.ranges.size()) {
    return corrupt(tensor, "room for " + std::to_string(out.size()) + " numbers");
  }
  if (tensor.stored->code == StoredCode::kSplitMxfp4) {
    std::vector<std::byte> blocks(relaid_bytes(tensor));
    relay_mxfp4(tensor, stored, scales, blocks);
    tensor_format(TensorType::kMXFP4).decode(blocks.data(), out.data(), out.size());
    return {};
  }
  return with_numbers(tensor, stored, scales, [&](const auto& number) -> Status {
    float* to = out.data();
    for_each_number(tensor,
                    [&](std::uint64_t i) { *to++ = apply(tensor.stored->arithmetic, number(i)); });
    return {};
  });
}

Status relay_range(const TensorInfo& tensor, std::span<const std::byte> stored,
                   std::span<const std::byte> scales, std::span<std::byte> out) {
  SLUICE_TRY(check_range(tensor, stored.size(), scales.size()));
  if (out.size() != relaid_bytes(tensor)) {
    return corrupt(tensor, "room for " + std::to_string(out.size()) + " bytes");
  }
  if (tensor.stored->code == StoredCode::kSplitMxfp4) {
    relay_mxfp4(tensor, stored, scales, out);
    return {};
  }
  return with_numbers(tensor, stored, scales, [&](const auto& number) -> Status {
    const auto write = [&](const auto& convert) -> Status {
      std::byte* to = out.data();
      for_each_number(tensor, [&](std::uint64_t i) {
        const auto code = convert(apply(tensor.stored->arithmetic, number(i)));
        std::memcpy(to, &code, sizeof code);
        to += sizeof code;
      });
      return {};
    };
    switch (tensor.type) {
      case TensorType::kF32:
        return write([](float value) { return value; });
      case TensorType::kF16:
        return write(float_to_half);
      case TensorType::kBF16:
        return write(float_to_bf16);
      default:
        return Status(ErrorCode::kUnsupported, "tensor '" + tensor.name +
                                                   "': nothing is relaid into " +
                                                   std::string(tensor_format(tensor.type).name));
    }
  });
}

}  // namespace sluice
