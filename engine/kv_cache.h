#pragma once
// Keys and values of past positions, in blocks of kKvBlock positions that sessions take from a
// common pool.

#include <cstdint>
#include <memory>
#include <mutex>
#include <span>
#include <vector>

#include "base/aligned_buffer.h"
#include "base/canonical.h"
#include "base/operations.h"
#include "base/status.h"
#include "engine/model_description.h"

namespace sluice {

/// What a layer keeps of kKvBlock positions, and where in a block; nothing where it has no
/// attention.
struct KvLayer {
  std::size_t key_bytes = 0, value_bytes = 0;
  std::size_t keys = 0, values = 0;
};

/// Shape of the cache: the same for all sequences of a model.
struct KvShape {
  std::vector<KvLayer> layers;
  std::vector<std::size_t> state_offsets;  // [layers], in floats, of the recurrent ones
  std::size_t states_floats = 0;           // of all layers of one sequence

  std::size_t block_bytes = 0;  // of all layers
  /// Of a sequence, whatever its length: its recurrent state and the copy that it goes back to.
  std::size_t sequence_bytes() const { return 2 * states_floats * sizeof(float); }
  /// One more layer, which keeps so much of kKvBlock positions.
  void add(std::size_t key_bytes, std::size_t value_bytes);
  static std::size_t blocks(std::size_t positions) { return (positions + kKvBlock - 1) / kKvBlock; }
};

KvShape kv_shape(const ModelDescription& model, KvType type);

/// A fixed number of blocks, each of which holds kKvBlock positions of all layers, and of recurrent
/// states. Thread-safe: a model's sequences are on different threads.
class KvPool {
 public:
  static Result<KvPool> create(const KvShape& shape, std::size_t blocks, std::size_t sequences);

  const KvShape& shape() const { return shape_; }
  std::size_t free_blocks() const {
    const std::lock_guard lock(*mutex_);
    return free_.size();
  }
  /// Null when the pool is empty.
  std::byte* take() { return take_from(free_); }
  void give_back(std::byte* block) { give_back_to(free_, block); }
  /// The same of a sequence's recurrent states, sequence_bytes() long.
  float* take_states() { return reinterpret_cast<float*>(take_from(free_states_)); }
  void give_back_states(float* states) {
    give_back_to(free_states_, reinterpret_cast<std::byte*>(states));
  }

 private:
  std::byte* take_from(std::vector<std::byte*>& free);
  void give_back_to(std::vector<std::byte*>& free, std::byte* memory);

  KvShape shape_;
  AlignedBuffer memory_;
  std::unique_ptr<std::mutex> mutex_ = std::make_unique<std::mutex>();  // guards those below
  std::vector<std::byte*> free_;
  std::vector<std::byte*> free_states_;
};

/// What one sequence's past has left: blocks of keys and values, and the states of recurrent
/// layers. Such a state cannot forget its last tokens; it goes back to a copy of an earlier one, or
/// to the beginning, and has to see the tokens from there again. Gives all back on destruction; the
/// pool outlives it.
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
    const KvLayer& layer = pool_.shape().layers[index];
    return {blocks_.data(), layer.keys, layer.values};
  }

  bool recurrent() const { return pool_.shape().states_floats != 0; }
  /// REQUIRES: the layer is recurrent, and `reserve` was called.
  float* state(std::size_t layer) const { return states_ + pool_.shape().state_offsets[layer]; }
  /// Tokens that the recurrent states have seen.
  std::size_t state_length() const { return state_length_; }
  void set_state_length(std::size_t length) { state_length_ = length; }
  /// Makes the copy to go back to.
  void keep_states();
  std::size_t kept_length() const { return kept_length_; }
  /// Back to the copy, or to the beginning if it has seen more than `length` tokens.
  void restore_states(std::size_t length);

 private:
  KvPool& pool_;
  std::size_t max_blocks_;
  std::vector<std::byte*> blocks_;
  float* states_ = nullptr;  // now, and then the copy
  std::size_t state_length_ = 0;
  std::size_t kept_length_ = 0;  // 0: no copy
};

}  // namespace sluice
