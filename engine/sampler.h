#pragma once
// From logits to the next token.

#include <cstdint>
#include <random>
#include <span>
#include <vector>

#include "base/status.h"
#include "base/types.h"

namespace sluice {

/// Applied in this order: repeat penalty, top-k, top-p, min-p, temperature. The defaults of the
/// last four leave the distribution as it is.
struct SamplerOptions {
  float temperature = 0.0f;  // 0: greedy, the highest logit (the lower id where two are equal)
  std::uint32_t top_k = 0;   // 0: all
  float top_p = 1.0f;
  float min_p = 0.0f;
  float repeat_penalty = 1.0f;  // of tokens among the last `repeat_window`: positive logits
                                // divided, negative multiplied (Keskar et al. 2019)
  std::uint32_t repeat_window = 64;
  std::uint64_t seed = 0;

  /// kInvalidArgument names what is out of range.
  Status check() const;
};

/// The same options, logits and history give the same tokens on every machine. Not thread-safe.
class Sampler {
 public:
  explicit Sampler(const SamplerOptions& options) : options_(options), random_(options.seed) {}

  /// `history`: the tokens so far, newest last.
  TokenId sample(std::span<const float> logits, std::span<const TokenId> history);

 private:
  struct Candidate {
    float logit;
    TokenId id;
  };
  void penalise(std::span<const TokenId> history);
  void keep_best();
  void keep_probable();
  TokenId draw();

  SamplerOptions options_;
  std::mt19937_64 random_;
  std::vector<Candidate> candidates_;
  std::vector<double> weights_;
};

}  // namespace sluice
