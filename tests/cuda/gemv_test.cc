// The GEMV kernels of every format, bit for bit against canonical.h: on the CPU through the shim
// and, from the same source, on a device.

#include "cuda/gemv.h"

#include "tests/cuda/device_memory.h"
#include "tests/cuda/plain_rows.h"

namespace sluice::testing {
namespace {

using cuda::GemvTile;
using cuda::ProductLaunch;
using cuda::ProductTask;
using cuda::QuantisedRows;

class GemvTest : public DeviceTest {};

struct DeviceRows {
  explicit DeviceRows(const PlainRows& rows)
      : codes(rows.codes), scales(rows.scales), sums(rows.sums) {}
  DeviceRows(std::size_t rows, std::size_t columns)
      : codes(rows * columns), scales(rows * columns / 32), sums(rows * columns / 16) {}
  QuantisedRows view() const { return {codes.data(), scales.data(), sums.data()}; }

  DeviceArray<std::int8_t> codes;
  DeviceArray<float> scales;
  DeviceArray<std::int16_t> sums;
};

struct Shape {
  std::uint32_t rows, columns, n_rows;
};

std::vector<const TensorFormat*> quantised_formats() {
  std::vector<const TensorFormat*> formats;
  for (const TensorFormat& format : tensor_formats()) {
    if (format.quantised()) formats.push_back(&format);
  }
  return formats;
}

void run(const ProductLaunch& launch, const std::vector<ProductTask>& tasks,
         const GemvTile* tile = nullptr) {
  const DeviceArray<ProductTask> device_tasks{std::span<const ProductTask>(tasks)};
  ASSERT_EQ(cuda::launch_gemv(launch, device_tasks.data(), nullptr, tile), cudaSuccess);
  ASSERT_EQ(cudaStreamSynchronize(nullptr), cudaSuccess);
}

// One matrix with bias, rows of the input chosen by index.
void expect_canonical(const TensorFormat& format, const Shape& shape, Bytes kind,
                      const GemvTile* tile = nullptr, int code = 0) {
  std::mt19937 random(shape.rows * 7919 + shape.columns * 31 + shape.n_rows);
  const PlainMatrix matrix = make_matrix(format, shape.rows, shape.columns, kind, random);
  const std::size_t x_rows = shape.n_rows + 2;
  std::vector<float> values = normal_values(x_rows * shape.columns, random);
  if (code != 0) {
    for (float& value : values) value = value < 0 && kind == Bytes::kTame ? -3.0f : 3.0f;
  }
  const PlainRows x = quantise_plainly(values);
  const std::vector<float> bias = normal_values(shape.rows, random);
  std::vector<std::uint32_t> index(shape.n_rows);
  for (std::uint32_t& row : index) row = static_cast<std::uint32_t>(random() % x_rows);

  const DeviceArray<std::byte> weight{std::span<const std::byte>(matrix.bytes)};
  const DeviceRows input(x);
  const DeviceArray<float> device_bias{std::span<const float>(bias)};
  const DeviceArray<std::uint32_t> device_index{std::span<const std::uint32_t>(index)};
  const std::uint32_t stride = shape.rows + 3;
  const DeviceArray<float> output(shape.n_rows * stride);
  const std::vector<float> untouched = output.download();

  ProductTask task;
  task.weight.data = weight.data();
  task.input = input.view();
  task.row_index = device_index.data();
  task.bias = device_bias.data();
  task.output = output.data();
  task.rows = shape.rows;
  task.n_rows = shape.n_rows;
  task.output_stride = stride;
  const ProductLaunch launch{format.type, shape.columns, shape.rows, 1, shape.n_rows, false};
  run(launch, {task}, tile);

  const std::vector<float> got = output.download();
  for (std::uint32_t r = 0; r < shape.n_rows; ++r) {
    for (std::uint32_t i = 0; i < stride; ++i) {
      const float want = i < shape.rows ? dot_plainly(matrix, i, x, index[r]) + bias[i]
                                        : untouched[r * stride + i];
      ASSERT_TRUE(same_bits(got[r * stride + i], want))
          << format.name << " " << shape.rows << " x " << shape.columns << ", row " << r << " of "
          << shape.n_rows << ", output " << i << ": " << got[r * stride + i] << ", not " << want;
    }
  }
}

TEST_F(GemvTest, EveryFormatAtOddSizes) {
  in_every_thread_order([] {
    for (const TensorFormat* format : quantised_formats()) {
      const std::uint32_t block = format->block_elements;
      for (const Shape shape : {Shape{1, block, 1}, Shape{5, 768, 1}, Shape{37, 1536 + block, 2},
                                Shape{33, 512, 3}, Shape{32, 2304, 4}}) {
        expect_canonical(*format, shape, Bytes::kTame);
      }
    }
  });
}

TEST_F(GemvTest, AnyBytesAreABlock) {
  for (const TensorFormat* format : quantised_formats()) {
    expect_canonical(*format, {24, 1024, 2}, Bytes::kAny);
  }
}

TEST_F(GemvTest, LargestCodesDoNotOverflow) {
  for (const TensorFormat* format : quantised_formats()) {
    for (const Bytes kind : {Bytes::kTame, Bytes::kLargest, Bytes::kSmallest}) {
      expect_canonical(*format, {4, 1024, 1}, kind, nullptr, 127);
    }
  }
}

// How a launch is cut changes no bit.
TEST_F(GemvTest, EveryTile) {
  for (const TensorType type : {TensorType::kQ4_0, TensorType::kQ6_K, TensorType::kQ4_K}) {
    for (const std::uint32_t rows_per_warp : {1u, 2u, 4u, 8u}) {
      for (const std::uint32_t segments : {1u, 2u, 4u, 8u}) {
        const std::uint32_t stages = 1 + (rows_per_warp + segments) % 3;
        const GemvTile tile{rows_per_warp, segments, stages};
        if (rows_per_warp * segments > 32) continue;
        expect_canonical(tensor_format(type), {35, 2816, 1}, Bytes::kTame, &tile);
      }
    }
  }
}

// The experts of a layer: gate, up and silu in one launch, down in another, some experts with fewer
// rows, one with none.
void expect_experts(TensorType type, TensorType down_type) {
  constexpr std::uint32_t kExperts = 4, kHidden = 512, kFfn = 256;
  const std::uint32_t n_rows[kExperts] = {1, 3, 0, 2};
  std::mt19937 random(11);
  const PlainRows x = quantise_plainly(normal_values(3 * kHidden, random));
  const DeviceRows input(x);
  std::vector<PlainMatrix> gates, ups, downs;
  std::vector<DeviceArray<std::byte>> weights;
  std::vector<DeviceArray<float>> values, outputs;
  std::vector<DeviceRows> hidden;
  std::vector<ProductTask> up_tasks, down_tasks;
  weights.reserve(3 * kExperts);
  for (std::uint32_t e = 0; e < kExperts; ++e) {
    const auto upload = [&](const PlainMatrix& matrix) {
      weights.emplace_back(std::span<const std::byte>(matrix.bytes));
      return weights.back().data();
    };
    gates.push_back(make_matrix(tensor_format(type), kFfn, kHidden, Bytes::kTame, random));
    ups.push_back(make_matrix(tensor_format(type), kFfn, kHidden, Bytes::kTame, random));
    downs.push_back(make_matrix(tensor_format(down_type), kHidden, kFfn, Bytes::kTame, random));
    values.emplace_back(3 * kFfn);
    outputs.emplace_back(3 * kHidden);
    hidden.emplace_back(3, kFfn);
    ProductTask up;
    up.weight.data = upload(gates.back());
    up.up.data = upload(ups.back());
    up.input = input.view();
    up.output = values.back().data();
    up.output_stride = kFfn;
    up.hidden = hidden.back().view();
    up.rows = kFfn;
    up.n_rows = n_rows[e];
    up_tasks.push_back(up);
    ProductTask down;
    down.weight.data = upload(downs.back());
    down.input = hidden.back().view();
    down.output = outputs.back().data();
    down.output_stride = kHidden;
    down.rows = kHidden;
    down.n_rows = n_rows[e];
    down_tasks.push_back(down);
  }
  const ProductLaunch up_launch{type, kHidden, kFfn, kExperts, 3, true};
  const ProductLaunch down_launch{down_type, kFfn, kHidden, kExperts, 3, false};
  run(up_launch, up_tasks);
  run(down_launch, down_tasks);

  for (std::uint32_t e = 0; e < kExperts; ++e) {
    std::vector<float> h(n_rows[e] * kFfn);
    for (std::uint32_t r = 0; r < n_rows[e]; ++r) {
      for (std::uint32_t i = 0; i < kFfn; ++i) {
        h[r * kFfn + i] =
            canonical_silu(dot_plainly(gates[e], i, x, r)) * dot_plainly(ups[e], i, x, r);
      }
    }
    const PlainRows want = quantise_plainly(h);
    const std::vector<float> got_values = values[e].download();
    const std::vector<std::int8_t> codes = hidden[e].codes.download();
    const std::vector<float> scales = hidden[e].scales.download();
    const std::vector<std::int16_t> sums = hidden[e].sums.download();
    const std::vector<float> got = outputs[e].download();
    for (std::size_t i = 0; i < h.size(); ++i) ASSERT_TRUE(same_bits(got_values[i], h[i])) << i;
    for (std::size_t i = 0; i < h.size(); ++i) ASSERT_EQ(codes[i], want.codes[i]) << i;
    for (std::size_t i = 0; i < want.scales.size(); ++i) ASSERT_EQ(scales[i], want.scales[i]) << i;
    for (std::size_t i = 0; i < want.sums.size(); ++i) ASSERT_EQ(sums[i], want.sums[i]) << i;
    for (std::uint32_t r = 0; r < n_rows[e]; ++r) {
      for (std::uint32_t i = 0; i < kHidden; ++i) {
        ASSERT_TRUE(same_bits(got[r * kHidden + i], dot_plainly(downs[e], i, want, r)))
            << "expert " << e << ", row " << r << ", output " << i;
      }
    }
  }
}

TEST_F(GemvTest, ExpertsOfALayer) {
  in_every_thread_order([] {
    expect_experts(TensorType::kQ4_0, TensorType::kQ8_0);
    expect_experts(TensorType::kQ4_K, TensorType::kQ6_K);
    expect_experts(TensorType::kMXFP4, TensorType::kMXFP4);
  });
}

float canonical(Activation activation, float gate, float up, float alpha, float limit) {
  switch (activation) {
    case Activation::kSilu:
      return canonical_silu(gate) * up;
    case Activation::kGeluTanh:
      return canonical_gelu_tanh(gate) * up;
    case Activation::kGelu:
      return canonical_gelu(gate) * up;
    case Activation::kRelu:
      return canonical_relu(gate) * up;
    case Activation::kClampedSwiglu:
      return canonical_clamped_swiglu(gate, up, alpha, limit);
  }
  return 0;
}

// Of numbers of every size, and of what is none: products with one, so that they come as they are.
TEST_F(GemvTest, EveryActivationOfEveryKindOfNumber) {
  std::mt19937 random(17);
  std::vector<float> gates, ups;
  for (const float special : {0.0f, 1e-40f, 1e-20f, 13.5f, 87.3f, 88.7f, 3e38f, HUGE_VALF, NAN}) {
    for (const float gate : {special, -special}) {
      for (const float up : {special, -special, 1.0f, -0.0f}) {
        gates.push_back(gate);
        ups.push_back(up);
      }
    }
  }
  std::uniform_real_distribution<float> wide(-20.0f, 20.0f);
  for (int i = 0; i < 1000; ++i) {
    gates.push_back(wide(random));
    ups.push_back(wide(random));
  }
  const auto n = static_cast<std::uint32_t>(gates.size());
  const DeviceArray<float> gate{std::span<const float>(gates)}, up{std::span<const float>(ups)};
  const std::vector<float> one = {1.0f};
  const DeviceArray<float> x{std::span<const float>(one)}, output(n);
  for (const Activation activation : {Activation::kSilu, Activation::kGeluTanh, Activation::kGelu,
                                      Activation::kRelu, Activation::kClampedSwiglu}) {
    ProductTask task;
    task.weight.data = reinterpret_cast<const std::byte*>(gate.data());
    task.up.data = reinterpret_cast<const std::byte*>(up.data());
    task.values = x.data();
    task.output = output.data();
    task.rows = task.output_stride = n;
    task.n_rows = 1;
    task.activation = activation;
    task.alpha = 1.702f;
    task.limit = 7.0f;
    run({TensorType::kF32, 1, n, 1, 1, /*gated=*/true, /*in_float=*/true}, {task});
    const std::vector<float> got = output.download();
    for (std::uint32_t i = 0; i < n; ++i) {
      // A sum of one term and zero has no sign of zero's.
      const float want =
          canonical(activation, 0.0f + gates[i], 0.0f + ups[i], task.alpha, task.limit);
      ASSERT_TRUE(same_bits(got[i], want)) << static_cast<int>(activation) << ": " << gates[i]
                                           << ", " << ups[i] << ": " << got[i] << ", not " << want;
    }
  }
}

TEST_F(GemvTest, RefusesWhatItCannotDo) {
  const ProductTask task;
  const auto refused = [&](const ProductLaunch& launch, const GemvTile& tile) {
    return cuda::launch_gemv(launch, &task, nullptr, &tile) == cudaErrorInvalidValue;
  };
  const ProductLaunch good{TensorType::kQ4_K, 512, 32, 1, 1, false};
  ProductLaunch launch = good;
  launch.type = TensorType::kF16;  // not in 8 bits
  EXPECT_TRUE(refused(launch, {}));
  launch = good;
  launch.columns = 512 + 32;
  EXPECT_TRUE(refused(launch, {}));
  launch = good;
  launch.max_n_rows = cuda::kMaxGemvRows + 1;
  EXPECT_TRUE(refused(launch, {}));
  EXPECT_TRUE(refused(good, {.rows_per_warp = 3}));
  EXPECT_TRUE(refused(good, {.rows_per_warp = 8, .segments = 8}));
  EXPECT_TRUE(refused(good, {.stages = 4}));
}

}  // namespace
}  // namespace sluice::testing
