#include "base/nested_planes.h"

#include <algorithm>
#include <cstring>

#include "base/nested_stand.h"
#include "base/quant_blocks.h"

namespace sluice {
namespace {

constexpr NestedForm kForms[] = {
    {.name = "nested_8",
     .source = TensorType::kF32,
     .bits = 8,
     .first = -128,
     .book = nullptr,
     .unit = 8,
     .steps = 1,
     .block = 32,
     .scale_bytes = 1,
     .scales_at = 0,
     .fitted = true,
     .group_count = 6,
     .groups = {2, 1, 1, 1, 1, 2}},
    {.name = "nested_q8_0",
     .source = TensorType::kQ8_0,
     .bits = 8,
     .first = -128,
     .book = nullptr,
     .unit = 8,
     .steps = 1,
     .block = 32,
     .scale_bytes = 2,
     .scales_at = 0,
     .fitted = false,
     .group_count = 6,
     .groups = {2, 1, 1, 1, 1, 2}},
    {.name = "nested_q4_0",
     .source = TensorType::kQ4_0,
     .bits = 4,
     .first = -8,
     .book = nullptr,
     .unit = 1,
     .steps = 16,
     .block = 32,
     .scale_bytes = 2,
     .scales_at = 0,
     .fitted = false,
     .group_count = 3,
     .groups = {2, 1, 1}},
    {.name = "nested_mxfp4",
     .source = TensorType::kMXFP4,
     .bits = 4,
     .first = 0,
     .book = kFp4RankedValues,
     .unit = 0,
     .steps = 8,
     .block = 32,
     .scale_bytes = 1,
     .scales_at = offsetof(MXFP4Block, exponent),
     .fitted = false,
     .group_count = 3,
     .groups = {2, 1, 1}},
    {.name = "nested_q4_k",
     .source = TensorType::kQ4_K,
     .bits = 4,
     .first = 0,
     .book = nullptr,
     .unit = 0,
     .steps = 8,
     .block = 256,
     .scale_bytes = 16,
     .scales_at = offsetof(Q4_KBlock, scale),
     .fitted = false,
     .group_count = 3,
     .groups = {2, 1, 1}},
    {.name = "nested_q6_k",
     .source = TensorType::kQ6_K,
     .bits = 6,
     .first = -32,
     .book = nullptr,
     .unit = 0,
     .steps = 4,
     .block = 256,
     .scale_bytes = 18,
     .scales_at = offsetof(Q6_KBlock, group_scales),
     .fitted = false,
     .group_count = 5,
     .groups = {2, 1, 1, 1, 1}},
};

constexpr std::size_t kOffsetBytes = kNestedRows / 2;

constexpr TensorFormat nested_format(std::uint32_t group, bool has_min) {
  return {.type = TensorType::kNested,
          .name = "nested",
          .block_elements = kNestedBlock,
          .block_bytes = 0,
          .group = group,
          .has_min = has_min,
          .scale_last = false,
          .decode = nullptr,
          .unpack = nullptr};
}
constexpr TensorFormat kOf32 = nested_format(32, false);
constexpr TensorFormat kOf32WithMin = nested_format(32, true);
constexpr TensorFormat kOf16 = nested_format(16, false);

std::size_t divide_up(std::size_t n, std::size_t by) { return (n + by - 1) / by; }

/// Where a column's bits lie in the words of a tile.
struct BitPlace {
  BitPlace(unsigned bits, std::size_t column, std::size_t row) {
    const std::size_t block = column / kNestedBlock, half = column / 16 % 2, field = column / 4 % 4;
    byte = block * (kNestedRows * kNestedBlock * bits / 8) +
           ((bits == 2 ? half * kNestedRows : 0) + row) * 4 + column % 4;
    shift = static_cast<unsigned>(2 * field + (bits == 2 ? 0 : half));
  }
  std::size_t byte;
  unsigned shift;
};

/// Where byte `index` of what a row's scales are made of lies among those of a tile's rows.
std::size_t scale_place(const NestedForm& form, std::size_t row, std::size_t index) {
  const std::size_t words = form.scale_bytes / 4u, rest = form.scale_bytes % 4u;
  return index < 4 * words ? (index / 4 * kNestedRows + row) * 4 + index % 4
                           : words * kNestedRows * 4 + row * rest + (index - 4 * words);
}

/// Of the groups of a row's block.
struct Scales {
  /// `turned`: where a tile has them.
  Scales(const NestedForm& form, const NestedHeader& header, const std::byte* turned,
         std::size_t row) {
    // An integer source's block without its codes says what they are.
    std::byte block[sizeof(Q6_KBlock)] = {};
    for (std::size_t i = 0; i < form.scale_bytes; ++i) {
      block[form.scales_at + i] = turned[scale_place(form, row, i)];
    }
    if (form.fitted) {
      of_group[0] = nested_scale(static_cast<std::uint8_t>(block[0]), header.exponent_base);
      return;
    }
    std::int8_t codes[kMostBlock];
    tensor_format(form.source).unpack(block, codes, of_group, minimum);
  }

