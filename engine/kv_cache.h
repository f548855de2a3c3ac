#pragma once
// Keys and values of past positions, in blocks of kKvBlock positions that sessions take from a
// common pool.

#include <cstdint>
#include <span>
#include <vector>

#include "base/aligned_buffer.h"
#include "base/canonical.h"
#include "base/compute.h"
#include "base/status.h"
#include "engine/model_description.h"

namespace sluice {

/// Shape of the cache: the same for all sequences of a model.
struct KvShape {
  std::size_t layers = 0;
  std::size_t kv_heads = 0;
  std::size_t head_dim = 0;
  std::size_t value_dim = 0;
  KvType type = KvType::kF16;

  std::size_t key_bytes() const {
    return kv_heads * kKvBlock * kv_vector_bytes(type, head_dim);
  }  // one layer of one block
  std::size_t value_bytes() const { return kv_heads * kKvBlock * kv_vector_bytes(type, value_dim); }
  std::size_t block_bytes() const { return layers * (key_bytes() + value_bytes()); }
  static std::size_t blocks(std::size_t positions) { return (positions + kKvBlock - 1) / kKvBlock; }
};

KvShape kv_shape(const ModelDescription& model, KvType type);

/// A fixed number of blocks; each holds kKvBlock positions of all layers. Not thread-safe.
class KvPool {
 public:
  static Result<KvPool> create(const KvShape& shape, std::size_t blocks);

  const KvShape& shape() const { return shape_; }
  std::size_t free_blocks() const { return free_.size(); }
  /// Null when the pool is empty.
  std::byte* take();
  void give_back(std::byte* block) { free_.push_back(block); }

 private:
  KvShape shape_;
  AlignedBuffer memory_;
  std::vector<std::byte*> free_;
};

/// One sequence's blocks. Gives them back on destruction; the pool outlives it.
class KvSequence {
 public:
  KvSequence(KvPool& pool, std::size_t max_positions);
  ~KvSequence();
  KvSequence(const KvSequence&) = delete;
  KvSequence& operator=(const KvSequence&) = delete;

  /// Room for positions [0, positions). kBudget when the pool is empty; what was taken before
  /// stays.
  Status reserve(std::size_t positions);
  /// Forgets positions from `positions` on.
  void truncate(std::size_t positions);
  KvView layer(std::size_t index) const {
    return {keys_.data() + index * max_blocks_, values_.data() + index * max_blocks_};
  }

 private:
  KvPool& pool_;
  std::size_t max_blocks_;
  std::vector<std::byte*> blocks_;
  std::vector<std::byte*> keys_;    // [layers, max_blocks]
  std::vector<std::byte*> values_;  // [layers, max_blocks]
};

}  // namespace sluice
