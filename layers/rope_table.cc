#include "layers/rope_table.h"

#include <algorithm>
#include <cmath>
#include <numbers>

namespace sluice {
namespace {

/// The pair whose wave turns `rotations` times over the original context (YaRN, Peng et al. 2023,
/// section 3.2).
double correction_pair(const RopeDescription& rope, double rotations) {
  return rope.rotary_dim * std::log(rope.original_context / (rotations * 2 * std::numbers::pi)) /
         (2 * std::log(rope.base));
}

/// YaRN: fast pairs keep their frequency, slow ones are interpolated, a ramp lies between.
void apply_yarn(const RopeDescription& rope, std::vector<float>& frequencies) {
  double low = correction_pair(rope, rope.beta_fast);
  double high = correction_pair(rope, rope.beta_slow);
  if (rope.truncate) {
    low = std::floor(low);
    high = std::ceil(high);
  }
  low = std::max(low, 0.0);
  high = std::min(high, static_cast<double>(rope.rotary_dim - 1));
  if (low == high) high += 0.001;
  for (std::size_t i = 0; i < frequencies.size(); ++i) {
    const float ramp =
        std::clamp(static_cast<float>((static_cast<double>(i) - low) / (high - low)), 0.0f, 1.0f);
    const float interpolated = frequencies[i] / static_cast<float>(rope.factor);
    frequencies[i] = interpolated * ramp + frequencies[i] * (1.0f - ramp);
  }
}

}  // namespace

RopeTable::RopeTable(const RopeDescription& rope, std::size_t context)
    : frequencies_(rope.rotary_dim / 2), magnitude_(static_cast<float>(rope.attention_factor)) {
  for (std::size_t i = 0; i < frequencies_.size(); ++i) {
    const float exponent = static_cast<float>(2 * i) / static_cast<float>(rope.rotary_dim);
    frequencies_[i] = 1.0f / static_cast<float>(std::pow(rope.base, exponent));
  }
  const std::vector<double>* factors = &rope.factors;
  switch (rope.scaling) {
    case RopeScaling::kNone:
      break;
    case RopeScaling::kLinear:
      for (float& frequency : frequencies_) frequency /= static_cast<float>(rope.factor);
      break;
    case RopeScaling::kYarn:
      apply_yarn(rope, frequencies_);
      break;
    case RopeScaling::kLongRope:
      if (static_cast<double>(context) > rope.original_context) {
        factors = &rope.factors_long;
        magnitude_ = static_cast<float>(rope.attention_factor_long);
      }
      break;
  }
  for (std::size_t i = 0; i < factors->size(); ++i) {
    frequencies_[i] /= static_cast<float>((*factors)[i]);
  }
}

void RopeTable::fill(std::span<const std::uint32_t> positions, float* cosines, float* sines) const {
  for (const std::uint32_t position : positions) {
    for (const float frequency : frequencies_) {
      const double angle = static_cast<float>(position) * frequency;
      *cosines++ = static_cast<float>(std::cos(angle)) * magnitude_;
      *sines++ = static_cast<float>(std::sin(angle)) * magnitude_;
    }
  }
}

}  // namespace sluice
