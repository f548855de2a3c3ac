#pragma once
// Networks for CudaDevice::ffn, on the host and on the device, and what the CPU makes of them.

#include <memory>
#include <optional>
#include <random>
#include <vector>

#include "base/aligned_buffer.h"
#include "cpu/cpu_compute.h"
#include "cuda/cuda_device.h"
#include "tests/cpu/nested_matrix.h"
#include "tests/cpu/plain_dot.h"
#include "tests/cuda/device_copies.h"

namespace sluice::testing {

struct FfnShape {
  std::size_t hidden = 0, ffn = 0, n_rows = 0;
  std::size_t out = 0;  // outputs; 0: as many as hidden
  bool indexed = true, biased = false;
  bool with_codes = true;  // 8-bit activations
  Activation activation = Activation::kSilu;
};

/// The host's task; borrows nothing but the matrices' bytes.
struct FfnCase {
  WeightMatrix gate, up, down;
  FfnShape shape;
  OwnedActivations input;
  std::vector<std::uint32_t> index;
  std::vector<float> gate_bias, up_bias, down_bias;
  std::vector<std::shared_ptr<OwnedMatrix>> owned;
  std::vector<std::shared_ptr<CutNested>> nested;

  /// What the CPU gives.
  std::vector<float> expected(Compute& compute) {
    AlignedBuffer hidden =
        AlignedBuffer::allocate(Activations::bytes(shape.n_rows + 1, shape.ffn, shape.with_codes))
            .value();
    std::vector<float> output(shape.n_rows * down.rows, 9.0f);
    FfnTask task;
    task.gate = gate;
    task.up = up;
    task.down = down;
    task.activation = shape.activation;
    task.alpha = 1.702f;
    task.limit = 1.5f;
    task.gate_bias = gate_bias.empty() ? nullptr : gate_bias.data();
    task.up_bias = up_bias.empty() ? nullptr : up_bias.data();
    task.down_bias = down_bias.empty() ? nullptr : down_bias.data();
    task.input = input.view;
    task.row_index = index.empty() ? nullptr : index.data();
    task.n_rows = shape.n_rows;
    task.hidden =
        Activations::carve(hidden.data(), shape.n_rows, shape.ffn, input.view.codes != nullptr);
    task.output = output.data();
    compute.ffn({&task, 1});
    return output;
  }
};

/// A matrix of a random table's type.
inline WeightMatrix owned_matrix(FfnCase& of, TensorType type, std::size_t rows,
                                 std::size_t columns, std::mt19937& random) {
  of.owned.push_back(
      std::make_shared<OwnedMatrix>(random_matrix(tensor_format(type), rows, columns, random)));
  return of.owned.back()->matrix;
}

/// A random nested one, cut to a width.
inline WeightMatrix nested_matrix(FfnCase& of, const NestedForm& form, unsigned width,
                                  std::size_t rows, std::size_t columns, std::mt19937& random) {
  of.nested.push_back(
      std::make_shared<CutNested>(cut(random_nested(form, rows, columns, random), width)));
  return of.nested.back()->weight;
}

/// Activations, index and biases for matrices that are there.
inline void fill_inputs(FfnCase& of, std::mt19937& random) {
  const FfnShape& shape = of.shape;
  const std::size_t x_rows = shape.indexed ? shape.n_rows + 3 : shape.n_rows;
  of.input = random_activations(x_rows, shape.hidden, shape.with_codes, random);
  for (std::size_t r = 0; shape.indexed && r < shape.n_rows; ++r) {
    of.index.push_back(static_cast<std::uint32_t>(random() % x_rows));
  }
  if (!shape.biased) return;
  of.gate_bias = random_activations(1, shape.ffn, false, random).values;
  of.up_bias = random_activations(1, shape.ffn, false, random).values;
  of.down_bias = random_activations(1, of.down.rows, false, random).values;
}

inline FfnCase make_case(TensorType gate, TensorType up, TensorType down, const FfnShape& shape,
                         std::mt19937& random) {
  FfnCase of;
  of.shape = shape;
  of.gate = owned_matrix(of, gate, shape.ffn, shape.hidden, random);
  of.up = owned_matrix(of, up, shape.ffn, shape.hidden, random);
  of.down = owned_matrix(of, down, shape.out == 0 ? shape.hidden : shape.out, shape.ffn, random);
  fill_inputs(of, random);
  return of;
}

/// The same on the device.
class DeviceFfn : private DeviceCopies {
 public:
  explicit DeviceFfn(const FfnCase& of) : output_(of.shape.n_rows * of.down.rows) {
    const FfnShape& shape = of.shape;
    task.gate = matrix(of.gate);
    task.up = matrix(of.up);
    task.down = matrix(of.down);
    task.activation = shape.activation;
    task.alpha = 1.702f;
    task.limit = 1.5f;
    task.gate_bias = floats(of.gate_bias);
    task.up_bias = floats(of.up_bias);
    task.down_bias = floats(of.down_bias);
    task.input = activations(of.input);
    task.row_index = indices(of.index);
    task.n_rows = shape.n_rows;
    const bool with_codes = of.input.view.codes != nullptr && shape.ffn % 32 == 0;
    OwnedActivations hidden;
    hidden.values.resize(shape.n_rows * shape.ffn);
    if (with_codes) {
      hidden.codes.resize(shape.n_rows * shape.ffn);
      hidden.scales.resize(shape.n_rows * shape.ffn / 32);
      hidden.sums.resize(shape.n_rows * shape.ffn / 16);
    }
    hidden.view.rows = shape.n_rows;
    hidden.view.columns = shape.ffn;
    task.hidden = activations(hidden);
    task.output = output_.data();
  }
  std::vector<float> output() const { return output_.download(); }

