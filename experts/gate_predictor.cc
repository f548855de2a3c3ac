#include "experts/gate_predictor.h"

namespace sluice {

void rank_scores(std::span<const float> scores, std::span<std::uint32_t> best) {
  if (best.empty()) return;
  const auto higher = [](float a, float b) { return a > b || (a == a && b != b); };
  std::size_t found = 0;
  for (std::uint32_t i = 0; i < scores.size(); ++i) {
    const float score = scores[i];
    if (found == best.size() && !higher(score, scores[best[found - 1]])) continue;
    std::size_t place = found < best.size() ? found++ : found - 1;
    for (; place > 0 && higher(score, scores[best[place - 1]]); --place) {
      best[place] = best[place - 1];
    }
    best[place] = i;
  }
}

}  // namespace sluice
