#include "engine/kv_cache.h"

namespace sluice {

KvShape kv_shape(const ModelDescription& model, KvType type) {
  return {.layers = model.layers.size(),
          .kv_heads = model.attention.kv_heads,
          .head_dim = model.attention.head_dim,
          .value_dim = model.attention.value_dim,
          .type = type};
}

Result<KvPool> KvPool::create(const KvShape& shape, std::size_t blocks) {
  KvPool pool;
  pool.shape_ = shape;
  SLUICE_ASSIGN(pool.memory_, AlignedBuffer::allocate(shape.block_bytes() * blocks));
  pool.free_.reserve(blocks);
  // The last goes first onto the stack, so that a lone sequence fills memory from the front.
  for (std::size_t i = blocks; i-- > 0;)
    pool.free_.push_back(pool.memory_.data() + i * shape.block_bytes());
  return pool;
}

std::byte* KvPool::take() {
  if (free_.empty()) return nullptr;
  std::byte* block = free_.back();
  free_.pop_back();
  return block;
}

KvSequence::KvSequence(KvPool& pool, std::size_t max_positions)
    : pool_(pool),
      max_blocks_(KvShape::blocks(max_positions)),
      keys_(pool.shape().layers * max_blocks_),
      values_(pool.shape().layers * max_blocks_) {
  blocks_.reserve(max_blocks_);
}

KvSequence::~KvSequence() { truncate(0); }

Status KvSequence::reserve(std::size_t positions) {
  const KvShape& shape = pool_.shape();
  while (blocks_.size() < KvShape::blocks(positions)) {
    if (blocks_.size() == max_blocks_) {
      return Status(ErrorCode::kInvalidArgument,
                    "the text is longer than the context that was opened");
    }
    std::byte* block = pool_.take();
    if (block == nullptr)
      return Status(ErrorCode::kBudget, "the KV cache's budget is used up by other sequences");
    const std::size_t index = blocks_.size();
    blocks_.push_back(block);
    for (std::size_t layer = 0; layer < shape.layers; ++layer) {
      std::byte* base = block + layer * (shape.key_bytes() + shape.value_bytes());
      keys_[layer * max_blocks_ + index] = base;
      values_[layer * max_blocks_ + index] = base + shape.key_bytes();
    }
  }
  return {};
}

void KvSequence::truncate(std::size_t positions) {
  while (blocks_.size() > KvShape::blocks(positions)) {
    pool_.give_back(blocks_.back());
    blocks_.pop_back();
  }
}

}  // namespace sluice
