#pragma once
// Characters that Unicode 15, 15.1 and 16 added. Debian 12's PCRE2 knows Unicode 14; the tokenizers
// package, which models' patterns are written for, knows 16. (From the general categories of
// Unicode's DerivedGeneralCategory.txt.)

#include <span>
#include <string_view>

namespace sluice {

struct UnicodeAddition {
  char32_t first;
  char32_t last;
  std::string_view category;  // two letters: "Lo"
};

/// By code point; letters, marks, numbers, punctuation and symbols.
std::span<const UnicodeAddition> unicode_additions();

}  // namespace sluice
