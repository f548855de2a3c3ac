// Nested codes, at every width.

#include "cpu/nested_strips.h"
#include "cpu/strip_kernels.h"
#include "cpu/strip_multiply.h"

namespace sluice::SLUICE_ISA {
namespace {

template <typename Form>
const StripFormat& strip_format_of(unsigned width) {
  if constexpr (Form::kBits > 4) {
    if (width == 5) return kStripFormat<NestedStrip<Form, 5>>;
    if (width == 6) return kStripFormat<NestedStrip<Form, 6>>;
  }
  if constexpr (Form::kBits == 8) {
    if (width == 8) return kStripFormat<NestedStrip<Form, 8>>;
  }
  if (width == 2) return kStripFormat<NestedStrip<Form, 2>>;
  if (width == 3) return kStripFormat<NestedStrip<Form, 3>>;
  return kStripFormat<NestedStrip<Form, 4>>;
}

}  // namespace

const StripFormat& strip_format(const NestedView& nested) {
  switch (nested.form->source) {
    case TensorType::kQ8_0:
      return strip_format_of<Q8_0Form>(nested.width);
    case TensorType::kQ4_0:
      return strip_format_of<Q4_0Form>(nested.width);
    case TensorType::kMXFP4:
      return strip_format_of<MXFP4Form>(nested.width);
    case TensorType::kQ4_K:
      return strip_format_of<Q4_KForm>(nested.width);
    case TensorType::kQ6_K:
      return strip_format_of<Q6_KForm>(nested.width);
    default:
      return strip_format_of<FittedForm>(nested.width);
  }
}

}  // namespace sluice::SLUICE_ISA
