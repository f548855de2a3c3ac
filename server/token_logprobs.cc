#include "server/token_logprobs.h"

#include <algorithm>
#include <cmath>
#include <numeric>

namespace sluice::server {

LikelyTokens::LikelyTokens(std::span<const float> logits, std::size_t top)
    : logits_(logits.begin(), logits.end()) {
  const double peak = *std::ranges::max_element(logits_);
  double sum = 0;
  for (const float logit : logits_) sum += std::exp(logit - peak);
  log_sum_ = peak + std::log(sum);
  std::vector<TokenId> ids(logits_.size());
  std::iota(ids.begin(), ids.end(), 0);
  const auto end = ids.begin() + static_cast<std::ptrdiff_t>(std::min(top, ids.size()));
  std::partial_sort(ids.begin(), end, ids.end(), [&](TokenId a, TokenId b) {
    const float first = logits_[static_cast<std::size_t>(a)];
    const float second = logits_[static_cast<std::size_t>(b)];
    return first > second || (first == second && a < b);
  });
  for (auto id = ids.begin(); id != end; ++id) {
    top_.push_back({*id, logits_[static_cast<std::size_t>(*id)] - log_sum_});
  }
}

TokenLogprobs LikelyTokens::of(TokenId token) const {
  return {{token, logits_[static_cast<std::size_t>(token)] - log_sum_}, top_};
}

}  // namespace sluice::server
