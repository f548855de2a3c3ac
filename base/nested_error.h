#pragma once
// How much nested codes (nested_planes.h) err with fewer groups than there are.

#include <cstddef>

#include "base/nested_planes.h"

namespace sluice {

/// Typically: the root of the sum of the squares of what is missing over that of the weights',
/// where these are normally distributed and all columns count alike. 0 with all groups, even of a
/// form that is fitted. REQUIRES: 0 < groups <= form.group_count.
float typical_nested_error(const NestedForm& form, std::size_t groups);

}  // namespace sluice
