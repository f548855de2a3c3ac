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

/// Of one range.
std::uint64_t rows_of(const TensorInfo& tensor) { return units_of(tensor) * tensor.stored->rows; }

/// The stored index of a row's first number. Rows are counted through the range's units.
std::uint64_t row_start(const StoredLayout& stored, std::uint64_t row) {
  return stored.offset + row / stored.rows * stored.unit_stride +
         row % stored.rows * stored.row_stride;
}

/// Runs over the numbers of some rows in the order in which they are wanted: place(stored index).
template <typename Place>
void for_each_number(const StoredLayout& stored, std::uint64_t first_row, std::uint64_t n_rows,
                     Place place) {
  for (std::uint64_t row = first_row; row < first_row + n_rows; ++row) {
    const std::uint64_t start = row_start(stored, row);
    for (std::uint64_t column = 0; column < stored.columns; ++column) {
      place(start + column * stored.column_stride);
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
void with_plain_numbers(const TensorInfo& tensor, std::span<const std::byte> bytes,
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
void with_f8_numbers(const TensorInfo& tensor, std::span<const std::byte> bytes,
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
void with_numbers(const TensorInfo& tensor, std::span<const std::byte> bytes,
                  std::span<const std::byte> scales, const Use& use) {
  tensor.stored->code == StoredCode::kType ? with_plain_numbers(tensor, bytes, use)
                                           : with_f8_numbers(tensor, bytes, scales, use);
}

/// Four bytes with room for another behind each; the first is the lowest.
std::uint64_t spread(std::uint64_t bytes) {
  bytes = (bytes | bytes << 16) & 0x0000ffff0000ffff;
  return (bytes | bytes << 8) & 0x00ff00ff00ff00ff;
}

/// Sixteen bytes that hold neighbours each into as many of which byte i holds elements i and i +
/// 16; eight bytes at a time, since experts wait for it.
void turn_codes(const std::byte* from, std::byte* to) {
  constexpr std::uint64_t kLow = 0x0f0f0f0f0f0f0f0f, kFour = 0xffffffff;
  const auto front = load<std::uint64_t>(from, 0), back = load<std::uint64_t>(from, 1);
  const std::uint64_t even = (front & kLow) | (back & kLow) << 4;
  const std::uint64_t odd = (front >> 4 & kLow) | (back & ~kLow);
  const std::uint64_t turned[] = {spread(even & kFour) | spread(odd & kFour) << 8,
                                  spread(even >> 32) | spread(odd >> 32) << 8};
  std::memcpy(to, turned, sizeof(turned));
}

/// Blocks of MXFP4 as the rest of Sluice has them: the exponent, then its codes.
void relay_mxfp4(const TensorInfo& tensor, std::span<const std::byte> codes,
                 std::span<const std::byte> exponents, std::uint64_t first_row,
                 std::uint64_t n_rows, std::byte* to) {
  const StoredLayout& stored = *tensor.stored;
  const std::uint64_t blocks = stored.columns / kMxfp4Elements;
  for (std::uint64_t row = first_row; row < first_row + n_rows; ++row) {
    const std::uint64_t first = row_start(stored, row) / kMxfp4Elements;
    const std::byte* from = codes.data() + first * kMxfp4Codes;
    for (std::uint64_t block = 0; block < blocks; ++block) {
      *to = exponents[first + block];
      turn_codes(from, to + 1);
      from += kMxfp4Codes;
      to += 1 + kMxfp4Codes;
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
    relay_mxfp4(tensor, stored, scales, 0, rows_of(tensor), blocks.data());
    tensor_format(TensorType::kMXFP4).decode(blocks.data(), out.data(), out.size());
    return {};
  }
  with_numbers(tensor, stored, scales, [&](const auto& number) {
    float* to = out.data();
    for_each_number(*tensor.stored, 0, rows_of(tensor),
                    [&](std::uint64_t i) { *to++ = apply(tensor.stored->arithmetic, number(i)); });
  });
  return {};
}

void relay_rows(const TensorInfo& tensor, std::span<const std::byte> stored,
                std::span<const std::byte> scales, std::uint64_t first_row, std::uint64_t n_rows,
                std::byte* out) {
  if (tensor.stored->code == StoredCode::kSplitMxfp4) {
    return relay_mxfp4(tensor, stored, scales, first_row, n_rows, out);
  }
  with_numbers(tensor, stored, scales, [&](const auto& number) {
    const auto write = [&](const auto& convert) {
      for_each_number(*tensor.stored, first_row, n_rows, [&](std::uint64_t i) {
        const auto code = convert(apply(tensor.stored->arithmetic, number(i)));
        std::memcpy(out, &code, sizeof code);
        out += sizeof code;
      });
    };
    if (tensor.type == TensorType::kF32) write([](float value) { return value; });
    if (tensor.type == TensorType::kF16) write(float_to_half);
    if (tensor.type == TensorType::kBF16) write(float_to_bf16);
  });
}

Status check_relay(const TensorInfo& tensor) {
  const bool known = tensor.stored->code == StoredCode::kSplitMxfp4
                         ? tensor.type == TensorType::kMXFP4
                         : tensor_format(tensor.type).is_float();
  if (known) return {};
  return Status(ErrorCode::kUnsupported, "tensor '" + tensor.name + "': nothing is relaid into " +
                                             std::string(tensor_format(tensor.type).name));
}

Status relay_range(const TensorInfo& tensor, std::span<const std::byte> stored,
                   std::span<const std::byte> scales, std::span<std::byte> out) {
  SLUICE_TRY(check_relay(tensor));
  SLUICE_TRY(check_range(tensor, stored.size(), scales.size()));
  if (out.size() != relaid_bytes(tensor)) {
    return corrupt(tensor, "room for " + std::to_string(out.size()) + " bytes");
  }
  relay_rows(tensor, stored, scales, 0, rows_of(tensor), out.data());
  return {};
}

}  // namespace sluice
