#pragma once
// The steps of normalising, each over a text that arrives in parts.

#include <memory>
#include <string>
#include <string_view>

#include "base/status.h"
#include "base/tokenizer_data.h"
#include "text/held_text.h"
#include "text/pattern_search.h"

namespace sluice {

/// How far one stage has come with one text.
struct StageProgress {
  HeldText held;         // what more text may change, and what the stage still looks back at
  PatternSearch search;  // of patterns: `done` of what is held has been given out
  bool begun = false;    // something was given out
};

/// Immutable.
class NormalizeStage {
 public:
  virtual ~NormalizeStage() = default;
  /// Appends to `out` what becomes of `text`, as far as that is certain whatever follows; with
  /// `final`, nothing does. Returns where in `text` the next call is to begin again. REQUIRES:
  /// well-formed UTF-8.
  virtual std::size_t advance(std::string_view text, bool final, StageProgress& progress,
                              PatternScratch& scratch, std::string& out) const = 0;
};

/// kUnsupported, kCorrupt: a pattern or character map that is none.
Result<std::unique_ptr<NormalizeStage>> create_normalize_stage(const NormalizeStep& step);

}  // namespace sluice
