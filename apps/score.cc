#include "apps/score.h"

#include <algorithm>
#include <cmath>

namespace sluice::apps {

void Score::add(std::span<const float> logits, TokenId target) {
  // Summed in double because a vocabulary is long.
  const float peak = *std::max_element(logits.begin(), logits.end());
  double sum = 0;
  for (const float logit : logits) sum += std::exp(static_cast<double>(logit) - peak);
  nll += std::log(sum) + peak - logits[static_cast<std::size_t>(target)];
  ++tokens;
}

double Score::perplexity() const { return std::exp(mean()); }

}  // namespace sluice::apps
