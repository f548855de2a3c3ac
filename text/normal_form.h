#pragma once
// Unicode's normal forms.

#include <cstddef>
#include <string>
#include <string_view>

namespace sluice {

struct NormalForm {
  bool composed = true;        // C and KC; else D and KD
  bool compatibility = false;  // KC and KD: also what only looks alike becomes one
};

/// Linear but for sorting runs of combining marks. REQUIRES: well-formed UTF-8.
std::string to_normal_form(std::string_view text, NormalForm form);

/// How many bytes from the front can be normalised on their own, whatever follows: up to the last
/// character that never changes with what is before it. REQUIRES: well-formed UTF-8.
std::size_t settled_in_normal_form(std::string_view text, NormalForm form);

}  // namespace sluice
