#pragma once
// Cuts text into the pieces that are tokenised each for itself.

#include <string_view>
#include <vector>

#include "base/status.h"
#include "base/tokenizer_data.h"
#include "text/pattern.h"

namespace sluice {

class Splitter {
 public:
  /// kUnsupported: a pattern that does not compile.
  static Result<Splitter> create(const std::vector<SplitStep>& steps);

  /// The pieces of `text` in order, none empty. They cover all of it but what a step removes.
  /// REQUIRES: well-formed UTF-8.
  std::vector<std::string_view> split(std::string_view text, PatternScratch& scratch) const;

 private:
  struct Step {
    Pattern pattern;
    bool invert;
    SplitStep::Behaviour behaviour;
  };
  std::vector<Step> steps_;
};

}  // namespace sluice
