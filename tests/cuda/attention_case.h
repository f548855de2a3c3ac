#pragma once
// A task of attention for the CPU and for a device at once: sequences whose keys and values both
// have stored, and rows of theirs in any order.

#include <gtest/gtest.h>

#include <algorithm>
#include <memory>
#include <random>
#include <vector>

#include "base/canonical.h"
#include "cpu/cpu_compute.h"
#include "cuda/attention.h"
#include "tests/cpu/run_attention.h"
#include "tests/cuda/device_memory.h"

namespace sluice::testing {

inline std::vector<float> normal_floats(std::size_t n, float spread, std::mt19937& random) {
  std::normal_distribution<float> normal(0.0f, spread);
  std::vector<float> floats(n);
  for (float& x : floats) x = normal(random);
  return floats;
}

/// Blocks for positions [0, n) in the caches of both, which have another layer's before and behind.
/// What nobody stored is NaN.
class TwoCaches {
 public:
  TwoCaches(const AttentionShape& shape, std::size_t positions)
      : values_(kOtherLayer +
                shape.kv_heads * kKvBlock * kv_vector_bytes(shape.kv_type, shape.head_dim)),
        block_bytes_(values_ + kOtherLayer +
                     shape.kv_heads * kKvBlock * kv_vector_bytes(shape.kv_type, shape.value_dim)),
        blocks_(positions / kKvBlock + 1),
        host_(blocks_ * block_bytes_, std::byte{0xff}),
        device_(blocks_ * block_bytes_, 0xff) {
    std::vector<std::byte*> places;
    for (std::size_t i = 0; i < blocks_; ++i) {
      // In no order.
      const std::size_t at = (blocks_ - 1 - i) * block_bytes_;
      host_blocks_.push_back(host_.data() + at);
      places.push_back(device_.data() + at);
    }
    device_blocks_ = std::make_unique<DeviceArray<std::byte*>>(std::span<std::byte* const>(places));
  }

  KvView host() const { return {host_blocks_.data(), kOtherLayer, values_}; }
  KvView device() const { return {device_blocks_->data(), kOtherLayer, values_}; }
  const std::vector<std::byte>& host_bytes() const { return host_; }
  std::vector<std::byte> device_bytes() const { return device_.download(); }
  /// Where keys begin in the first block of one.
  static constexpr std::size_t kOtherLayer = 64;

 private:
  std::size_t values_, block_bytes_, blocks_;
  std::vector<std::byte> host_;
  DeviceArray<std::byte> device_;
  std::vector<std::byte*> host_blocks_;
  std::unique_ptr<DeviceArray<std::byte*>> device_blocks_;
};

struct RowAt {
  std::size_t sequence;
  std::uint32_t position, first = 0;
};

class AttentionCase {
 public:
  /// Sequences of so many positions each.
  AttentionCase(const AttentionShape& shape, const std::vector<std::size_t>& sequences,
                unsigned seed)
      : shape_(shape), random_(seed) {
    auto made = make_cpu_compute(1);
    EXPECT_TRUE(made.ok());
    cpu_ = std::move(made).value();
    for (const std::size_t positions : sequences) {
      keys_.push_back(normal_floats(positions * shape.kv_heads * shape.head_dim, 1.0f, random_));
      values_.push_back(normal_floats(positions * shape.kv_heads * shape.value_dim, 1.0f, random_));
      caches_.push_back(std::make_unique<TwoCaches>(shape, positions));
    }
    sinks_ = normal_floats(shape.heads, 2.0f, random_);
  }

  std::vector<float>& keys(std::size_t sequence) { return keys_[sequence]; }
  std::vector<float>& values(std::size_t sequence) { return values_[sequence]; }
  const std::vector<float>& sinks() const { return sinks_; }
  const std::vector<float>& queries() const { return q_; }
  const TwoCaches& cache(std::size_t sequence) const { return *caches_[sequence]; }
  const AttentionShape& shape() const { return shape_; }

  /// Stores all keys and values in both caches.
  void store() {
    for (std::size_t i = 0; i < caches_.size(); ++i) {
      const std::size_t key_stride = shape_.kv_heads * shape_.head_dim;
      const std::size_t value_stride = shape_.kv_heads * shape_.value_dim;
      std::vector<AttentionRow> host_rows, device_rows;
      for (std::uint32_t p = 0; p < keys_[i].size() / key_stride; ++p) {
        host_rows.push_back({caches_[i]->host(), p, 0});
        device_rows.push_back({caches_[i]->device(), p, 0});
      }
      const float* const values = shape_.value_in_key ? nullptr : values_[i].data();
      cpu_->store_kv(shape_, host_rows, keys_[i].data(), key_stride, values, value_stride);
      const DeviceArray<AttentionRow> rows{std::span<const AttentionRow>(device_rows)};
      const DeviceArray<float> device_keys{std::span<const float>(keys_[i])};
      const DeviceArray<float> device_values{std::span<const float>(values_[i])};
      ASSERT_EQ(cuda::launch_store_kv(
                    shape_, rows.data(), static_cast<std::uint32_t>(device_rows.size()),
                    device_keys.data(), key_stride, device_values.data(), value_stride, nullptr),
                cudaSuccess);
      ASSERT_EQ(cudaStreamSynchronize(nullptr), cudaSuccess);
    }
  }

