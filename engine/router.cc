#include "engine/router.h"

#include <algorithm>

#include "base/canonical.h"

namespace sluice {

void route_row(const RouterDescription& router, std::span<float> scores, std::uint32_t* ids,
               float* weights) {
  const float peak = *std::max_element(scores.begin(), scores.end());
  float sum = 0;
  for (float& score : scores) {
    score = canonical_exp(score - peak);
    sum += score;
  }
  for (float& score : scores) score /= sum;

  // Insertion into a short sorted list: top_k is at most a dozen, and nothing is allocated.
  std::uint32_t found = 0;
  for (std::uint32_t expert = 0; expert < scores.size(); ++expert) {
    const float score = scores[expert];
    if (found == router.top_k && !(score > weights[found - 1])) continue;
    std::uint32_t place = found < router.top_k ? found++ : found - 1;
    for (; place > 0 && score > weights[place - 1]; --place) {
      weights[place] = weights[place - 1];
      ids[place] = ids[place - 1];
    }
    weights[place] = score;
    ids[place] = expert;
  }

  float chosen = 1.0f;
  if (router.renormalise) {
    chosen = 0;
    for (std::uint32_t rank = 0; rank < router.top_k; ++rank) chosen += weights[rank];
  }
  for (std::uint32_t rank = 0; rank < router.top_k; ++rank)
    weights[rank] = weights[rank] / chosen * router.scale;
}

}  // namespace sluice
