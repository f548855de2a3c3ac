#include "text/splitter.h"

#include <algorithm>
#include <utility>

namespace sluice {
namespace {

using Behaviour = SplitStep::Behaviour;

void join_contiguous(std::vector<TextPart>& parts) {
  std::vector<TextPart> joined;
  for (const TextPart& part : parts) {
    if (!joined.empty() && joined.back().matched == part.matched) {
      joined.back().end = part.end;
    } else {
      joined.push_back(part);
    }
  }
  parts = std::move(joined);
}

void join_with_previous(std::vector<TextPart>& parts) {
  std::vector<TextPart> joined;
  bool previous_matched = false;
  for (const TextPart& part : parts) {
    if (part.matched && !previous_matched && !joined.empty()) {
      joined.back().end = part.end;
    } else {
      joined.push_back(part);
    }
    previous_matched = part.matched;
  }
  parts = std::move(joined);
}

void join_with_next(std::vector<TextPart>& parts) {
  std::vector<TextPart> joined;  // backwards
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

void apply(Behaviour behaviour, std::vector<TextPart>& parts) {
  switch (behaviour) {
    case Behaviour::kIsolated:
      break;
    case Behaviour::kRemoved:
      std::erase_if(parts, [](const TextPart& part) { return part.matched; });
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
  search_.drop(bytes);
  for (TextPart& part : parts_) {
    part.begin -= bytes;
    part.end -= bytes;
  }
}

void Splitter::Step::find(std::string_view text, bool final, PatternScratch& scratch,
                          SplitProgress& progress) const {
  const std::size_t known = progress.parts_.size();
  find_parts(pattern, text, final, progress.search_, scratch, progress.parts_);
  for (std::size_t i = known; i < progress.parts_.size(); ++i) {
    progress.parts_[i].matched ^= invert;
  }
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
  const auto add = [&](std::string_view of, const TextPart& part) {
    if (part.begin < part.end) pieces.push_back(of.substr(part.begin, part.end - part.begin));
  };
  if (steps_.empty()) {
    if (!final) return pieces;
    add(text, {progress.taken_, text.size(), false});
    progress.taken_ = text.size();
    return pieces;
  }
  steps_.front().find(text, final, scratch, progress);
  std::vector<TextPart> parts = final ? std::exchange(progress.parts_, {}) : progress.parts_;
  apply(steps_.front().behaviour, parts);
  if (final) {
    progress.taken_ = text.size();
  } else if (!joins(steps_.front().behaviour)) {
    progress.taken_ = progress.search_.done;
  } else if (!parts.empty()) {  // the next part may join the last
    progress.taken_ = parts.back().begin;
    parts.pop_back();
  }
  std::erase_if(progress.parts_, [&](const TextPart& part) { return part.end <= progress.taken_; });
  for (const TextPart& part : parts) add(text, part);

  for (std::size_t i = 1; i < steps_.size(); ++i) {
    const Step& step = steps_[i];
    const std::vector<std::string_view> whole = std::exchange(pieces, {});
    for (const std::string_view piece : whole) {
      SplitProgress within;
      step.find(piece, true, scratch, within);
      apply(step.behaviour, within.parts_);
      for (const TextPart& part : within.parts_) add(piece, part);
    }
  }
  return pieces;
}

}  // namespace sluice
