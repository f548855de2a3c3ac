#include "text/splitter.h"

#include <algorithm>
#include <utility>

#include "text/utf8.h"

namespace sluice {
namespace {

using Behaviour = SplitStep::Behaviour;

void join_contiguous(std::vector<SplitPart>& parts) {
  std::vector<SplitPart> joined;
  for (const SplitPart& part : parts) {
    if (!joined.empty() && joined.back().matched == part.matched) {
      joined.back().end = part.end;
    } else {
      joined.push_back(part);
    }
  }
  parts = std::move(joined);
}

void join_with_previous(std::vector<SplitPart>& parts) {
  std::vector<SplitPart> joined;
  bool previous_matched = false;
  for (const SplitPart& part : parts) {
    if (part.matched && !previous_matched && !joined.empty()) {
      joined.back().end = part.end;
    } else {
      joined.push_back(part);
    }
    previous_matched = part.matched;
  }
  parts = std::move(joined);
}

void join_with_next(std::vector<SplitPart>& parts) {
  std::vector<SplitPart> joined;  // backwards
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

bool joins(Behaviour behaviour) {
  return behaviour != Behaviour::kIsolated && behaviour != Behaviour::kRemoved;
}

void apply(Behaviour behaviour, std::vector<SplitPart>& parts) {
  switch (behaviour) {
    case Behaviour::kIsolated:
      break;
    case Behaviour::kRemoved:
      std::erase_if(parts, [](const SplitPart& part) { return part.matched; });
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

void SplitProgress::drop(std::size_t bytes) {
  taken_ -= bytes;
  from_ -= bytes;
  done_ -= bytes;
  if (last_match_end_ && *last_match_end_ < bytes) last_match_end_.reset();
  if (last_match_end_) *last_match_end_ -= bytes;
  for (SplitPart& part : parts_) {
    part.begin -= bytes;
    part.end -= bytes;
  }
}

/// Matches and what lies between them. Some may be empty: they still separate their neighbours.
void Splitter::find_parts(std::string_view text, const Pattern& pattern, bool invert, bool final,
                          PatternScratch& scratch, SplitProgress& progress) {
  std::size_t& done = progress.done_;
  std::size_t& from = progress.from_;
  std::vector<SplitPart>& parts = progress.parts_;
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
    if (!empty || progress.last_match_end_ != match->end) {
      if (done < match->begin) parts.push_back({done, match->begin, invert});
      parts.push_back({match->begin, match->end, !invert});
      done = match->end;
      progress.last_match_end_ = match->end;
    }
    from = match->end;
    if (empty) from += from < text.size() ? utf8_length(text[from]) : 1;
  }
  if (final && done < text.size()) parts.push_back({done, text.size(), invert});
}

std::vector<std::string_view> Splitter::split(std::string_view text,
                                              PatternScratch& scratch) const {
  SplitProgress progress;
  return advance(text, true, progress, scratch);
}

std::vector<std::string_view> Splitter::advance(std::string_view text, bool final,
                                                SplitProgress& progress,
                                                PatternScratch& scratch) const {
  std::vector<std::string_view> pieces;
  const auto add = [&](std::string_view of, const SplitPart& part) {
    if (part.begin < part.end) pieces.push_back(of.substr(part.begin, part.end - part.begin));
  };
  if (steps_.empty()) {
    if (!final) return pieces;
    add(text, {progress.taken_, text.size(), false});
    progress.taken_ = text.size();
    return pieces;
  }
  find_parts(text, steps_.front().pattern, steps_.front().invert, final, scratch, progress);
  std::vector<SplitPart> parts = final ? std::exchange(progress.parts_, {}) : progress.parts_;
  apply(steps_.front().behaviour, parts);
  if (final) {
    progress.taken_ = text.size();
  } else if (!joins(steps_.front().behaviour)) {
    progress.taken_ = progress.done_;
  } else if (!parts.empty()) {  // the next part may join the last
    progress.taken_ = parts.back().begin;
    parts.pop_back();
  }
  std::erase_if(progress.parts_,
                [&](const SplitPart& part) { return part.end <= progress.taken_; });
  for (const SplitPart& part : parts) add(text, part);

  for (std::size_t i = 1; i < steps_.size(); ++i) {
    const Step& step = steps_[i];
    const std::vector<std::string_view> whole = std::exchange(pieces, {});
    for (const std::string_view piece : whole) {
      SplitProgress within;
      find_parts(piece, step.pattern, step.invert, true, scratch, within);
      apply(step.behaviour, within.parts_);
      for (const SplitPart& part : within.parts_) add(piece, part);
    }
  }
  return pieces;
}

}  // namespace sluice
