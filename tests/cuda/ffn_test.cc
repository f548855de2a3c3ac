// CudaDevice::ffn against the CPU's, bit for bit: on the CPU through the shim and, from the same
// source, on a device.

#include <string>

#include "cuda/upload_ring.h"
#include "tests/cuda/ffn_case.h"

namespace sluice::testing {
namespace {

using cuda::UploadRing;

/// Whether a GPU computes numbers of this format, as matrices of the models that it is for have it.
bool has_kernel(const TensorFormat& format) { return format.quantised() || format.is_float(); }

/// Networks of odd sizes, one of them of more than a segment; columns are multiples of the format's
/// block, and of nothing else where activations are float32.
std::vector<FfnCase> odd_sizes(const TensorFormat& format, const FfnShape& like,
                               std::mt19937& random) {
  const std::size_t block = format.quantised() ? format.block_elements : like.with_codes ? 32 : 7;
  std::vector<FfnCase> cases;
  // Few rows, and many.
  const std::size_t sizes[][3] = {{768 / block * block, block, 3}, {block, block, 7}};
  for (const auto& [hidden, ffn, n_rows] : sizes) {
    FfnShape shape = like;
    shape.hidden = hidden;
    shape.ffn = ffn;
    shape.out = 37;
    shape.n_rows = n_rows;
    cases.push_back(make_case(format.type, format.type, format.type, shape, random));
  }
  return cases;
}

TEST_F(FfnTest, EveryFormat) {
  std::mt19937 random(21);
  in_every_thread_order([&] {
    for (const TensorFormat& format : tensor_formats()) {
      for (const bool with_codes : {true, false}) {
        if (!has_kernel(format)) continue;
        SCOPED_TRACE(format.name);
        std::vector<FfnCase> cases = odd_sizes(format, {.with_codes = with_codes}, random);
        expect_cpus_bits(cases);
        if (HasFatalFailure()) return;
      }
    }
  });
}

TEST_F(FfnTest, EveryActivationWithBiasesAndWithout) {
  std::mt19937 random(22);
  for (const Activation activation : {Activation::kSilu, Activation::kGeluTanh, Activation::kGelu,
                                      Activation::kRelu, Activation::kClampedSwiglu}) {
    for (const bool biased : {false, true}) {
      const FfnShape like{.indexed = !biased, .biased = biased, .activation = activation};
      std::vector<FfnCase> cases = odd_sizes(tensor_format(TensorType::kQ4_0), like, random);
      expect_cpus_bits(cases);
    }
  }
}

/// Networks of planes, whose down is narrower where there is a width between.
void add_planes(std::vector<FfnCase>& cases, const NestedForm& form, unsigned width,
                const FfnShape& like, std::mt19937& random) {
  for (const std::size_t n_rows : {3, 6}) {
    FfnCase of;
    of.shape = like;
    of.shape.hidden = 3 * std::size_t{form.block};
    of.shape.ffn = n_rows == 3 ? 768 : form.block;
    of.shape.n_rows = n_rows;
    of.gate = nested_matrix(of, form, width, of.shape.ffn, of.shape.hidden, random);
    of.up = nested_matrix(of, form, width, of.shape.ffn, of.shape.hidden, random);
    const unsigned narrower = form.width(form.groups_within(width > 2 ? width - 1 : 2));
    of.down = nested_matrix(of, form, narrower, 21, of.shape.ffn, random);
    fill_inputs(of, random);
    cases.push_back(std::move(of));
  }
}

TEST_F(FfnTest, EveryNestedFormAtEveryWidth) {
  std::mt19937 random(27);
  in_every_thread_order([&] {
    for (const NestedForm& form : nested_forms()) {
      for (std::size_t count = 1; count <= form.group_count; ++count) {
        for (const bool with_codes : {true, false}) {
          SCOPED_TRACE(std::string(form.name) + " at " + std::to_string(form.width(count)) +
                       (with_codes ? " bits" : " bits, float32 activations"));
          std::vector<FfnCase> cases;
          add_planes(cases, form, form.width(count), {.with_codes = with_codes}, random);
          expect_cpus_bits(cases);
          if (HasFatalFailure()) return;
        }
      }
    }
  });
}

/// Planes at several widths, and blocks, in one call; rows that fill no strip.
TEST_F(FfnTest, PlanesOfManyWidthsTogether) {
  std::mt19937 random(28);
  std::vector<FfnCase> cases;
  const NestedForm& form = *nested_form_of(TensorType::kQ8_0);
  for (const unsigned width : {2u, 4u, 8u}) {
    add_planes(cases, form, width, {.biased = true, .activation = Activation::kGelu}, random);
  }
  FfnCase odd;
  odd.shape = {.hidden = 96, .ffn = 45, .n_rows = 5, .with_codes = false};
  odd.gate = nested_matrix(odd, form, 5, 45, 96, random);
  odd.up = nested_matrix(odd, form, 3, 45, 96, random);
  odd.down = owned_matrix(odd, TensorType::kF32, 96, 45, random);
  fill_inputs(odd, random);
  cases.push_back(std::move(odd));
  cases.push_back(make_case(TensorType::kQ4_0, TensorType::kQ4_0, TensorType::kQ8_0,
                            {.hidden = 96, .ffn = 64, .n_rows = 2}, random));
  expect_cpus_bits(cases);
}

/// Many types and sizes in one call, gates and ups that are not alike, and rows of any number.
TEST_F(FfnTest, TasksOfAllKindsTogether) {
  std::mt19937 random(23);
  std::vector<FfnCase> cases;
  const auto add = [&](TensorType gate, TensorType up, TensorType down, FfnShape shape) {
    cases.push_back(make_case(gate, up, down, shape, random));
  };
  using enum TensorType;
  add(kQ4_K, kQ4_K, kQ6_K, {.hidden = 512, .ffn = 256, .n_rows = 1});
  add(kQ4_K, kQ5_K, kQ6_K, {.hidden = 256, .ffn = 768, .n_rows = 7, .biased = true});
  add(kQ4_0, kQ4_0, kQ8_0, {.hidden = 160, .ffn = 96, .n_rows = 0});
  add(kMXFP4, kMXFP4, kMXFP4,
      {.hidden = 96,
       .ffn = 160,
       .n_rows = 13,
       .indexed = false,
       .biased = true,
       .activation = Activation::kClampedSwiglu});
  add(kQ4_0, kQ8_0, kQ4_1, {.hidden = 160, .ffn = 96, .n_rows = 4});
  add(kQ4_0, kQ4_0, kQ8_0, {.hidden = 160, .ffn = 32, .n_rows = 2, .indexed = false});
  // More rows than a tile.
  add(kQ4_0, kQ4_0, kQ8_0, {.hidden = 64, .ffn = 96, .n_rows = 70, .out = 5, .biased = true});
  add(kQ5_0, kQ5_1, kQ8_0, {.hidden = 32, .ffn = 32, .n_rows = 67, .out = 5});
  add(kBF16, kBF16, kF16, {.hidden = 40, .ffn = 33, .n_rows = 35, .out = 5, .with_codes = false});
  // Floats before and behind what meets 8 bits, and sizes that are no multiple of anything.
  add(kBF16, kBF16, kQ8_0, {.hidden = 77, .ffn = 96, .n_rows = 3, .with_codes = false});
  add(kF16, kF32, kF32, {.hidden = 45, .ffn = 1, .n_rows = 2, .with_codes = false});
  add(kQ8_0, kQ8_0, kF16, {.hidden = 64, .ffn = 96, .n_rows = 5, .biased = true});
  add(kF32, kF32, kQ4_0, {.hidden = 64, .ffn = 96, .n_rows = 5});
  in_every_thread_order([&] { expect_cpus_bits(cases); });
}

/// More tasks than a slot of the ring has, and more calls than it has slots, with no waiting
/// between.
TEST_F(FfnTest, MoreThanTheRingHolds) {
  std::mt19937 random(24);
  std::vector<FfnCase> cases;
  const FfnCase small = make_case(TensorType::kQ8_0, TensorType::kQ8_0, TensorType::kQ8_0,
                                  {.hidden = 32, .ffn = 32, .n_rows = 2}, random);
  cases.assign(UploadRing::kMost<cuda::ProductTask> + 5, small);
  cases.push_back(make_case(TensorType::kQ4_0, TensorType::kQ8_0, TensorType::kQ8_0,
                            {.hidden = 64, .ffn = 32, .n_rows = 3}, random));
  expect_cpus_bits(cases);
  const StreamIndex streams[] = {stream_, device_->make_stream().value()};
  const DeviceFfn last(cases.back());
  for (std::size_t i = 0; i < 3 * UploadRing::kSlots; ++i) {
    ASSERT_TRUE(give_ffn(*device_, streams[i % 2], {&last.task, 1}).ok());
  }
  for (const StreamIndex stream : streams) {
    ASSERT_TRUE(device_->finish(device_->record(stream).value()).ok());
  }
  EXPECT_EQ(last.output(), cases.back().expected(*compute_));
}

TEST_F(FfnTest, RefusesWhatItCannotDoAndSaysWhy) {
  std::mt19937 random(25);
  const FfnCase of = make_case(TensorType::kQ4_0, TensorType::kQ4_0, TensorType::kQ8_0,
                               {.hidden = 64, .ffn = 32, .n_rows = 1}, random);
  const DeviceFfn there(of);
  const auto refusal = [&](const auto& change) {
    FfnTask task = there.task;
    change(task);
    return give_ffn(*device_, stream_, {&task, 1});
  };
  Status status = refusal([](FfnTask& task) { task.up.layout = WeightLayout::kStrips; });
  EXPECT_EQ(status.code(), ErrorCode::kUnsupported);
  EXPECT_NE(status.message().find("up matrix, Q4_0 of 32 x 64"), std::string::npos)
      << status.message();
  WeightMatrix turned = there.task.up;
  turned.layout = WeightLayout::kStrips;
  EXPECT_FALSE(device_->multiplies(turned)) << "who asks is told beforehand";
  EXPECT_TRUE(device_->multiplies(there.task.up));
  status = refusal([](FfnTask& task) { task.down.data += 8; });
  EXPECT_EQ(status.code(), ErrorCode::kInvalidArgument);
  EXPECT_NE(status.message().find("down"), std::string::npos) << status.message();
  EXPECT_TRUE(give_ffn(*device_, stream_, {&there.task, 1}).ok()) << "a refusal is not the end";
}

#ifdef SLUICE_CUDA_HOST_SHIM

TEST_F(FfnTest, EveryCallOfItMayFail) {
  std::mt19937 random(26);
  const FfnCase of = make_case(TensorType::kQ4_0, TensorType::kQ8_0, TensorType::kQ8_0,
                               {.hidden = 64, .ffn = 32, .n_rows = 5}, random);
  const DeviceFfn there(of);
  namespace host_shim = cuda::host_shim;
  host_shim::fail_call(0);
  ASSERT_TRUE(give_ffn(*device_, stream_, {&there.task, 1}).ok());
  const std::uint64_t calls = host_shim::calls();
  for (std::uint64_t nth = 1; nth <= calls; ++nth) {
    for (const bool late : {false, true}) {
      host_shim::fail_call(0);
      const auto device = std::move(cuda::CudaDevice::open(0)).value();
      const StreamIndex stream = device->make_stream().value();
      host_shim::fail_call(nth, cudaErrorLaunchFailure, late);
      Status status = give_ffn(*device, stream, {&there.task, 1});
      if (late && status.ok()) {  // of the last call
        EXPECT_EQ(nth, calls);
        status = device->record(stream).status();
      }
      EXPECT_EQ(status.code(), ErrorCode::kDeviceLost) << nth;
    }
  }
  host_shim::fail_call(0);
}

#endif

}  // namespace
}  // namespace sluice::testing
