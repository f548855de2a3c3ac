#pragma once
// Vectors in double precision and the tensors of a model by their names: what the reference model
// is written with. It shares nothing with the engine but the description and the numbers of the
// weights.

#include <cmath>
#include <cstddef>
#include <map>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace sluice::test {

using Vector = std::vector<double>;
using Sequence = std::vector<Vector>;  // one vector for each position
/// Empty where a tensor is absent.
using Numbers = std::span<const float>;
/// The numbers of every tensor, row after row, under the names of formats/checkpoint.h.
using NamedTensors = std::map<std::string, std::vector<float>>;

/// The tensors of one layer, or of the whole model.
class TensorView {
 public:
  TensorView(const NamedTensors& all, std::string prefix) : all_(all), prefix_(std::move(prefix)) {}

  /// Throws std::out_of_range where there is none.
  Numbers at(const std::string& name) const { return all_.at(prefix_ + name); }
  Numbers find(const std::string& name) const {
    const auto found = all_.find(prefix_ + name);
    return found == all_.end() ? Numbers() : Numbers(found->second);
  }

 private:
  const NamedTensors& all_;
  std::string prefix_;
};

inline double sigmoid(double x) { return 1.0 / (1.0 + std::exp(-x)); }
inline double silu(double x) { return x * sigmoid(x); }

inline double dot(const Vector& a, const Vector& b) {
  double sum = 0;
  for (std::size_t i = 0; i < a.size(); ++i) sum += a[i] * b[i];
  return sum;
}

inline Vector slice(const Vector& x, std::size_t first, std::size_t count) {
  const auto begin = x.begin() + static_cast<std::ptrdiff_t>(first);
  return {begin, begin + static_cast<std::ptrdiff_t>(count)};
}
inline Numbers slice(Numbers all, std::size_t index, std::size_t count) {
  return all.empty() ? all : all.subspan(index * count, count);
}

inline void add_scaled(Vector& x, double scale, const Vector& y) {
  for (std::size_t i = 0; i < x.size(); ++i) x[i] += scale * y[i];
}
inline void scale(Vector& x, double factor) {
  for (double& value : x) value *= factor;
}

/// matrix [rows, x.size()] · x + bias [rows].
inline Vector multiply(Numbers matrix, const Vector& x, Numbers bias = {}) {
  Vector y(matrix.size() / x.size());
  for (std::size_t row = 0; row < y.size(); ++row) {
    for (std::size_t i = 0; i < x.size(); ++i) y[row] += double{matrix[row * x.size() + i]} * x[i];
    if (!bias.empty()) y[row] += bias[row];
  }
  return y;
}

/// x / sqrt(mean(x²) + epsilon), times the weights where there are any.
inline Vector rms_norm(const Vector& x, Numbers weight, double epsilon) {
  const double root = std::sqrt(dot(x, x) / static_cast<double>(x.size()) + epsilon);
  Vector y = x;
  for (std::size_t i = 0; i < y.size(); ++i) y[i] *= (weight.empty() ? 1.0 : weight[i]) / root;
  return y;
}

/// The RMS norm of what is left of x without its mean (Ba et al. 2016).
inline Vector layer_norm(Vector x, Numbers weight, double epsilon) {
  double mean = 0;
  for (const double value : x) mean += value / static_cast<double>(x.size());
  for (double& value : x) value -= mean;
  return rms_norm(x, weight, epsilon);
}

}  // namespace sluice::test
