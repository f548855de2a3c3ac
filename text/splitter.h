#pragma once
// Cuts text into the pieces that are tokenised each for itself.

#include <cstddef>
#include <optional>
#include <string_view>
#include <vector>

#include "base/status.h"
#include "base/tokenizer_data.h"
#include "text/pattern.h"

namespace sluice {

/// A stretch of a step's input: a match, or what lies between two.
struct SplitPart {
  std::size_t begin;
  std::size_t end;
  bool matched;
};

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
  std::size_t from_ = 0;  // where the first step's search goes on
  std::size_t done_ = 0;  // end of its last match
  std::optional<std::size_t> last_match_end_;
  std::vector<SplitPart> parts_;  // of the first step, not given out
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
  static void find_parts(std::string_view text, const Pattern& pattern, bool invert, bool final,
                         PatternScratch& scratch, SplitProgress& progress);

  struct Step {
    Pattern pattern;
    bool invert;
    SplitStep::Behaviour behaviour;
  };
  std::vector<Step> steps_;
};

}  // namespace sluice
