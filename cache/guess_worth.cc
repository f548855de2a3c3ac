#include "cache/guess_worth.h"

#include <algorithm>

namespace sluice {

void GuessWorth::came(std::size_t place, bool right) {
  if (place >= kPlaces) return;
  move(right_[place], right ? 1 : 0);
  seen_ = std::min(seen_ + 1, kProbation);
}

void GuessWorth::read_took(double time) {
  if (read_ == 0) read_ = time;
  move(read_, time);
}

void GuessWorth::was_idle(double time) { move(idle_, std::max(0.0, time)); }

void GuessWorth::missed(bool any) { move(missing_, any ? 1 : 0); }

std::size_t GuessWorth::count() const {
  if (seen_ < kProbation || read_ <= 0) return 0;
  std::size_t count = 0;
  for (double idle = idle_; count < kPlaces; ++count) {
    const double fits = std::min(read_, idle), rest = read_ - fits;
    const double right = right_[count];
    const double gain = right * fits - (1 - right) * (missing_ * rest + kDisplaced * read_);
    if (gain <= kMargin * read_) break;
    idle -= fits;
  }
  return count;
}

}  // namespace sluice
