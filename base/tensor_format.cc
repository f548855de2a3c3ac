#include "base/tensor_format.h"

#include <algorithm>
#include <cassert>
#include <cstring>

#include "base/codebook_blocks.h"
#include "base/quant_blocks.h"

namespace sluice {
namespace {

template <typename Block>
void unpack_block(const std::byte* block, std::int8_t* codes, float* scales, float* mins) {
  unpack(*reinterpret_cast<const Block*>(block), codes, scales, mins);
}

template <typename Block>
void decode_blocks(const std::byte* blocks, float* out, std::size_t elements) {
  std::int8_t codes[Block::kElements];
  float scales[Block::kElements / Block::kGroup];
  float mins[Block::kElements / Block::kGroup];
  for (std::size_t done = 0; done < elements; done += Block::kElements, blocks += sizeof(Block)) {
    unpack_block<Block>(blocks, codes, scales, mins);
    const std::int8_t* group_codes = codes;
    for (std::size_t group = 0; group < std::size(scales); ++group) {
      for (std::uint32_t i = 0; i < Block::kGroup; ++i) {
        const float product = scales[group] * static_cast<float>(group_codes[i]);
        // Adding a zero would turn -0 into +0, so formats without a minimum add nothing.
        out[i] = Block::kHasMin ? product + mins[group] : product;
      }
      group_codes += Block::kGroup;
      out += Block::kGroup;
    }
  }
}

void decode_f32(const std::byte* blocks, float* out, std::size_t elements) {
  if (elements != 0) std::memcpy(out, blocks, elements * sizeof(float));
}

template <typename Stored, float (*kToFloat)(Stored)>
void decode_each(const std::byte* blocks, float* out, std::size_t elements) {
  for (std::size_t i = 0; i < elements; ++i) {
    Stored stored;
    std::memcpy(&stored, blocks + i * sizeof(stored), sizeof(stored));
    out[i] = kToFloat(stored);
  }
}

template <typename Number>
float rounded(Number number) {
  return static_cast<float>(number);
}

template <typename Block>
constexpr TensorFormat quantised(TensorType type, std::string_view name, bool scale_last = false) {
  return {.type = type,
          .name = name,
          .block_elements = Block::kElements,
          .block_bytes = sizeof(Block),
          .group = Block::kGroup,
          .has_min = Block::kHasMin,
          .scale_last = scale_last,
          .decode = decode_blocks<Block>,
          .unpack = unpack_block<Block>};
}

constexpr TensorFormat plain(TensorType type, std::string_view name, std::uint32_t bytes,
                             void (*decode)(const std::byte*, float*, std::size_t)) {
  return {.type = type,
          .name = name,
          .block_elements = 1,
          .block_bytes = bytes,
          .group = 0,
          .has_min = false,
          .scale_last = false,
          .decode = decode,
          .unpack = nullptr};
}

template <typename Stored, float (*kToFloat)(Stored) = rounded<Stored>>
constexpr TensorFormat plain(TensorType type, std::string_view name) {
  return plain(type, name, sizeof(Stored), decode_each<Stored, kToFloat>);
}

constexpr TensorFormat kFormats[] = {
    plain(TensorType::kF32, "F32", 4, decode_f32),
    plain<std::uint16_t, half_to_float>(TensorType::kF16, "F16"),
    plain<std::uint16_t, bf16_to_float>(TensorType::kBF16, "BF16"),
    plain<std::uint8_t, f8_e4m3_to_float>(TensorType::kF8_E4M3, "F8_E4M3"),
    plain<double>(TensorType::kF64, "F64"),
    plain<std::int8_t>(TensorType::kI8, "I8"),
    plain<std::int16_t>(TensorType::kI16, "I16"),
    plain<std::int32_t>(TensorType::kI32, "I32"),
    plain<std::int64_t>(TensorType::kI64, "I64"),
    quantised<Q4_0Block>(TensorType::kQ4_0, "Q4_0"),
    quantised<Q4_1Block>(TensorType::kQ4_1, "Q4_1"),
    quantised<Q5_0Block>(TensorType::kQ5_0, "Q5_0"),
    quantised<Q5_1Block>(TensorType::kQ5_1, "Q5_1"),
    quantised<Q8_0Block>(TensorType::kQ8_0, "Q8_0"),
    quantised<Q2_KBlock>(TensorType::kQ2_K, "Q2_K"),
    quantised<Q3_KBlock>(TensorType::kQ3_K, "Q3_K", /*scale_last=*/true),
    quantised<Q4_KBlock>(TensorType::kQ4_K, "Q4_K"),
    quantised<Q5_KBlock>(TensorType::kQ5_K, "Q5_K"),
    quantised<Q6_KBlock>(TensorType::kQ6_K, "Q6_K", /*scale_last=*/true),
    quantised<IQ4_NLBlock>(TensorType::kIQ4_NL, "IQ4_NL"),
    quantised<IQ4_XSBlock>(TensorType::kIQ4_XS, "IQ4_XS"),
    quantised<MXFP4Block>(TensorType::kMXFP4, "MXFP4"),
    quantised<IQ2_XXSBlock>(TensorType::kIQ2_XXS, "IQ2_XXS"),
    quantised<IQ2_XSBlock>(TensorType::kIQ2_XS, "IQ2_XS"),
    quantised<IQ2_SBlock>(TensorType::kIQ2_S, "IQ2_S"),
    quantised<IQ3_XXSBlock>(TensorType::kIQ3_XXS, "IQ3_XXS"),
    quantised<IQ3_SBlock>(TensorType::kIQ3_S, "IQ3_S"),
    quantised<IQ1_SBlock>(TensorType::kIQ1_S, "IQ1_S"),
    quantised<IQ1_MBlock>(TensorType::kIQ1_M, "IQ1_M"),
    quantised<TQ1_0Block>(TensorType::kTQ1_0, "TQ1_0", /*scale_last=*/true),
    quantised<TQ2_0Block>(TensorType::kTQ2_0, "TQ2_0", /*scale_last=*/true),
};

}  // namespace

std::span<const TensorFormat> tensor_formats() { return kFormats; }

const TensorFormat* find_tensor_format(TensorType type) {
  const auto* row = std::ranges::find(kFormats, type, &TensorFormat::type);
  return row == std::end(kFormats) ? nullptr : row;
}

const TensorFormat* find_gguf_format(std::uint32_t number) {
  return number < kFirstOwnType ? find_tensor_format(static_cast<TensorType>(number)) : nullptr;
}

const TensorFormat& tensor_format(TensorType type) {
  const TensorFormat* row = find_tensor_format(type);
  assert(row != nullptr);
  return *row;
}

}  // namespace sluice