  /// What the CPU makes of rows; new queries are drawn for them.
  void set_rows(const std::vector<RowAt>& rows, bool with_sinks) {
    with_sinks_ = with_sinks;
    host_rows_.clear();
    device_rows_.clear();
    for (const RowAt& row : rows) {
      host_rows_.push_back({caches_[row.sequence]->host(), row.position, row.first});
      device_rows_.push_back({caches_[row.sequence]->device(), row.position, row.first});
    }
    q_ = normal_floats(rows.size() * q_stride(), 1.0f, random_);
    want_.assign(rows.size() * out_stride(), kUntouched);
    test::run_attention(*cpu_, shape_, host_rows_, q_.data(), q_stride(), want_.data(),
                        out_stride(), with_sinks ? sinks_.data() : nullptr);
  }
  const std::vector<float>& want() const { return want_; }
  // A little more than what is needed, so that a stride is told from a size.
  std::size_t q_stride() const { return shape_.heads * shape_.head_dim + 3; }
  std::size_t out_stride() const { return shape_.heads * shape_.value_dim + 5; }

  /// What the device makes of them with so many bytes of memory, launched for them or for others.
  std::vector<float> attend(std::size_t memory_bytes, const cuda::AttentionCut& cut,
                            const std::vector<RowAt>& others = {}) const {
    const DeviceArray<AttentionRow> rows{std::span<const AttentionRow>(device_rows_)};
    std::vector<AttentionRow> copies = others.empty() ? device_rows_ : std::vector<AttentionRow>();
    for (const RowAt& row : others) {
      copies.push_back({caches_[row.sequence]->device(), row.position, row.first});
    }
    const DeviceArray<float> q{std::span<const float>(q_)};
    const DeviceArray<float> sinks{std::span<const float>(sinks_)};
    const std::vector<float> untouched(want_.size(), kUntouched);
    const DeviceArray<float> out{std::span<const float>(untouched)};
    // Of exactly this size, so that a sanitizer sees what is beyond.
    const DeviceArray<std::byte> memory(std::max<std::size_t>(memory_bytes, 1));
    const AttentionTask task = {.shape = shape_,
                                .rows = copies,
                                .q = q.data(),
                                .q_stride = q_stride(),
                                .out = out.data(),
                                .out_stride = out_stride(),
                                .sinks = with_sinks_ ? sinks.data() : nullptr,
                                .memory = {memory.data(), memory_bytes}};
    EXPECT_EQ(cuda::launch_attention(task, rows.data(), nullptr, cut), cudaSuccess);
    EXPECT_EQ(cudaStreamSynchronize(nullptr), cudaSuccess);
    return out.download();
  }

  void expect_want(const std::vector<float>& got, const char* how) const {
    for (std::size_t i = 0; i < want_.size(); ++i) {
      ASSERT_TRUE(same_bits(got[i], want_[i]))
          << how << ": row " << i / out_stride() << ", head " << i % out_stride() / shape_.value_dim
          << ", element " << i % out_stride() % shape_.value_dim << ": " << got[i] << ", not "
          << want_[i];
    }
  }
  /// Everything split, everything whole.
  void expect_both_ways() const {
    std::uint32_t last = 0;
    for (const AttentionRow& row : host_rows_) last = std::max(last, row.position);
    const std::size_t bytes = cuda::attention_bytes(shape_, last + 1);
    expect_want(attend(bytes, {.whole_from = ~0u}), "split");
    expect_want(attend(0, {}), "whole");
  }

 private:
  static constexpr float kUntouched = -12345.0f;

  AttentionShape shape_;
  std::mt19937 random_;
  std::unique_ptr<Compute> cpu_;
  std::vector<std::vector<float>> keys_, values_;
  std::vector<std::unique_ptr<TwoCaches>> caches_;
  std::vector<float> sinks_, q_, want_;
  bool with_sinks_ = false;
  std::vector<AttentionRow> host_rows_, device_rows_;
};

}  // namespace sluice::testing
