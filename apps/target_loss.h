#pragma once
// `--target-loss`: the fewest bits at which a model still reads a text well, found by trying.

#include <cstddef>
#include <string>

#include "apps/options.h"
#include "base/status.h"
#include "formats/store_format.h"
#include "store/resting_widths.h"

namespace sluice::apps {

/// What was found, and with how much trouble.
struct LossFound {
  double bits = 0;          // that experts rest at
  double too_few_bits = 0;  // the most that were tried and lost more; 0: the least there are do
  double perplexity = 0;    // at these bits
  double exact = 0;         // of all that the store has
  std::size_t tokens = 0;   // of the text
  std::size_t evaluations = 0;

  double percent() const { return 100 * (perplexity / exact - 1); }
};

/// kInvalidArgument, before anything takes long: the plan's source has no planes, or the text
/// cannot be read again and again.
Status check_target_loss(const std::string& text, const std::string& model, const StorePlan& plan);

/// A line of it, on standard output.
void print_loss(const LossFound& found);

/// Chooses widths that make `text` lose at most `percent` of perplexity: halves the bits that may
/// be the fewest, down to a 20th of one, and tries each, resting experts in memory at what is
/// chosen. Says what each trial gave. Where a text is too short for losses to rise with every bit
/// less, the fewest that were seen to do. `common`: the model, a store that has its experts in
/// planes, and what a run of it may take; `plan`: of that store; `widths`: measured.
/// REQUIRES: check_target_loss. kInvalidArgument: the text is too short; all bits of the planes
/// lose more. Other errors as opening and running a model have them; kCancelled.
Result<LossFound> meet_target_loss(double percent, const std::string& text,
                                   const CommonOptions& common, const StorePlan& plan,
                                   RestingWidths& widths);

}  // namespace sluice::apps
