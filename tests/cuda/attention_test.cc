// Attention and the cache's stores, bit for bit against the CPU's: on the CPU through the shim and,
// from the same source, on a device.

#include "cuda/attention.h"

#include <cmath>
#include <limits>
#include <string>

#include "base/half.h"
#include "base/work_signature.h"
#include "tests/cuda/attention_case.h"

namespace sluice::testing {
namespace {

constexpr float kInfinity = std::numeric_limits<float>::infinity();
constexpr float kNone = std::numeric_limits<float>::quiet_NaN();

AttentionShape shape_of(std::size_t heads, std::size_t kv_heads, std::size_t head_dim,
                        std::size_t value_dim, KvType type, bool value_in_key = false) {
  AttentionShape shape;
  shape.heads = heads;
  shape.kv_heads = kv_heads;
  shape.head_dim = head_dim;
  shape.value_dim = value_dim;
  shape.kv_type = type;
  shape.scale = 1.0f / std::sqrt(static_cast<float>(head_dim));
  shape.value_in_key = value_in_key;
  return shape;
}

class AttentionTest : public DeviceTest {};

TEST_F(AttentionTest, StoresWhatTheCpuStores) {
  for (const AttentionShape& shape :
       {shape_of(2, 2, 33, 20, KvType::kF32), shape_of(2, 2, 20, 35, KvType::kF16),
        shape_of(2, 2, 96, 32, KvType::kQ8_0), shape_of(1, 1, 64, 32, KvType::kQ8_0, true)}) {
    AttentionCase test(shape, {70}, 1);
    std::vector<float>& keys = test.keys(0);
    const auto at = [&](std::size_t position, std::size_t i) -> float& {
      return keys[position * shape.kv_heads * shape.head_dim + i];
    };
    for (std::size_t i = 0; i < shape.head_dim; ++i) {
      at(1, i) = 0.0f;
      at(2, i) *= 1e-40f;                        // 1 / scale is infinite
      at(3, i) *= 1e-6f;                         // halves that are not normal
      at(4, i) = static_cast<float>(i) - 15.5f;  // ties
      at(5, i) *= 1e5f;                          // too large for halves
      at(6, i) = std::ldexp(2049.0f, -11) * at(6, i);
    }
    at(4, 0) = 127.0f;
    test.store();
    EXPECT_EQ(test.cache(0).device_bytes(), test.cache(0).host_bytes());
  }
}

// Vectors of one position after the other: what is not a number comes out as none, as do all of its
// block of Q8_0, and disturbs no other.
TEST_F(AttentionTest, StoresWhatIsNotANumber) {
  for (const KvType type : {KvType::kF32, KvType::kF16, KvType::kQ8_0}) {
    const AttentionShape shape = shape_of(1, 1, 64, 64, type);
    AttentionCase test(shape, {8}, 2);
    test.keys(0)[1 * 64 + 40] = kNone;
    test.keys(0)[2 * 64 + 5] = -kInfinity;
    test.store();
    const std::vector<std::byte> all = test.cache(0).device_bytes();
    const std::span<const std::byte> got = std::span(all).subspan(TwoCaches::kOtherLayer);
    const std::span<const std::byte> want =
        std::span(test.cache(0).host_bytes()).subspan(TwoCaches::kOtherLayer);
    const std::size_t bytes = kv_vector_bytes(type, 64);
    // Which NaN it is, and the codes beside one, are nobody's business.
    std::size_t special = 2 * bytes;
    if (type == KvType::kQ8_0) {
      const auto scale = [&](std::size_t block) {
        std::uint16_t half;
        std::memcpy(&half, got.data() + block * 34, sizeof(half));
        return half_to_float(half);
      };
      EXPECT_TRUE(std::isnan(scale(3)));
      EXPECT_EQ(scale(4), kInfinity);
      special = 3 * bytes;
    } else {
      const auto element = [&](std::size_t i) {
        if (type == KvType::kF32) {
          float x;
          std::memcpy(&x, got.data() + i * sizeof(x), sizeof(x));
          return x;
        }
        std::uint16_t half;
        std::memcpy(&half, got.data() + i * sizeof(half), sizeof(half));
        return half_to_float(half);
      };
      EXPECT_TRUE(std::isnan(element(64 + 40)));
      EXPECT_EQ(element(2 * 64 + 5), -kInfinity);
    }
    EXPECT_TRUE(
        std::equal(got.begin(), got.begin() + static_cast<std::ptrdiff_t>(bytes), want.begin()));
    EXPECT_TRUE(std::equal(got.begin() + static_cast<std::ptrdiff_t>(special), got.end(),
                           want.begin() + static_cast<std::ptrdiff_t>(special)));
  }
}

// Decode around the edges of blocks, and runs that cross one, in no order; some see a window.
const std::vector<RowAt> kMixedRows = {{0, 63},      {0, 64},      {1, 127, 61},
                                       {1, 128, 64}, {0, 127, 65}, {0, 0}};

TEST_F(AttentionTest, EveryKindOfShape) {
  const AttentionShape shapes[] = {
      shape_of(4, 2, 64, 64, KvType::kF16),
      shape_of(1, 1, 33, 20, KvType::kF32),
      shape_of(6, 1, 96, 96, KvType::kQ8_0),
      shape_of(10, 1, 80, 144, KvType::kF16),  // heads in two parts of a split
      shape_of(5, 1, 65, 101, KvType::kF16),   // halves at odd places
      shape_of(20, 1, 576, 512, KvType::kF16, /*value_in_key=*/true),
      shape_of(2, 1, 576, 512, KvType::kQ8_0, /*value_in_key=*/true),
      shape_of(1, 1, 513, 515, KvType::kF32),  // a segment and a bit, a slice and a bit
  };
  bool with_sinks = false;
  for (const AttentionShape& shape : shapes) {
    SCOPED_TRACE(std::to_string(shape.heads) + " heads of " + std::to_string(shape.head_dim));
    AttentionCase test(shape, {128, 131}, static_cast<unsigned>(shape.head_dim));
    test.store();
    test.set_rows(kMixedRows, with_sinks);
    test.expect_both_ways();
    with_sinks = !with_sinks;
  }
}

TEST_F(AttentionTest, AnyOrderOfThreads) {
  in_every_thread_order([] {
    for (const AttentionShape& shape :
         {shape_of(3, 1, 40, 24, KvType::kF16),
          shape_of(18, 1, 96, 64, KvType::kQ8_0, /*value_in_key=*/true),
          shape_of(1, 1, 20, 300, KvType::kF32)}) {
      AttentionCase test(shape, {128, 131}, 3);
      test.store();
      test.set_rows({{0, 127}, {1, 64}, {1, 65, 2}}, true);
      test.expect_both_ways();
    }
  });
}

// Long runs go whole while other rows are split; runs are longer than a tile.
TEST_F(AttentionTest, BothWaysInOneTask) {
  const AttentionShape shape = shape_of(8, 1, 32, 32, KvType::kF16);
  AttentionCase test(shape, {90, 100}, 4);
  test.store();
  std::vector<RowAt> rows = {{1, 99}};
  for (std::uint32_t p = 55; p < 75; ++p) rows.push_back({0, p, p < 60 ? 0 : p - 60});
  rows.push_back({1, 98});
  rows.push_back({0, 89});
  test.set_rows(rows, true);
  const std::size_t bytes = cuda::attention_bytes(shape, 100);
  test.expect_want(test.attend(bytes, {.whole_from = 3}), "mixed");
  test.expect_want(test.attend(bytes, {.whole_from = 4}), "split");
}

// Fewer tiles at a time, down to those that no split can be made of.
TEST_F(AttentionTest, AnyMemory) {
  const AttentionShape shape = shape_of(8, 2, 16, 16, KvType::kF16);
  AttentionCase test(shape, {200, 70}, 5);
  test.store();
  test.set_rows({{0, 199}, {1, 66}, {1, 67}, {0, 64, 60}, {1, 69}}, true);
  const std::size_t generous = cuda::attention_bytes(shape, 200);
  for (const std::size_t bytes : {std::size_t{0}, generous / 9, generous / 4, generous}) {
    test.expect_want(test.attend(bytes, {.whole_from = ~0u}), "memory");
  }
  for (const std::uint32_t segments : {2u, 100u}) {
    test.expect_want(test.attend(generous, {.whole_from = ~0u, .segments = segments}), "segments");
  }
}

TEST_F(AttentionTest, MemoryIsModerate) {
  constexpr std::size_t kMost = 64 << 20;
  EXPECT_LE(cuda::attention_bytes(shape_of(32, 4, 128, 128, KvType::kF16), 32768), kMost);
  EXPECT_LE(cuda::attention_bytes(shape_of(128, 1, 576, 512, KvType::kF16, true), 32768), kMost);
  EXPECT_LE(cuda::attention_bytes(shape_of(64, 8, 64, 64, KvType::kF16), 1024), kMost / 8);
}

// More runs than one launch takes.
TEST_F(AttentionTest, ManyRows) {
  const AttentionShape shape = shape_of(1, 1, 4, 4, KvType::kF32);
  AttentionCase test(shape, {3}, 6);
  test.store();
  std::vector<RowAt> rows;
  for (std::uint32_t i = 0; i < 485; ++i) rows.push_back({0, 2 - i % 3});
  test.set_rows(rows, false);
  test.expect_want(test.attend(8 << 20, {.whole_from = ~0u}), "split");
#ifndef SLUICE_CUDA_HOST_SHIM  // where it takes long
  test.expect_want(test.attend(0, {}), "whole");
#endif
}

// What is captured once serves all rows that the signature does not tell from the first.
TEST_F(AttentionTest, WhatRecursServesRowsElsewhere) {
  const AttentionShape shape = shape_of(4, 2, 32, 32, KvType::kF16);
  const std::pair<std::vector<RowAt>, std::vector<RowAt>> cases[] = {
      {{{0, 0}}, {{1, 127}}},
      {{{0, 256}}, {{0, 319, 0}}},
      {{{0, 200}, {1, 280, 70}}, {{1, 319}, {0, 383, 128}}},
      {{{0, 60, 3}, {0, 61, 4}, {1, 10}}, {{1, 63, 3}, {1, 64, 4}, {0, 64}}}};
  for (const auto& [first, later] : cases) {
    AttentionCase test(shape, {384, 384}, 7);
    test.store();
    const auto signature_of = [&](const std::vector<RowAt>& rows) {
      std::vector<AttentionRow> places;
      for (const RowAt& row : rows) {
        places.push_back({test.cache(row.sequence).device(), row.position, row.first});
      }
      WorkSignature signature;
      signature.add(AttentionTask{.shape = shape, .rows = places, .memory = {}});
      return std::vector<std::byte>(signature.bytes().begin(), signature.bytes().end());
    };
    ASSERT_EQ(signature_of(first), signature_of(later));
    const std::size_t bytes = cuda::attention_bytes(shape, 384);
    for (const auto& [now, launched_for] : {std::pair(first, later), std::pair(later, first)}) {
      test.set_rows(now, false);
      for (const std::size_t memory : {bytes, bytes / 20, std::size_t{0}}) {
        const cuda::AttentionCut cut{.whole_from = ~0u, .recurs = true};
        test.expect_want(test.attend(memory, cut, launched_for), "recurs");
      }
    }
  }
}

// What a row does not see may be anything; what it sees and is no number makes its heads none.
TEST_F(AttentionTest, WhatIsNotANumberStaysWithThoseThatSeeIt) {
  const AttentionShape shape = shape_of(4, 2, 24, 24, KvType::kF32);
  AttentionCase test(shape, {140}, 8);
  const std::size_t stride = shape.kv_heads * shape.head_dim;
  test.keys(0)[66 * stride + 3] = kNone;         // of the first kv head
  test.values(0)[70 * stride + 30] = kInfinity;  // of the second
  test.keys(0)[132 * stride + 30] = kInfinity;
  test.values(0)[2 * stride] = kNone;
  test.store();
  std::vector<RowAt> rows;
  for (std::uint32_t p = 64; p < 68; ++p) rows.push_back({0, p, 3});
  rows.push_back({0, 139, 71});
  rows.push_back({0, 139, 133});
  for (const bool with_sinks : {false, true}) {
    test.set_rows(rows, with_sinks);
    const auto& want = test.want();
    // The oracle shows what is meant: position 65 sees nothing of all this, 66 a key.
    ASSERT_TRUE(std::isfinite(want[1 * test.out_stride()]));
    ASSERT_TRUE(std::isnan(want[2 * test.out_stride()]));
    test.expect_both_ways();
  }
}

TEST_F(AttentionTest, NearDoublePrecision) {
  for (const bool with_sinks : {false, true}) {
    const AttentionShape shape = shape_of(3, 1, 40, 24, KvType::kF32);
    AttentionCase test(shape, {200}, 9);
    test.store();
    test.set_rows({{0, 199, 30}}, with_sinks);
    const std::vector<float> got[] = {test.attend(1 << 20, {.whole_from = ~0u}),
                                      test.attend(0, {})};
    for (std::size_t head = 0; head < shape.heads; ++head) {
      double sum = with_sinks ? std::exp(double{test.sinks()[head]}) : 0.0;
      std::vector<double> want(shape.value_dim);
      for (std::size_t p = 30; p < 200; ++p) {
        double dot = 0;
        for (std::size_t d = 0; d < shape.head_dim; ++d) {
          dot += double{test.queries()[head * shape.head_dim + d]} *
                 double{test.keys(0)[p * shape.head_dim + d]};
        }
        const double weight = std::exp(double{shape.scale} * dot);
        sum += weight;
        for (std::size_t d = 0; d < shape.value_dim; ++d) {
          want[d] += weight * double{test.values(0)[p * shape.value_dim + d]};
        }
      }
      for (std::size_t d = 0; d < shape.value_dim; ++d) {
        for (const std::vector<float>& out : got) {
          EXPECT_NEAR(out[head * shape.value_dim + d], want[d] / sum, 1e-5);
        }
      }
    }
  }
}

TEST_F(AttentionTest, RefusesWhatIsNoShape) {
  const auto refused = [](const AttentionShape& shape) {
    AttentionTask task;
    task.shape = shape;
    return cuda::launch_attention(task, nullptr, nullptr) == cudaErrorInvalidValue &&
           cuda::launch_store_kv(shape, nullptr, 1, nullptr, 0, nullptr, 0, nullptr) ==
               cudaErrorInvalidValue;
  };
  EXPECT_TRUE(refused(shape_of(3, 2, 8, 8, KvType::kF16)));
  EXPECT_TRUE(refused(shape_of(2, 2, 48, 64, KvType::kQ8_0)));
  EXPECT_TRUE(refused(shape_of(2, 2, 64, 48, KvType::kQ8_0)));
  EXPECT_TRUE(refused(shape_of(2, 2, 0, 8, KvType::kF16)));
  EXPECT_TRUE(refused(shape_of(2, 1, 8, 9, KvType::kF16, /*value_in_key=*/true)));
}

#ifdef SLUICE_CUDA_HOST_SHIM
TEST_F(AttentionTest, TheFirstErrorOfALaunchIsGiven) {
  const AttentionShape shape = shape_of(1, 1, 4, 4, KvType::kF32);
  constexpr std::size_t kOfKeys = 64 * 4 * sizeof(float);
  std::vector<std::byte> memory(4 << 10), block(2 * kOfKeys);
  std::byte* const blocks[] = {block.data()};
  const AttentionRow row = {{blocks, 0, kOfKeys}, 0, 0};
  float q[4] = {}, out[4] = {};
  AttentionTask task;
  task.shape = shape;
  task.rows = {&row, 1};
  task.q = q;
  task.out = out;
  task.memory = memory;
  for (std::uint64_t nth = 1; nth <= 3; ++nth) {
    cuda::host_shim::fail_call(nth, cudaErrorLaunchOutOfResources);
    EXPECT_EQ(cuda::launch_attention(task, &row, nullptr), cudaErrorLaunchOutOfResources) << nth;
  }
  task.memory = {};
  cuda::host_shim::fail_call(1, cudaErrorLaunchOutOfResources);
  EXPECT_EQ(cuda::launch_attention(task, &row, nullptr), cudaErrorLaunchOutOfResources);
  EXPECT_EQ(cuda::host_shim::calls(), 1);
  cuda::host_shim::fail_call(0);
}
#endif

}  // namespace
}  // namespace sluice::testing
