// A device's copy has the file's bytes, whatever the host had made of them.

#include "experts/device_copy.h"

#include <gtest/gtest.h>

#include <cstring>
#include <random>

#include "base/aligned_buffer.h"
#include "base/strip_layout.h"
#include "cpu/cpu_compute.h"
#include "tests/experts/fake_checkpoint.h"

namespace sluice {
namespace {

std::vector<TensorType> all_types() {
  std::vector<TensorType> types;
  for (const TensorFormat& format : tensor_formats()) types.push_back(format.type);
  return types;
}

/// An expert of a catalogue of one, with its bytes where the host has them.
class HostExpert {
 public:
  HostExpert(const ExpertLayer& layer, const test::FakeCheckpoint& fake) {
    for (std::size_t i = 0; i < 3; ++i) {
      const FileRange& range = layer.ranges[0][i];
      buffers_[i] = AlignedBuffer::allocate(range.bytes).value();
      const auto& file = fake.files[range.file];
      std::memcpy(buffers_[i].data(), file.data() + range.offset, range.bytes);
      matrix(i) = layer.views[i].at(buffers_[i].data(), nullptr);
    }
  }
  void repack(Compute& compute, bool sparse_input) {
    std::vector<RepackTask> tasks;
    for (std::size_t i = 0; i < 3; ++i) {
      tasks.push_back({&matrix(i), buffers_[i].data(), sparse_input});
    }
    compute.repack(tasks);
  }
  WeightMatrix& matrix(std::size_t i) {
    return i == 0 ? weights.gate : i == 1 ? weights.up : weights.down;
  }
  ExpertWeights weights;

 private:
  std::array<AlignedBuffer, 3> buffers_;
};

void expect_same_bytes(const WeightMatrix& copy, const FileRange& range,
                       const test::FakeCheckpoint& fake) {
  EXPECT_EQ(copy.layout, WeightLayout::kRows);
  EXPECT_EQ(copy.bytes(), range.bytes);
  EXPECT_EQ(std::memcmp(copy.data, fake.files[range.file].data() + range.offset, range.bytes), 0);
  EXPECT_EQ(reinterpret_cast<std::uintptr_t>(copy.data) % 16, 0u);
}

/// Hidden and FFN widths that fill strips, and some that do not; also wide enough that several
/// threads share a matrix.
TEST(DeviceCopy, HasTheFilesBytesOfEveryTypeInEveryOrder) {
  const auto compute = make_cpu_compute(3).value();
  for (const TensorType type : all_types()) {
    const std::size_t block = tensor_format(type).block_elements;
    for (const std::size_t ffn : {block, 3 * block, std::size_t{768}}) {
      if (ffn % block != 0) continue;
      for (const std::size_t hidden : {block, std::size_t{1280}}) {
        if (hidden % block != 0) continue;
        SCOPED_TRACE(std::string(tensor_format(type).name) + " " + std::to_string(ffn) + " x " +
                     std::to_string(hidden));
        const auto fake = test::make_checkpoint({{0, 1, {type, type, type}, hidden, ffn}},
                                                test::Placement::kApart);
        const auto catalogue = ExpertCatalogue::build(fake.checkpoint);
        ASSERT_TRUE(catalogue.ok()) << catalogue.status().message();
        const ExpertLayer& layer = catalogue->layers()[0];
        ASSERT_TRUE(has_device_copy(layer));
        const std::size_t bytes = device_copy_bytes(layer, 0, 1);
        for (const bool repacked : {false, true}) {
          for (const bool sparse : {false, true}) {
            HostExpert host(layer, fake);
            if (repacked) host.repack(*compute, sparse);
            AlignedBuffer out = AlignedBuffer::allocate(bytes).value();
            const ExpertWeights to = device_weights(layer, 0, 1, out.data());
            write_device_copy(host.weights, to, out.data(), *compute);
            expect_same_bytes(to.gate, layer.ranges[0][0], fake);
            expect_same_bytes(to.up, layer.ranges[0][1], fake);
            expect_same_bytes(to.down, layer.ranges[0][2], fake);
          }
        }
      }
    }
  }
}

}  // namespace
}  // namespace sluice