  static constexpr std::size_t kMostBlock = 256;
  float of_group[kMostBlock / 16];
  float minimum[kMostBlock / 16];
};

}  // namespace

const TensorFormat& NestedForm::format() const {
  switch (source) {
    case TensorType::kQ4_K:
      return kOf32WithMin;
    case TensorType::kQ6_K:
      return kOf16;
    default:
      return kOf32;
  }
}

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

std::size_t NestedForm::code_bytes(std::size_t group) const {
  return kNestedRows * block * groups[group] / 8;
}

std::size_t NestedForm::groups_within(unsigned most) const {
  std::size_t count = 0;
  while (count < group_count && width(count + 1) <= most) ++count;
  return count;
}

std::size_t NestedForm::tile_bytes(std::size_t group) const {
  const std::size_t codes = code_bytes(group);
  if (group != 0) return codes;
  return codes + kNestedRows * scale_bytes + (unit == 0 ? 0 : kOffsetBytes);
}

std::size_t NestedForm::group_bytes(std::size_t group, std::size_t rows,
                                    std::size_t columns) const {
  const std::size_t tiles = divide_up(rows, kNestedRows) * (columns / block);
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
  const std::size_t blocks = parts.columns / form.block;
  for (std::size_t row = 0; row < parts.rows; ++row) {
    const std::size_t lane = row % kNestedRows;
    for (std::size_t block = 0; block < blocks; ++block) {
      std::byte* const tile = out + (row / kNestedRows * blocks + block) * form.tile_bytes(group);
      const std::uint8_t* const codes = parts.codes + row * parts.columns + block * form.block;
      for (std::size_t column = 0; column < form.block; ++column) {
        const BitPlace place(bits, column, lane);
        const unsigned field = (codes[column] >> below) & ((1u << bits) - 1);
        tile[place.byte] |= static_cast<std::byte>(field << place.shift);
      }
      if (group != 0) continue;
      std::byte* const scales = tile + form.code_bytes(0);
      const std::size_t at = row * blocks + block;
      for (std::size_t i = 0; i < form.scale_bytes; ++i) {
        scales[scale_place(form, lane, i)] = parts.scales[at * form.scale_bytes + i];
      }
      if (form.unit == 0) continue;
      const auto nibble = static_cast<unsigned>(parts.offsets[at] + 8);
      scales[kNestedRows * form.scale_bytes + lane % 8] |=
          static_cast<std::byte>(nibble << (lane < 8 ? 0 : 4));
    }
  }
}

void decode_nested_row(const NestedView& view, const std::byte* data, std::size_t columns,
                       std::size_t row, float* out) {
  const NestedForm& form = *view.form;
  NestedHeader header;
  std::memcpy(&header, data, sizeof(header));
  const std::size_t blocks = columns / form.block, lane = row % kNestedRows;
  const std::size_t groups = form.groups_of(view.width);
  const TensorFormat& format = form.format();
  const float step = 1.0f / static_cast<float>(form.steps);
  for (std::size_t block = 0; block < blocks; ++block) {
    const std::size_t tile = row / kNestedRows * blocks + block;
    unsigned prefixes[Scales::kMostBlock] = {};
    for (std::size_t group = 0; group < groups; ++group) {
      const unsigned bits = form.groups[group];
      const std::byte* const words =
          data + view.at[group] + (group == 0 ? sizeof(header) : 0) + tile * form.tile_bytes(group);
      for (std::size_t column = 0; column < form.block; ++column) {
        const BitPlace place(bits, column, lane);
        prefixes[column] =
            prefixes[column] << bits |
            (static_cast<unsigned>(words[place.byte]) >> place.shift & ((1u << bits) - 1));
      }
    }
    const std::byte* const turned =
        data + view.at[0] + sizeof(header) + tile * form.tile_bytes(0) + form.code_bytes(0);
    const Scales scales(form, header, turned, lane);
    int offset = 0;
    if (form.unit != 0) {
      const auto pair = static_cast<unsigned>(turned[kNestedRows * form.scale_bytes + lane % 8]);
      offset = static_cast<int>(lane < 8 ? pair & 15 : pair >> 4) - 8;
    }
    for (std::size_t column = 0; column < form.block; ++column) {
      const int twice = twice_nested_stand(form, header, view.width, prefixes[column]) +
                        2 * nested_unit(form) * offset;
      const std::size_t group = column / format.group;
      const float product = 0.5f * step * scales.of_group[group] * static_cast<float>(twice);
      // Adding a minimum of zero would turn -0 into +0.
      out[block * form.block + column] = format.has_min ? product + scales.minimum[group] : product;
    }
  }
}

}  // namespace sluice
