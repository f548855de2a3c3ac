#pragma once
// Products of a matrix and rows, on the host and on the device, and what the CPU makes of them.

#include <memory>
#include <random>
#include <vector>

#include "tests/cpu/nested_matrix.h"
#include "tests/cpu/plain_dot.h"
#include "tests/cuda/device_copies.h"

namespace sluice::testing {

struct MatmulShape {
  std::size_t rows = 0, columns = 0, n_rows = 0;
  bool indexed = true, biased = true;
  bool with_codes = true;  // 8-bit activations
};

inline constexpr float kUntouched = 9.0f;

/// The host's task; the output has columns that are nobody's.
struct MatmulCase {
  MatmulShape shape;
  WeightMatrix weight;
  OwnedActivations input;
  std::vector<std::uint32_t> index;  // with repetitions
  std::vector<float> bias;
  OwnedMatrix owned;
  std::shared_ptr<CutNested> nested;

  std::size_t output_stride() const { return shape.rows + 3; }
  std::vector<float> expected(Compute& compute) {
    std::vector<float> output(shape.n_rows * output_stride(), kUntouched);
    MatmulTask task;
    task.weight = weight;
    task.input = input.view;
    task.row_index = index.empty() ? nullptr : index.data();
    task.n_rows = shape.n_rows;
    task.output = output.data();
    task.output_stride = output_stride();
    task.bias = bias.empty() ? nullptr : bias.data();
    compute.matmul({&task, 1});
    return output;
  }
};

/// Activations, index and bias for a shape.
inline MatmulCase inputs_of(const MatmulShape& shape, std::mt19937& random) {
  MatmulCase of;
  of.shape = shape;
  const std::size_t x_rows = shape.indexed ? shape.n_rows / 2 + 3 : shape.n_rows;
  of.input = random_activations(x_rows, shape.columns, shape.with_codes, random);
  for (std::size_t r = 0; shape.indexed && r < shape.n_rows; ++r) {
    of.index.push_back(static_cast<std::uint32_t>(random() % x_rows));
  }
  if (shape.biased) of.bias = random_activations(1, shape.rows, false, random).values;
  return of;
}

inline MatmulCase make_matmul(const TensorFormat& format, const MatmulShape& shape,
                              std::mt19937& random) {
  MatmulCase of = inputs_of(shape, random);
  of.owned = random_matrix(format, shape.rows, shape.columns, random);
  of.weight = of.owned.matrix;
  return of;
}

/// Of planes at a width.
inline MatmulCase make_nested_matmul(const NestedForm& form, unsigned width,
                                     const MatmulShape& shape, std::mt19937& random,
                                     bool extreme = false) {
  MatmulCase of = inputs_of(shape, random);
  of.nested = std::make_shared<CutNested>(
      cut(random_nested(form, shape.rows, shape.columns, random, extreme), width));
  of.weight = of.nested->weight;
  return of;
}

/// The same on the device.
class DeviceMatmul : private DeviceCopies {
 public:
  explicit DeviceMatmul(const MatmulCase& of)
      : output_(std::vector<float>(of.shape.n_rows * of.output_stride(), kUntouched)) {
    task.weight = matrix(of.weight);
    task.input = activations(of.input);
    task.row_index = indices(of.index);
    task.n_rows = of.shape.n_rows;
    task.output = output_.data();
    task.output_stride = of.output_stride();
    task.bias = floats(of.bias);
  }
  std::vector<float> output() const { return output_.download(); }

  MatmulTask task;

 private:
  DeviceArray<float> output_;
};

}  // namespace sluice::testing
