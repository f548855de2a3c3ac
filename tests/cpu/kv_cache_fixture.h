#pragma once
// A KV cache of one layer, random numbers, and one Compute for each instruction set and thread
// count.

#include <oneapi/tbb/global_control.h>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <random>
#include <vector>

#include "base/canonical.h"
#include "base/compute.h"
#include "cpu/cpu_compute.h"

namespace sluice::test {

inline std::vector<float> random_floats(std::size_t n, float spread, unsigned seed) {
  std::mt19937 engine(seed);
  std::normal_distribution<float> normal(0.0f, spread);
  std::vector<float> floats(n);
  for (float& x : floats) x = normal(engine);
  return floats;
}

inline std::vector<Isa> available_isas() {
  std::vector<Isa> isas;
  for (const Isa isa : all_isas()) {
    if (isa_available(isa)) isas.push_back(isa);
  }
  return isas;
}

inline std::unique_ptr<Compute> compute_with(Isa isa, unsigned threads) {
  // TBB starts no more threads than there are processors, unless told that it may.
  static const tbb::global_control four(tbb::global_control::max_allowed_parallelism, 4);
  auto compute = make_cpu_compute(threads, isa);
  return compute.ok() ? std::move(compute).value() : nullptr;
}

/// One sequence's blocks, all of them there from the start.
class KvCache {
 public:
  KvCache(const AttentionShape& shape, std::size_t positions)
      : key_bytes_(kv_vector_bytes(shape.kv_type, shape.head_dim)),
        value_bytes_(kv_vector_bytes(shape.kv_type, shape.value_dim)) {
    const std::size_t vectors = shape.kv_heads * kKvBlock;
    for (std::size_t block = 0; block <= positions / kKvBlock; ++block) {
      // Filled with NaN in every KvType: what no row sees must not matter.
      storage_.emplace_back(vectors * (key_bytes_ + value_bytes_), std::byte{0xff});
      blocks_.push_back(storage_.back().data());
    }
    values_ = vectors * key_bytes_;
  }
  KvView view() const { return {blocks_.data(), 0, values_}; }
  const std::byte* key(std::size_t head, std::size_t position) const {
    return blocks_[position / kKvBlock] + (head * kKvBlock + position % kKvBlock) * key_bytes_;
  }
  const std::byte* value(std::size_t head, std::size_t position) const {
    return blocks_[position / kKvBlock] + values_ +
           (head * kKvBlock + position % kKvBlock) * value_bytes_;
  }

 private:
  std::size_t key_bytes_, value_bytes_;
  std::size_t values_ = 0;  // where they begin in a block
  std::vector<std::vector<std::byte>> storage_;
  std::vector<std::byte*> blocks_;
};

}  // namespace sluice::test
