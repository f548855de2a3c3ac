#pragma once
// How likely tokens were, by the model's own distribution: before temperature and all else.

#include <cstdint>
#include <span>
#include <vector>

#include "base/types.h"

namespace sluice::server {

struct TokenLogprob {
  TokenId token = 0;
  double logprob = 0;  // NaN: a text's first token has none
};

/// A token's, and those of the most likely ones in its place, the best first.
struct TokenLogprobs {
  TokenLogprob own;
  std::vector<TokenLogprob> top;
};

/// Of one position. Keeps a copy of the logits.
class LikelyTokens {
 public:
  LikelyTokens(std::span<const float> logits, std::size_t top);
  TokenLogprobs of(TokenId token) const;

 private:
  std::vector<float> logits_;
  double log_sum_ = 0;
  std::vector<TokenLogprob> top_;
};

}  // namespace sluice::server
