#pragma once
// Every match of a pattern in a text that arrives in parts, and what lies between them.

#include <cstddef>
#include <optional>
#include <string_view>
#include <vector>

#include "text/pattern.h"

namespace sluice {

/// A stretch of the text: a match, or what lies between two. Some may be empty: they still separate
/// their neighbours.
struct TextPart {
  std::size_t begin;
  std::size_t end;
  bool matched;
};

/// How far a text has been searched.
struct PatternSearch {
  std::size_t from = 0;  // where the search goes on
  std::size_t done = 0;  // what lies before was given out as parts
  std::optional<std::size_t> last_match_end;

  /// The text has lost its first `bytes`. REQUIRES: bytes <= done.
  void drop(std::size_t bytes);
};

/// Appends the next parts up to the last match that is certain, whatever follows `text`; with
/// `final`, nothing follows, and the parts are all. The next call gets the same text, less what was
/// dropped, and more. REQUIRES: well-formed UTF-8.
void find_parts(const Pattern& pattern, std::string_view text, bool final, PatternSearch& search,
                PatternScratch& scratch, std::vector<TextPart>& parts);

}  // namespace sluice
