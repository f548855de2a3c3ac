#include "engine/kv_cache.h"

#include <algorithm>
#include <mutex>

namespace sluice {

void KvShape::add(std::size_t key_bytes, std::size_t value_bytes) {
  layers.push_back({key_bytes, value_bytes, block_bytes, block_bytes + key_bytes});
  block_bytes += key_bytes + value_bytes;
}

KvShape kv_shape(const ModelDescription& model, KvType type) {
  KvShape shape;
  for (const LayerDescription& layer : model.layers) {
    shape.state_offsets.push_back(shape.states_floats);
    if (layer.recurrent) {
      shape.add(0, 0);
      shape.states_floats += model.delta_net.floats();
      continue;
    }
    const AttentionShape heads = attention_shape(layer.attention, type);
    const std::size_t vectors = heads.kv_heads * kKvBlock;
    shape.add(vectors * kv_vector_bytes(type, heads.head_dim),
              heads.value_in_key ? 0 : vectors * kv_vector_bytes(type, heads.value_dim));
  }
  return shape;
}

Result<KvPool> KvPool::create(const KvShape& shape, std::size_t blocks, std::size_t sequences) {
  KvPool pool;
  pool.shape_ = shape;
  const std::size_t block = shape.block_bytes;
  const std::size_t states = shape.sequence_bytes();
  SLUICE_ASSIGN(pool.memory_, AlignedBuffer::allocate(block * blocks + states * sequences));
  pool.free_.reserve(blocks);
  // The last goes first onto the stack, so that a lone sequence fills memory from the front.
  for (std::size_t i = blocks; i-- > 0;) pool.free_.push_back(pool.memory_.data() + i * block);
  for (std::size_t i = sequences; i-- > 0 && states != 0;) {
    pool.free_states_.push_back(pool.memory_.data() + blocks * block + i * states);
  }
  return pool;
}

std::byte* KvPool::take_from(std::vector<std::byte*>& free) {
  const std::lock_guard lock(*mutex_);
  if (free.empty()) return nullptr;
  std::byte* taken = free.back();
  free.pop_back();
  return taken;
}

void KvPool::give_back_to(std::vector<std::byte*>& free, std::byte* memory) {
  const std::lock_guard lock(*mutex_);
  free.push_back(memory);
}

KvSequence::KvSequence(KvPool& pool, std::size_t max_positions)
    : pool_(pool), max_blocks_(KvShape::blocks(max_positions)) {
  blocks_.reserve(max_blocks_);
}

KvSequence::~KvSequence() {
  truncate(0);
  if (states_ != nullptr) pool_.give_back_states(states_);
}

Status KvSequence::reserve(std::size_t positions) {
  if (recurrent() && states_ == nullptr) {
    states_ = pool_.take_states();
    if (states_ == nullptr) {
      return Status(ErrorCode::kBudget,
                    "other sequences have all the recurrent states that the "
                    "budget holds");
    }
    restore_states(0);
  }
  while (blocks_.size() < KvShape::blocks(positions)) {
    if (blocks_.size() == max_blocks_) {
      return Status(ErrorCode::kInvalidArgument,
                    "the text is longer than the context that was opened");
    }
    std::byte* block = pool_.take();
    if (block == nullptr)
      return Status(ErrorCode::kBudget, "the KV cache's budget is used up by other sequences");
    blocks_.push_back(block);
  }
  return {};
}

void KvSequence::truncate(std::size_t positions) {
  while (blocks_.size() > KvShape::blocks(positions)) {
    pool_.give_back(blocks_.back());
    blocks_.pop_back();
  }
  if (state_length_ > positions) restore_states(positions);
}

void KvSequence::keep_states() {
  if (!recurrent() || states_ == nullptr) return;
  const std::size_t floats = pool_.shape().states_floats;
  std::copy_n(states_, floats, states_ + floats);
  kept_length_ = state_length_;
}

void KvSequence::restore_states(std::size_t length) {
  if (kept_length_ > length) kept_length_ = 0;
  state_length_ = kept_length_;
  if (!recurrent() || states_ == nullptr) return;
  const std::size_t floats = pool_.shape().states_floats;
  if (kept_length_ == 0) {
    std::fill_n(states_, floats, 0.0f);
  } else {
    std::copy_n(states_ + floats, floats, states_);
  }
}

}  // namespace sluice
