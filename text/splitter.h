#pragma once
// Cuts text into the pieces that are tokenised each for itself.

#include <cstddef>
#include <string_view>
#include <vector>

#include "base/status.h"
#include "base/tokenizer_data.h"
#include "text/pattern_search.h"

namespace sluice {

/// How far a text that arrives in parts has been cut.
class SplitProgress {
 public:
  /// What lies before was given out as pieces.
  std::size_t taken() const { return taken_; }
  /// The text has lost its first `bytes`. REQUIRES: bytes <= taken().
  void drop(std::size_t bytes);

 private:
  friend class Splitter;
  std::size_t taken_ = 0;
  PatternSearch search_;         // the first step's
  std::vector<TextPart> parts_;  // of the first step, not given out
};

class Splitter {
 public:
  /// kUnsupported: a pattern that does not compile.
  static Result<Splitter> create(const std::vector<SplitStep>& steps);

  /// The pieces of `text` in order, none empty. They cover all of it but what a step removes.
  /// REQUIRES: well-formed UTF-8.
  std::vector<std::string_view> split(std::string_view text, PatternScratch& scratch) const;

  /// The next of those pieces that are certain, whatever follows `text`; with `final`, nothing
  /// follows. The next call gets the same text, less what was dropped, and more.
  std::vector<std::string_view> advance(std::string_view text, bool final, SplitProgress& progress,
                                        PatternScratch& scratch) const;
  /// Without steps all text is one piece.
  bool has_steps() const { return !steps_.empty(); }
  /// Bytes before SplitProgress::taken() that `advance` may look at.
  std::size_t context() const { return steps_.empty() ? 0 : steps_.front().pattern.context(); }

 private:
  struct Step {
    Pattern pattern;
    bool invert;
    SplitStep::Behaviour behaviour;

    void find(std::string_view text, bool final, PatternScratch& scratch,
              SplitProgress& progress) const;
  };
  std::vector<Step> steps_;
};

}  // namespace sluice
