#pragma once
// Logistic regression that learns as it goes: what is known of the weights is a normal
// distribution, which every batch of examples moves (one Newton step) and narrows (by the
// curvature). What was learned long ago fades towards what was known at the start.
//
// D. J. Spiegelhalter and S. L. Lauritzen, "Sequential updating of conditional probabilities on
// directed graphical structures", Networks 20, 1990.

#include <algorithm>
#include <array>
#include <cmath>
#include <cstddef>

namespace sluice {

/// Not thread-safe. Allocates nothing.
template <std::size_t Features>
class OnlineLogistic {
 public:
  using Vector = std::array<float, Features>;

  /// `weights`: known at the start, as well as `evidence` examples show them.
  OnlineLogistic(const Vector& weights, double evidence) : evidence_(evidence), precision_{} {
    for (std::size_t i = 0; i < Features; ++i) {
      weights_[i] = weights[i];
      precision_[i][i] = evidence;
    }
  }

  double weight(std::size_t feature) const { return weights_[feature]; }
  /// The logarithm of the odds.
  double logit(const Vector& features) const {
    double sum = 0;
    for (std::size_t i = 0; i < Features; ++i) sum += weights_[i] * features[i];
    return sum;
  }

  void add(const Vector& features, bool happened) {
    const double probability = 1 / (1 + std::exp(-logit(features)));
    const double curvature = std::max(probability * (1 - probability), kLeastCurvature);
    for (std::size_t i = 0; i < Features; ++i) {
      gradient_[i] += ((happened ? 1 : 0) - probability) * features[i];
      const double scaled = curvature * features[i];
      for (std::size_t j = 0; j <= i; ++j) precision_[i][j] += scaled * features[j];
    }
    examples_ += 1;
  }

  /// Takes in what was added since.
  void learn() {
    if (examples_ == 0) return;
    examples_ = 0;
    solve();
    for (std::size_t i = 0; i < Features; ++i) {
      weights_[i] += gradient_[i];
      gradient_[i] = 0;
      for (std::size_t j = 0; j <= i; ++j) precision_[i][j] *= kKept;
      precision_[i][i] += (1 - kKept) * evidence_;
    }
  }

 private:
  static constexpr double kLeastCurvature = 0.02;  // of an example that could not be surer
  static constexpr double kKept = 0.999;           // of the knowledge, at every learn()

  using Matrix = std::array<std::array<double, Features>, Features>;

  /// gradient ← precision⁻¹ · gradient, by Cholesky's L·Lᵀ.
  void solve() {
    Matrix lower = precision_;
    for (std::size_t i = 0; i < Features; ++i) {
      for (std::size_t j = 0; j <= i; ++j) {
        double sum = lower[i][j];
        for (std::size_t k = 0; k < j; ++k) sum -= lower[i][k] * lower[j][k];
        lower[i][j] = i == j ? std::sqrt(sum) : sum / lower[j][j];
      }
    }
    for (std::size_t i = 0; i < Features; ++i) {
      for (std::size_t k = 0; k < i; ++k) gradient_[i] -= lower[i][k] * gradient_[k];
      gradient_[i] /= lower[i][i];
    }
    for (std::size_t i = Features; i-- > 0;) {
      for (std::size_t k = i + 1; k < Features; ++k) gradient_[i] -= lower[k][i] * gradient_[k];
      gradient_[i] /= lower[i][i];
    }
  }

  double evidence_;
  std::array<double, Features> weights_{}, gradient_{};
  Matrix precision_;  // lower triangle
  std::size_t examples_ = 0;
};

}  // namespace sluice
