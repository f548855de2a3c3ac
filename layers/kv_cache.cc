#include "layers/kv_cache.h"

#include <algorithm>
#include <mutex>

namespace sluice {

void KvShape::add(std::size_t key_bytes, std::size_t value_bytes) {
  layers.push_back({key_bytes, value_bytes, block_bytes, block_bytes + key_bytes});
  block_bytes += key_bytes + value_bytes;
}

KvShape kv_shape(const ModelDescription& model, KvType type) {
  return kv_shape(model, type, 0, model.layers.size());
}

KvShape kv_shape(const ModelDescription& model, KvType type, std::size_t first, std::size_t end) {
  KvShape shape;
  for (std::size_t i = 0; i < model.layers.size(); ++i) {
    const LayerDescription& layer = model.layers[i];
    shape.state_offsets.push_back(shape.states_floats);
    if (i < first || i >= end) {
      shape.add(0, 0);
      continue;
    }
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

namespace {

/// Where the parts of a pool's memory begin: its blocks, the sequences' states, and their lists.
struct PoolPlaces {
  PoolPlaces(const KvShape& shape, std::size_t blocks, std::size_t sequences)
      : states(whole(shape.block_bytes * blocks)),
        lists(states + shape.sequence_bytes() * sequences),
        list_bytes(whole(blocks * sizeof(std::byte*))),
        end(lists + list_bytes * sequences) {}
  static std::size_t whole(std::size_t bytes) { return (bytes + 63) / 64 * 64; }
  std::size_t states, lists, list_bytes, end;
};

}  // namespace

std::uint64_t KvPool::bytes(const KvShape& shape, std::size_t blocks, std::size_t sequences,
                            bool on_device) {
  const PoolPlaces at(shape, blocks, sequences);
  return on_device ? at.end : at.lists;
}

Result<KvPool> KvPool::create(const KvShape& shape, std::size_t blocks, std::size_t sequences,
                              DeviceBackend* device) {
  KvPool pool;
  pool.shape_ = shape;
  pool.blocks_ = blocks;
  const PoolPlaces at(shape, blocks, sequences);
  std::byte* memory = nullptr;
  if (device == nullptr) {
    SLUICE_ASSIGN(pool.memory_, AlignedBuffer::allocate(at.lists));
    memory = pool.memory_.data();
  } else {
    SLUICE_ASSIGN(pool.there_, DeviceBuffer::allocate(*device, at.end));
    SLUICE_ASSIGN(pool.pinned_, DeviceBuffer::allocate_pinned(*device, at.end - at.lists));
    memory = pool.there_.data();
  }
  pool.free_.reserve(blocks);
  // The last goes first onto the stack, so that a lone sequence fills memory from the front.
  for (std::size_t i = blocks; i-- > 0;) pool.free_.push_back(memory + i * shape.block_bytes);
  for (std::size_t i = sequences; i-- > 0 && pool.has_seats();) {
    Seat seat{.states = reinterpret_cast<float*>(memory + at.states + i * shape.sequence_bytes())};
    if (device != nullptr) {
      const std::size_t list = i * at.list_bytes;
      seat.list = reinterpret_cast<std::byte**>(pool.pinned_.data() + list);
      seat.list_there = reinterpret_cast<std::byte**>(memory + at.lists + list);
    }
    pool.free_seats_.push_back(seat);
  }
  return pool;
}

std::byte* KvPool::take() {
  const std::lock_guard lock(*mutex_);
  if (free_.empty()) return nullptr;
  std::byte* const taken = free_.back();
  free_.pop_back();
  return taken;
}

void KvPool::give_back(std::byte* block) {
  const std::lock_guard lock(*mutex_);
  free_.push_back(block);
}

std::optional<KvPool::Seat> KvPool::take_seat() {
  const std::lock_guard lock(*mutex_);
  if (free_seats_.empty()) return std::nullopt;
  const Seat taken = free_seats_.back();
  free_seats_.pop_back();
  return taken;
}

void KvPool::give_back(const Seat& seat) {
  const std::lock_guard lock(*mutex_);
  free_seats_.push_back(seat);
}

KvSequence::KvSequence(KvPool& pool, std::size_t max_positions,
                       const std::vector<KvPool*>& device_pools)
    : pool_(pool), max_blocks_(KvShape::blocks(max_positions)) {
  blocks_.reserve(max_blocks_);
  for (KvPool* const there : device_pools) {
    twins_.push_back(std::make_unique<KvSequence>(*there, max_positions));
  }
}

KvSequence::~KvSequence() {
  truncate(0);
  if (seat_) pool_.give_back(*seat_);
}

Status KvSequence::reserve(std::size_t positions) {
  if (pool_.has_seats() && !seat_) {
    seat_ = pool_.take_seat();
    if (!seat_) {
      return Status(ErrorCode::kBudget,
                    pool_.on_device()
                        ? "other sequences have all the places that the device's memory holds"
                        : "other sequences have all the recurrent states that the budget holds");
    }
    restore_states(0);
  }
  while (blocks_.size() < KvShape::blocks(positions)) {
    if (blocks_.size() == max_blocks_) {
      return Status(ErrorCode::kInvalidArgument,
                    "the text is longer than the context that was opened");
    }
    std::byte* const block = pool_.take();
    if (block == nullptr) {
      return Status(ErrorCode::kBudget, "the KV cache's budget is used up by other sequences");
    }
    if (pool_.on_device()) seat_->list[blocks_.size()] = block;
    blocks_.push_back(block);
  }
  for (const auto& twin : twins_) SLUICE_TRY(twin->reserve(positions));
  return {};
}

void KvSequence::truncate(std::size_t positions) {
  while (blocks_.size() > KvShape::blocks(positions)) {
    pool_.give_back(blocks_.back());
    blocks_.pop_back();
  }
  listed_ = std::min(listed_, blocks_.size());
  if (seen_ > positions) restore_states(positions);
  for (const auto& twin : twins_) twin->truncate(positions);
}

void KvSequence::set_seen(std::size_t tokens) {
  seen_ = tokens;
  for (const auto& twin : twins_) twin->set_seen(tokens);
}

void KvSequence::keep_states() {
  for (const auto& twin : twins_) twin->keep_states();
  if (!recurrent() || !seat_) return;
  change(Change::kKeep);
  kept_length_ = seen_;
}

void KvSequence::restore_states(std::size_t length) {
  for (const auto& twin : twins_) twin->restore_states(length);
  if (!recurrent()) {
    seen_ = std::min(seen_, length);
    return;
  }
  if (kept_length_ > length) kept_length_ = 0;
  seen_ = kept_length_;
  if (seat_) change(kept_length_ == 0 ? Change::kClear : Change::kRestore);
}

void KvSequence::change(Change change) {
  if (pool_.on_device()) {
    // What states become forgets what they were.
    if (change != Change::kKeep && !put_off_.empty() && put_off_.back() != Change::kKeep) {
      put_off_.pop_back();
    }
    return put_off_.push_back(change);
  }
  const std::size_t floats = pool_.shape().states_floats;
  float* const now = seat_->states;
  float* const copy = now + floats;
  switch (change) {
    case Change::kClear:
      std::fill_n(now, floats, 0.0f);
      break;
    case Change::kKeep:
      std::copy_n(now, floats, copy);
      break;
    case Change::kRestore:
      std::copy_n(copy, floats, now);
      break;
  }
}

void KvSequence::forget_twins() {
  twins_.clear();
  restore_states(0);
}

Status KvSequence::settle(DeviceBackend& device, StreamIndex stream) {
  if (listed_ < blocks_.size()) {
    SLUICE_TRY(device.upload(stream, reinterpret_cast<std::byte*>(seat_->list_there + listed_),
                             reinterpret_cast<const std::byte*>(seat_->list + listed_),
                             (blocks_.size() - listed_) * sizeof(std::byte*)));
    listed_ = blocks_.size();
  }
  const std::size_t floats = pool_.shape().states_floats;
  for (const Change change : put_off_) {
    float* const now = seat_->states;
    float* const copy = now + floats;
    MapTask task{.op = MapOp::kCopy, .rows = 1, .columns = floats};
    if (change == Change::kClear) task.op = MapOp::kFill;
    task.factor = 0;
    task.out = change == Change::kKeep ? copy : now;
    if (task.op == MapOp::kCopy) task.x = change == Change::kKeep ? now : copy;
    device.operations(stream).map(task);
  }
  put_off_.clear();
  return {};
}

}  // namespace sluice
