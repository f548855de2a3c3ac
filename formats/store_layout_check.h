#pragma once
// Whether a tensor of a store's index is one that any of our own openers could have made. Those
// make layouts that fit by construction; an index says anything.

#include "base/status.h"
#include "formats/tensor_info.h"

namespace sluice {

/// kCorrupt: its type, shape, ranges and layout contradict each other. After it, check_range and
/// what follows it in stored_layout.h and weight_view.h meet no zero, no overflow, and nothing
/// beyond a range. REQUIRES: it has ranges, none empty, and a shape; extents may be anything.
Status check_stored_tensor(const TensorInfo& tensor);

}  // namespace sluice
