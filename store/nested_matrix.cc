#include "store/nested_matrix.h"

namespace sluice {

void decode_nested(const NestedMatrix& matrix, std::span<const float> scales, unsigned width,
                   float* out) {
  const unsigned drop = nested_bits(matrix.form) - width;
  float stands[256];
  for (unsigned prefix = 0; prefix < 1u << width; ++prefix) {
    stands[prefix] = nested_stand(matrix.form, matrix.tables, width, prefix);
  }
  for (std::size_t block = 0; block < matrix.offsets.size(); ++block) {
    const float scale = matrix.form == NestedCodes::kFitted
                            ? nested_scale(matrix.scales[block], matrix.exponent_base)
                            : scales[block] * nested_step(matrix.form);
    const auto shift = static_cast<float>(nested_unit(matrix.form) * matrix.offsets[block]);
    const std::size_t first = block * kNestedBlock;
    for (std::size_t i = first; i < first + kNestedBlock; ++i) {
      out[i] = scale * (stands[matrix.codes[i] >> drop] + shift);
    }
  }
}

}  // namespace sluice
