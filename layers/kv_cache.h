#pragma once
// Keys and values of past positions, in blocks of kKvBlock positions that sessions take from a
// common pool.

#include <cstdint>
#include <memory>
#include <mutex>
#include <optional>
#include <vector>

#include "base/aligned_buffer.h"
#include "base/canonical.h"
#include "base/device_backend.h"
#include "base/operations.h"
#include "base/status.h"
#include "layers/model_description.h"

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

/// Of layers [first, end); others keep nothing.
KvShape kv_shape(const ModelDescription& model, KvType type, std::size_t first, std::size_t end);
KvShape kv_shape(const ModelDescription& model, KvType type);

/// A fixed number of blocks, each of which holds kKvBlock positions of all layers, and of seats for
/// sequences. Thread-safe: a model's sequences are on different threads.
class KvPool {
 public:
  /// `device`: whose memory it is; null: the host's. It outlives the pool.
  static Result<KvPool> create(const KvShape& shape, std::size_t blocks, std::size_t sequences,
                               DeviceBackend* device = nullptr);
  /// Of the device's memory, if it is there.
  static std::uint64_t bytes(const KvShape& shape, std::size_t blocks, std::size_t sequences,
                             bool on_device);

  const KvShape& shape() const { return shape_; }
  std::size_t blocks() const { return blocks_; }
  std::size_t free_blocks() const {
    const std::lock_guard lock(*mutex_);
    return free_.size();
  }
  bool on_device() const { return pinned_.data() != nullptr; }

  /// Null when the pool is empty.
  std::byte* take();
  void give_back(std::byte* block);

  /// What a sequence has beside its blocks.
  struct Seat {
    float* states = nullptr;  // sequence_bytes() long
    // On a device, the list of its blocks: where the host writes it and where the device reads it.
    std::byte** list = nullptr;
    std::byte** list_there = nullptr;
  };
  bool has_seats() const { return on_device() || shape_.states_floats != 0; }
  /// None when all are taken.
  std::optional<Seat> take_seat();
  void give_back(const Seat& seat);

 private:
  KvShape shape_;
  std::size_t blocks_ = 0;
  AlignedBuffer memory_;
  DeviceBuffer there_, pinned_;  // on a device: in its place, and the lists
  std::unique_ptr<std::mutex> mutex_ = std::make_unique<std::mutex>();  // guards those below
  std::vector<std::byte*> free_;
  std::vector<Seat> free_seats_;
};

/// What one sequence's past has left: blocks of keys and values, and the states of recurrent
/// layers. Such a state cannot forget its last tokens; it goes back to a copy of an earlier one, or
/// to the beginning, and has to see the tokens from there again. Gives all back on destruction; the
/// pool outlives it.
///
/// What layers on a device keep is its twin, of a pool there, which goes through the same; what
/// that asks of the device waits for `settle`, since sequences are on threads of their own.
class KvSequence {
 public:
  /// `device_pools`: its twins'.
  KvSequence(KvPool& pool, std::size_t max_positions,
             const std::vector<KvPool*>& device_pools = {});
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
    return {pool_.on_device() ? seat_->list_there : blocks_.data(), layer.keys, layer.values};
  }

  bool recurrent() const { return pool_.shape().states_floats != 0; }
  /// REQUIRES: the layer is recurrent, and `reserve` was called.
  float* state(std::size_t layer) const {
    return seat_->states + pool_.shape().state_offsets[layer];
  }
  /// Tokens that every layer has seen; after them some have seen none.
  std::size_t seen() const { return seen_; }
  void set_seen(std::size_t tokens);
  /// Makes the copy to go back to.
  void keep_states();
  std::size_t kept_length() const { return kept_length_; }
  /// Recurrent states go back to the copy, or to the beginning if it has seen more than `length`
  /// tokens.
  void restore_states(std::size_t length);

  bool has_twins() const { return !twins_.empty(); }
  KvSequence* twin(std::size_t device) const { return twins_[device].get(); }
  /// A device is lost, and with it what its layers kept: all tokens are to be seen again.
  void forget_twins();
  /// Gives the stream what was put off. REQUIRES: the pool is the device's.
  Status settle(DeviceBackend& device, StreamIndex stream);

 private:
  enum class Change : std::uint8_t { kClear, kKeep, kRestore };
  void change(Change change);

  KvPool& pool_;
  std::size_t max_blocks_;
  std::vector<std::byte*> blocks_;
  std::optional<KvPool::Seat> seat_;  // its states: now, and then the copy
  std::size_t seen_ = 0;
  std::size_t kept_length_ = 0;  // 0: no copy
  std::vector<std::unique_ptr<KvSequence>> twins_;
  // On a device, until `settle`.
  std::vector<Change> put_off_;
  std::size_t listed_ = 0;  // of the blocks, those that the device's list has
};

}  // namespace sluice