  FfnTask task;

 private:
  DeviceArray<float> output_;
};

/// The error of giving them, which comes with the next record.
inline Status give_ffn(DeviceBackend& device, StreamIndex stream, std::span<const FfnTask> tasks) {
  device.operations(stream).ffn(tasks);
  return device.record(stream).status();
}

/// Runs all of them in one call and holds each against the CPU.
inline void expect_cpus_bits(cuda::CudaDevice& device, StreamIndex stream, Compute& compute,
                             std::vector<FfnCase>& cases) {
  std::vector<DeviceFfn> there;
  std::vector<FfnTask> tasks;
  for (const FfnCase& of : cases) tasks.push_back(there.emplace_back(of).task);
  const Status status = give_ffn(device, stream, tasks);
  ASSERT_TRUE(status.ok()) << status.message();
  ASSERT_TRUE(device.finish(device.record(stream).value()).ok());
  for (std::size_t i = 0; i < cases.size(); ++i) {
    const std::vector<float> want = cases[i].expected(compute), got = there[i].output();
    for (std::size_t at = 0; at < want.size(); ++at) {
      ASSERT_TRUE(same_bits(got[at], want[at]))
          << "network " << i << " (" << cases[i].gate.format->name << ", "
          << cases[i].down.format->name << "), row " << at / cases[i].down.rows << ", output "
          << at % cases[i].down.rows << ": " << got[at] << ", not " << want[at];
    }
  }
}

class FfnTest : public DeviceTest {
 protected:
  void SetUp() override {
    DeviceTest::SetUp();
    if (IsSkipped()) return;
    auto opened = cuda::CudaDevice::open(0);
    ASSERT_TRUE(opened.ok()) << opened.status().message();
    device_ = std::move(opened).value();
    stream_ = device_->make_stream().value();
    compute_ = std::move(make_cpu_compute(1)).value();
  }
  void expect_cpus_bits(std::vector<FfnCase>& cases) {
    testing::expect_cpus_bits(*device_, stream_, *compute_, cases);
  }

  std::unique_ptr<cuda::CudaDevice> device_;
  StreamIndex stream_ = 0;
  std::unique_ptr<Compute> compute_;
};

}  // namespace sluice::testing
