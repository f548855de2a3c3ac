#pragma once
// How well a text was predicted.

#include <cstddef>
#include <span>

#include "base/types.h"

namespace sluice::apps {

/// Negative log-likelihood of tokens, in nats.
struct Score {
  double nll = 0;
  std::size_t tokens = 0;

  /// `logits`: of the position before `target`.
  void add(std::span<const float> logits, TokenId target);
  // REQUIRES: tokens != 0.
  double mean() const { return nll / static_cast<double>(tokens); }
  double perplexity() const;
};

}  // namespace sluice::apps
