#include <gtest/gtest.h>

#include <cmath>
#include <cstring>

#include "base/half.h"
#include "base/tensor_format.h"
#include "kv_cache_fixture.h"
#include "tests/cpu/run_attention.h"

namespace sluice {
namespace {

using test::available_isas;
using test::compute_with;
using test::KvCache;
using test::random_floats;

constexpr std::size_t kRows = 70;

/// What ggml's reference quantiser makes of 32 floats: scale = amax / 127 as a half, codes from the
/// unrounded scale, ties away.
void reference_q8_block(const float* x, std::byte* out) {
  float amax = 0.0f;
  for (std::size_t i = 0; i < 32; ++i) amax = std::fmax(amax, std::fabs(x[i]));
  const float scale = amax / 127.0f;
  const float inverse = scale != 0.0f ? 1.0f / scale : 0.0f;
  const std::uint16_t half = float_to_half(scale);
  std::memcpy(out, &half, 2);
  for (std::size_t i = 0; i < 32; ++i) {
    const auto code = static_cast<std::int8_t>(std::round(x[i] * inverse));
    std::memcpy(out + 2 + i, &code, 1);
  }
}

std::vector<std::byte> reference_bytes(KvType type, const float* x, std::size_t n) {
  std::vector<std::byte> bytes(kv_vector_bytes(type, n));
  if (type == KvType::kF32) std::memcpy(bytes.data(), x, bytes.size());
  if (type == KvType::kF16) {
    for (std::size_t i = 0; i < n; ++i) {
      const std::uint16_t half = float_to_half(x[i]);
      std::memcpy(bytes.data() + 2 * i, &half, 2);
    }
  }
  if (type == KvType::kQ8_0) {
    for (std::size_t i = 0; i < n; i += 32) reference_q8_block(x + i, bytes.data() + i / 32 * 34);
  }
  return bytes;
}

class KvTypes : public testing::TestWithParam<KvType> {};

TEST_P(KvTypes, StoredBytesAreTheFormats) {
  const KvType type = GetParam();
  const std::size_t head_dim = type == KvType::kQ8_0 ? 64 : 52;
  const std::size_t value_dim = type == KvType::kQ8_0 ? 32 : 21;
  const AttentionShape shape{6, 3, head_dim, value_dim, type, 1.0f};
  const std::size_t key_stride = 3 * head_dim + 5, value_stride = 3 * value_dim + 9;
  auto keys = random_floats(kRows * key_stride, 3.0f, 1);
  auto values = random_floats(kRows * value_stride, 0.01f, 2);
  // Ties, a block of zeros, halves below the normal ones, the smallest and very large numbers.
  for (std::size_t i = 0; i < 32; ++i) {
    keys[i] = (static_cast<float>(i) - 16.0f) * 0.5f + (i == 31 ? 119.5f : 0.0f);
    keys[key_stride + i] = 0.0f;
    keys[2 * key_stride + i] = static_cast<float>(i) * 3e-8f;
    keys[3 * key_stride + i] = static_cast<float>(i) * 2000.0f;
  }
  for (const Isa isa : available_isas()) {
    for (const unsigned threads : {1u, 3u}) {
      const auto compute = compute_with(isa, threads);
      const KvCache cache(shape, kRows);
      std::vector<AttentionRow> rows;
      for (std::size_t i = 0; i < kRows; ++i) {
        rows.push_back({cache.view(), static_cast<std::uint32_t>(kRows - 1 - i), 0});
      }
      compute->store_kv(shape, rows, keys.data(), key_stride, values.data(), value_stride);
      for (std::size_t i = 0; i < kRows; ++i) {
        for (std::size_t head = 0; head < 3; ++head) {
          const auto key = reference_bytes(type, &keys[i * key_stride + head * head_dim], head_dim);
          const auto value =
              reference_bytes(type, &values[i * value_stride + head * value_dim], value_dim);
          EXPECT_EQ(std::memcmp(cache.key(head, rows[i].position), key.data(), key.size()), 0)
              << compute->name() << " row " << i << " head " << head;
          EXPECT_EQ(std::memcmp(cache.value(head, rows[i].position), value.data(), value.size()), 0)
              << compute->name() << " row " << i << " head " << head;
        }
      }
    }
  }
}

INSTANTIATE_TEST_SUITE_P(All, KvTypes, testing::Values(KvType::kF32, KvType::kF16, KvType::kQ8_0));

TEST(KvStore, EveryHalfIsRoundedAsBaseDoes) {
  // One float near each half and one on each boundary between two.
  const AttentionShape shape{1, 1, 4096, 4096, KvType::kF16, 1.0f};
  for (const Isa isa : available_isas()) {
    const auto compute = compute_with(isa, 1);
    const KvCache cache(shape, 1);
    const AttentionRow row{cache.view(), 0, 0};
    for (std::uint32_t start = 0; start < 0x7c00; start += 2048) {
      std::vector<float> x(4096);
      for (std::uint32_t i = 0; i < 2048; ++i) {
        const float low = half_to_float(static_cast<std::uint16_t>(start + i));
        const float high = half_to_float(static_cast<std::uint16_t>(start + i + 1));
        x[2 * i] = i % 2 == 0 ? low : -low;
        x[2 * i + 1] = std::isinf(high) ? 65520.0f : (low + high) / 2.0f;
      }
      compute->store_kv(shape, std::span(&row, 1), x.data(), 4096, x.data(), 4096);
      const auto expected = reference_bytes(KvType::kF16, x.data(), x.size());
      ASSERT_EQ(std::memcmp(cache.key(0, 0), expected.data(), expected.size()), 0)
          << compute->name() << " from " << start;
    }
  }
}

// A block with an element that is no number, wherever it is, gives none back.
TEST(KvStore, WhatIsNotANumberStaysSo) {
  const auto plain = random_floats(96, 2.0f, 4);
  for (const KvType type : {KvType::kF32, KvType::kF16, KvType::kQ8_0}) {
    const TensorType as[] = {TensorType::kF32, TensorType::kF16, TensorType::kQ8_0};
    const AttentionShape shape{1, 1, 96, 96, type, 1.0f};
    for (const Isa isa : available_isas()) {
      const auto compute = compute_with(isa, 1);
      SCOPED_TRACE(compute->name());
      const KvCache cache(shape, 1);
      const AttentionRow row{cache.view(), 0, 0};
      for (std::size_t at = 32; at < 64; ++at) {
        for (const float wrong : {std::nanf(""), -std::nanf(""), HUGE_VALF}) {
          auto x = plain;
          x[at] = wrong;
          compute->store_kv(shape, std::span(&row, 1), x.data(), 96, x.data(), 96);
          std::vector<float> back(96);
          tensor_format(as[static_cast<std::size_t>(type)])
              .decode(cache.key(0, 0), back.data(), 96);
          EXPECT_FALSE(std::isfinite(back[at])) << at;
          EXPECT_TRUE(std::isfinite(back[31]) && std::isfinite(back[64]));
        }
      }
    }
  }
}

// With one position the output is the value itself, as read back.
TEST(KvStore, ValuesReadBackAreTheFormatsDecode) {
  for (const KvType type : {KvType::kF32, KvType::kF16, KvType::kQ8_0}) {
    const TensorType as[] = {TensorType::kF32, TensorType::kF16, TensorType::kQ8_0};
    const AttentionShape shape{1, 1, 32, 192, type, 1.0f};
    const auto x = random_floats(192, 2.0f, 3);
    for (const Isa isa : available_isas()) {
      const auto compute = compute_with(isa, 1);
      const KvCache cache(shape, 1);
      const AttentionRow row{cache.view(), 0, 0};
      compute->store_kv(shape, std::span(&row, 1), x.data(), 32, x.data(), 192);
      std::vector<float> out(192), expected(192);
      test::run_attention(*compute, shape, std::span(&row, 1), x.data(), 32, out.data(), 192);
      tensor_format(as[static_cast<std::size_t>(type)])
          .decode(cache.value(0, 0), expected.data(), 192);
      EXPECT_EQ(out, expected) << compute->name();
    }
  }
}

}  // namespace
}  // namespace sluice
