#include "text/splitter.h"

#include <algorithm>
#include <optional>
#include <utility>

#include "text/utf8.h"

namespace sluice {
namespace {

using Behaviour = SplitStep::Behaviour;

struct Part {
  std::size_t begin;
  std::size_t end;
  bool matched;
};

/// Matches and what lies between them. Some may be empty: they still separate their neighbours.
void find_parts(std::string_view text, const Pattern& pattern, bool invert, PatternScratch& scratch,
                std::vector<Part>& parts) {
  parts.clear();
  std::size_t done = 0;  // end of the last match
  std::size_t from = 0;
  std::optional<std::size_t> last_match_end;
  while (from <= text.size()) {
    const auto match = pattern.find(text, from, scratch);
    if (!match) break;
    const bool empty = match->end <= match->begin;
    // An empty match may not touch the match before it, and the search goes on one character later.
    if (!empty || last_match_end != match->end) {
      if (done < match->begin) parts.push_back({done, match->begin, invert});
      parts.push_back({match->begin, match->end, !invert});
      done = match->end;
      last_match_end = match->end;
    }
    from = match->end;
    if (empty) from += from < text.size() ? utf8_length(text[from]) : 1;
  }
  if (done < text.size()) parts.push_back({done, text.size(), invert});
}

void join_contiguous(std::vector<Part>& parts) {
  std::vector<Part> joined;
  for (const Part& part : parts) {
    if (!joined.empty() && joined.back().matched == part.matched) {
      joined.back().end = part.end;
    } else {
      joined.push_back(part);
    }
  }
  parts = std::move(joined);
}

void join_with_previous(std::vector<Part>& parts) {
  std::vector<Part> joined;
  bool previous_matched = false;
  for (const Part& part : parts) {
    if (part.matched && !previous_matched && !joined.empty()) {
      joined.back().end = part.end;
    } else {
      joined.push_back(part);
    }
    previous_matched = part.matched;
  }
  parts = std::move(joined);
}

void join_with_next(std::vector<Part>& parts) {
  std::vector<Part> joined;  // backwards
  bool next_matched = false;
  for (auto part = parts.rbegin(); part != parts.rend(); ++part) {
    if (part->matched && !next_matched && !joined.empty()) {
      joined.back().begin = part->begin;
    } else {
      joined.push_back(*part);
    }
    next_matched = part->matched;
  }
  std::reverse(joined.begin(), joined.end());
  parts = std::move(joined);
}

void apply(Behaviour behaviour, std::vector<Part>& parts) {
  switch (behaviour) {
    case Behaviour::kIsolated:
      break;
    case Behaviour::kRemoved:
      std::erase_if(parts, [](const Part& part) { return part.matched; });
      break;
    case Behaviour::kContiguous:
      join_contiguous(parts);
      break;
    case Behaviour::kMergedWithPrevious:
      join_with_previous(parts);
      break;
    case Behaviour::kMergedWithNext:
      join_with_next(parts);
      break;
  }
}

}  // namespace

Result<Splitter> Splitter::create(const std::vector<SplitStep>& steps) {
  Splitter splitter;
  for (const SplitStep& step : steps) {
    SLUICE_ASSIGN(Pattern pattern, Pattern::compile(step.pattern, step.literal));
    splitter.steps_.push_back({std::move(pattern), step.invert, step.behaviour});
  }
  return splitter;
}

std::vector<std::string_view> Splitter::split(std::string_view text,
                                              PatternScratch& scratch) const {
  std::vector<std::string_view> pieces;
  if (!text.empty()) pieces.push_back(text);
  std::vector<std::string_view> cut;
  std::vector<Part> parts;
  for (const Step& step : steps_) {
    cut.clear();
    for (const std::string_view piece : pieces) {
      find_parts(piece, step.pattern, step.invert, scratch, parts);
      apply(step.behaviour, parts);
      for (const Part& part : parts) {
        if (part.begin < part.end) cut.push_back(piece.substr(part.begin, part.end - part.begin));
      }
    }
    std::swap(pieces, cut);
  }
  return pieces;
}

}  // namespace sluice
