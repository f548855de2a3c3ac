#pragma once
// Characters whose upper or title case is more than one character (Unicode's SpecialCasing.txt,
// without conditions).

#include <string_view>

namespace sluice::jinja {

struct SpecialCasing {
  char32_t character;
  std::u32string_view upper;
  std::u32string_view title;
};

/// nullptr for all other characters.
const SpecialCasing* special_casing(char32_t character);

}  // namespace sluice::jinja
