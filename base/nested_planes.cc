#include "base/nested_planes.h"

#include <algorithm>
#include <cstring>

#include "base/half.h"
#include "base/nested_stand.h"

namespace sluice {
namespace {

constexpr NestedForm kForms[] = {
    {"nested_8", TensorType::kF32, 8, 8, 1, NestedScale::kByte, true, 6, {2, 1, 1, 1, 1, 2}},
    {"nested_q8_0", TensorType::kQ8_0, 8, 8, 1, NestedScale::kHalf, false, 6, {2, 1, 1, 1, 1, 2}},
    {"nested_q4_0", TensorType::kQ4_0, 4, 1, 16, NestedScale::kHalf, false, 3, {2, 1, 1}},
};

constexpr std::size_t kOffsetBytes = kNestedRows / 2;

std::size_t divide_up(std::size_t n, std::size_t by) { return (n + by - 1) / by; }

/// Where a column's bits lie in a tile's words.
struct BitPlace {
  BitPlace(unsigned bits, std::size_t column, std::size_t row) {
    const std::size_t half = column / 16, field = column / 4 % 4;
    byte = ((bits == 2 ? half * kNestedRows : 0) + row) * 4 + column % 4;
    shift = static_cast<unsigned>(2 * field + (bits == 2 ? 0 : half));
  }
  std::size_t byte;
  unsigned shift;
};

float scale_of(const NestedForm& form, const NestedHeader& header, const std::byte* scale) {
  if (form.scale == NestedScale::kByte) {
    return nested_scale(static_cast<std::uint8_t>(*scale), header.exponent_base);
  }
  std::uint16_t half;
  std::memcpy(&half, scale, sizeof(half));
  return half_to_float(half);
}

}  // namespace

const TensorFormat kNestedFormat = {.type = TensorType::kNested,
                                    .name = "nested",
                                    .block_elements = kNestedBlock,
                                    .block_bytes = 0,
                                    .group = kNestedBlock,
                                    .has_min = false,
                                    .scale_last = false,
                                    .decode = nullptr,
                                    .unpack = nullptr};

unsigned NestedForm::width(std::size_t count) const {
  unsigned bits_of_groups = 0;
  for (std::size_t i = 0; i < count; ++i) bits_of_groups += groups[i];
  return bits_of_groups;
}

std::size_t NestedForm::groups_of(unsigned wanted) const {
  for (std::size_t count = 1; count <= group_count; ++count) {
    if (width(count) == wanted) return count;
  }
  return 0;
}

std::size_t NestedForm::tile_bytes(std::size_t group) const {
  const std::size_t codes = kNestedRows * kNestedBlock * groups[group] / 8;
  return group == 0 ? codes + kNestedRows * scale_bytes() + kOffsetBytes : codes;
}

std::size_t NestedForm::group_bytes(std::size_t group, std::size_t rows,
                                    std::size_t columns) const {
  const std::size_t tiles = divide_up(rows, kNestedRows) * (columns / kNestedBlock);
  return (group == 0 ? sizeof(NestedHeader) : 0) + tiles * tile_bytes(group);
}

std::size_t NestedView::bytes(std::size_t rows, std::size_t columns) const {
  std::size_t sum = 0;
  for (std::size_t group = 0; group < form->groups_of(width); ++group) {
    sum += form->group_bytes(group, rows, columns);
  }
  return sum;
}

std::span<const NestedForm> nested_forms() { return kForms; }

const NestedForm* find_nested_form(std::string_view name) {
  const auto* const found = std::ranges::find(kForms, name, &NestedForm::name);
  return found == std::end(kForms) ? nullptr : found;
}

const NestedForm* nested_form_of(TensorType source) {
  if (source == TensorType::kF16 || source == TensorType::kBF16) source = TensorType::kF32;
  const auto* const found = std::ranges::find(kForms, source, &NestedForm::source);
  return found == std::end(kForms) ? nullptr : found;
}

void write_nested_group(const NestedParts& parts, std::size_t group, std::byte* out) {
  const NestedForm& form = *parts.form;
  std::memset(out, 0, form.group_bytes(group, parts.rows, parts.columns));
  if (group == 0) {
    std::memcpy(out, &parts.header, sizeof(parts.header));
    out += sizeof(parts.header);
  }
  const unsigned bits = form.groups[group];
  const unsigned below = form.bits - form.width(group + 1);
  const std::size_t blocks = parts.columns / kNestedBlock;
  for (std::size_t row = 0; row < parts.rows; ++row) {
    const std::size_t lane = row % kNestedRows;
    for (std::size_t block = 0; block < blocks; ++block) {
      std::byte* const tile = out + (row / kNestedRows * blocks + block) * form.tile_bytes(group);
      const std::uint8_t* const codes = parts.codes + row * parts.columns + block * kNestedBlock;
      for (std::size_t column = 0; column < kNestedBlock; ++column) {
        const BitPlace place(bits, column, lane);
        const unsigned field = (codes[column] >> below) & ((1u << bits) - 1);
        tile[place.byte] |= static_cast<std::byte>(field << place.shift);
      }
      if (group != 0) continue;
      std::byte* const scales = tile + kNestedRows * kNestedBlock * bits / 8;
      const std::size_t at = row * blocks + block, bytes = form.scale_bytes();
      std::memcpy(scales + lane * bytes, parts.scales + at * bytes, bytes);
      const auto nibble = static_cast<unsigned>(parts.offsets[at] + 8);
      scales[kNestedRows * bytes + lane % 8] |=
          static_cast<std::byte>(nibble << (lane < 8 ? 0 : 4));
    }
  }
}

void decode_nested_row(const NestedView& view, const std::byte* data, std::size_t columns,
                       std::size_t row, float* out) {
  const NestedForm& form = *view.form;
  NestedHeader header;
  std::memcpy(&header, data, sizeof(header));
  const std::size_t blocks = columns / kNestedBlock, lane = row % kNestedRows;
  const std::size_t groups = form.groups_of(view.width);
  for (std::size_t block = 0; block < blocks; ++block) {
    const std::size_t tile = row / kNestedRows * blocks + block;
    unsigned prefixes[kNestedBlock] = {};
    for (std::size_t group = 0; group < groups; ++group) {
      const unsigned bits = form.groups[group];
      const std::byte* const words =
          data + view.at[group] + (group == 0 ? sizeof(header) : 0) + tile * form.tile_bytes(group);
      for (std::size_t column = 0; column < kNestedBlock; ++column) {
        const BitPlace place(bits, column, lane);
        prefixes[column] =
            prefixes[column] << bits |
            (static_cast<unsigned>(words[place.byte]) >> place.shift & ((1u << bits) - 1));
      }
    }
    const std::byte* const scales = data + view.at[0] + sizeof(header) + tile * form.tile_bytes(0) +
                                    kNestedRows * kNestedBlock * form.groups[0] / 8;
    const float scale = scale_of(form, header, scales + lane * form.scale_bytes());
    const auto pair = static_cast<unsigned>(scales[kNestedRows * form.scale_bytes() + lane % 8]);
    const int offset = static_cast<int>(lane < 8 ? pair & 15 : pair >> 4) - 8;
    for (std::size_t column = 0; column < kNestedBlock; ++column) {
      const int twice = twice_nested_stand(form, header, view.width, prefixes[column]) +
                        2 * nested_unit(form) * offset;
      out[block * kNestedBlock + column] =
          0.5f / static_cast<float>(form.steps) * scale * static_cast<float>(twice);
    }
  }
}

}  // namespace sluice
