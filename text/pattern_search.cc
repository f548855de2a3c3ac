#include "text/pattern_search.h"

#include "text/utf8.h"

namespace sluice {

void PatternSearch::drop(std::size_t bytes) {
  from -= bytes;
  done -= bytes;
  if (last_match_end && *last_match_end < bytes) last_match_end.reset();
  if (last_match_end) *last_match_end -= bytes;
}

void find_parts(const Pattern& pattern, std::string_view text, bool final, PatternSearch& search,
                PatternScratch& scratch, std::vector<TextPart>& parts) {
  std::size_t& done = search.done;
  std::size_t& from = search.from;
  while (from <= text.size()) {
    std::size_t undecided = 0;
    const auto match = final ? pattern.find(text, from, scratch)
                             : pattern.find_certain(text, from, scratch, undecided);
    if (!match) {
      if (!final) from = undecided;
      break;
    }
    const bool empty = match->end <= match->begin;
    // An empty match may not touch the match before it, and the search goes on one character later.
    if (!empty || search.last_match_end != match->end) {
      if (done < match->begin) parts.push_back({done, match->begin, false});
      parts.push_back({match->begin, match->end, true});
      done = match->end;
      search.last_match_end = match->end;
    }
    from = match->end;
    if (empty) from += from < text.size() ? utf8_length(text[from]) : 1;
  }
  if (final && done < text.size()) parts.push_back({done, text.size(), false});
}

}  // namespace sluice
