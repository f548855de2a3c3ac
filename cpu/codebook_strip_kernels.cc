// Formats with codebooks.

#include "cpu/codebook_strips.h"
#include "cpu/strip_kernels.h"
#include "cpu/strip_multiply.h"

namespace sluice::SLUICE_ISA {

const StripFormat& codebook_strip_format(const TensorFormat& format) {
  switch (format.type) {
    case TensorType::kIQ2_XXS:
      return kStripFormat<IQ2_XXSStrip>;
    case TensorType::kIQ2_XS:
      return kStripFormat<IQ2_XSStrip>;
    case TensorType::kIQ2_S:
      return kStripFormat<IQ2_SStrip>;
    case TensorType::kIQ3_XXS:
      return kStripFormat<IQ3_XXSStrip>;
    case TensorType::kIQ3_S:
      return kStripFormat<IQ3_SStrip>;
    case TensorType::kIQ1_S:
      return kStripFormat<IQ1_SStrip>;
    default:
      return kStripFormat<IQ1_MStrip>;
  }
}

}  // namespace sluice::SLUICE_ISA
