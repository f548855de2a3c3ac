#include "cpu/dot_kernels.h"

#include "base/canonical.h"

namespace sluice::SLUICE_ISA {
namespace {

// The canonical order, spelled out.
float quantised_dot(const TensorFormat& format, const std::byte* weight, const std::int8_t* codes,
                    const float* scales, std::size_t columns) {
  std::int8_t block[256];
  float block_scales[16], block_mins[16];
  float total = 0, acc = 0;
  for (std::size_t k = 0; k < columns; k += format.group) {
    if (k % kSegment == 0 && k > 0) {
      total += acc;
      acc = 0;
    }
    const std::size_t in_block = k % format.block_elements;
    if (in_block == 0) {
      format.unpack(weight + k / format.block_elements * format.block_bytes, block, block_scales,
                    block_mins);
    }
    int dot_product = 0, sum = 0;
    for (std::size_t i = 0; i < format.group; ++i) {
      dot_product += block[in_block + i] * codes[k + i];
      sum += codes[k + i];
    }
    const float a = scales[k / kActivationGroup];
    const std::size_t group = in_block / format.group;
    acc = __builtin_fmaf(block_scales[group] * a, static_cast<float>(dot_product), acc);
    if (format.has_min) acc = __builtin_fmaf(block_mins[group] * a, static_cast<float>(sum), acc);
  }
  return total + acc;
}

float float_dot(const TensorFormat& format, const std::byte* weight, const float* x,
                std::size_t columns) {
  float decoded[kSegment], total = 0;
  for (std::size_t begin = 0; begin < columns; begin += kSegment) {
    const std::size_t n = columns - begin < kSegment ? columns - begin : kSegment;
    format.decode(weight + format.bytes(begin), decoded, n);
    float lanes[kFloatLanes] = {};
    for (std::size_t i = 0; i < n; ++i) {
      lanes[i % kFloatLanes] = __builtin_fmaf(decoded[i], x[begin + i], lanes[i % kFloatLanes]);
    }
    for (std::size_t width = kFloatLanes / 2; width > 0; width /= 2) {
      for (std::size_t i = 0; i < width; ++i) lanes[i] += lanes[i + width];
    }
    total += lanes[0];
  }
  return total;
}

}  // namespace

void dot(const DotTile& tile, std::byte*) {
  for (std::size_t r = 0; r < tile.n_rows; ++r) {
    const std::size_t row = tile.row_index != nullptr ? tile.row_index[r] : r;
    for (std::size_t i = 0; i < tile.weight_rows; ++i) {
      const std::byte* const weight = tile.weight + i * tile.row_bytes;
      const float result =
          tile.codes != nullptr && tile.format->group != 0
              ? quantised_dot(*tile.format, weight, tile.codes + row * tile.columns,
                              tile.scales + row * (tile.columns / 32), tile.columns)
              : float_dot(*tile.format, weight, tile.values + row * tile.columns, tile.columns);
      tile.output[r * tile.output_stride + i] =
          tile.bias != nullptr ? result + tile.bias[i] : result;
    }
  }
}

}  // namespace sluice::SLUICE_ISA
