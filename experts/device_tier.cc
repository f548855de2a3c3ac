#include "experts/device_tier.h"

#include <algorithm>
#include <utility>

#include "base/size.h"

namespace sluice {
namespace {

CacheShape shape_of(const ExpertCatalogue& catalogue) {
  std::vector<std::uint32_t> experts;
  for (const ExpertLayer& layer : catalogue.layers()) experts.push_back(layer.experts);
  return CacheShape(experts);
}

/// As much as the device gives of so much.
Result<DeviceBuffer> allocate_most(DeviceBackend& device, std::uint64_t bytes,
                                   std::uint64_t least) {
  for (;;) {
    auto memory = DeviceBuffer::allocate(device, bytes);
    if (memory.ok() || memory.status().code() != ErrorCode::kBudget || bytes == least) {
      return memory;
    }
    bytes = std::max(least, bytes / 4 * 3);
  }
}

}  // namespace

DeviceTierStatistics& DeviceTierStatistics::operator+=(const DeviceTierStatistics& more) {
  capacity += more.capacity;
  uploads += more.uploads;
  bytes += more.bytes;
  come += more.come;
  seconds += more.seconds;
  if (closed.empty()) closed = more.closed;
  return *this;
}

std::size_t DeviceTier::widest_copy(const ExpertCatalogue& catalogue) {
  std::size_t widest = 0;
  for (const ExpertLayer& layer : catalogue.layers()) {
    for (std::uint32_t expert = 0; expert < layer.experts && has_device_copy(layer); ++expert) {
      widest = std::max(widest, device_copy_bytes(layer, expert, layer.parts_there(expert)));
    }
  }
  return widest;
}

Result<std::unique_ptr<DeviceTier>> DeviceTier::create(DeviceBackend& device,
                                                       const ExpertCatalogue& catalogue,
                                                       const DeviceTierOptions& options) {
  const std::uint64_t widest = ExtentArena::rounded(widest_copy(catalogue));
  std::vector<bool> taken;
  std::uint64_t all = 0;
  for (const ExpertLayer& layer : catalogue.layers()) {
    const bool own = options.first_layer <= layer.layer && layer.layer < options.end_layer;
    taken.push_back(own && multiplies(device, layer));
    if (taken.back()) all += widest * layer.experts;
  }
  if (all == 0) {
    return Status(ErrorCode::kUnsupported, "the file keeps no layer's experts as " +
                                               std::string(device.name()) + " multiplies them");
  }
  const std::uint64_t wanted = std::min(options.bytes, all);
  const auto too_small = [&](std::uint64_t bytes) {
    return Status(ErrorCode::kBudget, format_size(bytes) + " of " + std::string(device.name()) +
                                          " hold no expert: the widest takes " +
                                          format_size(widest));
  };
  if (wanted < widest) return too_small(wanted);
  SLUICE_ASSIGN(DeviceBuffer memory, allocate_most(device, wanted, widest));
  std::array<DeviceBuffer, kStagings> stagings;
  for (DeviceBuffer& staging : stagings) {
    SLUICE_ASSIGN(staging, DeviceBuffer::allocate_pinned(device, widest));
  }
  SLUICE_ASSIGN(const StreamIndex stream, device.make_stream());
  CacheShape shape = shape_of(catalogue);
  SLUICE_ASSIGN(std::unique_ptr<CachePolicy> policy, make_cache_policy(options.policy, shape));
  const bool passes = memory.size() < all && memory.size() / widest >= kLeastWithPassage;
  const std::size_t passage = passes ? kPassage : 0;
  return std::unique_ptr<DeviceTier>(new DeviceTier(device, catalogue, widest, std::move(taken),
                                                    passage, std::move(memory), std::move(stagings),
                                                    stream, std::move(policy), std::move(shape)));
}

DeviceTier::DeviceTier(DeviceBackend& device, const ExpertCatalogue& catalogue, std::size_t widest,
                       std::vector<bool> taken, std::size_t passage, DeviceBuffer memory,
                       std::array<DeviceBuffer, kStagings> stagings, StreamIndex stream,
                       std::unique_ptr<CachePolicy> policy, CacheShape shape)
    : device_(device),
      catalogue_(catalogue),
      widest_(widest),
      taken_(std::move(taken)),
      passage_(passage),
      memory_(std::move(memory)),
      stagings_(std::move(stagings)),
      stream_(stream),
      cache_(std::move(shape), memory_.size() - passage_ * widest_, std::move(policy)),
      parts_(cache_.shape().size()),
      places_(cache_.shape().size()) {
  keys_.reserve(catalogue.widest_layer());
  statistics_.capacity = cache_.capacity();
}

/// Nothing may write into the stagings' place any more.
DeviceTier::~DeviceTier() {
  while (open() && under_way_ > 0) {
    if (!come(/*wait=*/true).ok()) break;
  }
}

void DeviceTier::close(const Status& why) {
  if (open()) statistics_.closed = why.message();
  under_way_ = 0;
}

Status DeviceTier::note(Status status) {
  if (!status.ok()) close(status);
  return status;
}

CacheKey DeviceTier::key_of(ExpertId id) const {
  return {static_cast<std::uint32_t>(&layer_of(id) - catalogue_.layers().data()),
          static_cast<std::uint16_t>(id.expert), 0};
}

void DeviceTier::visit(std::uint32_t layer, std::span<const std::uint32_t> experts,
                       std::span<const float> scores) {
  keys_.clear();
  for (const std::uint32_t expert : experts) keys_.push_back(key_of({layer, expert}));
  const ExpertLayer* const where = catalogue_.find(layer);
  cache_.visit(static_cast<std::uint32_t>(where - catalogue_.layers().data()), keys_, scores);
}

bool DeviceTier::takes(std::uint32_t layer) const {
  const ExpertLayer* const where = catalogue_.find(layer);
  return where != nullptr && taken_[where - catalogue_.layers().data()];
}

std::uint64_t DeviceTier::copy_bytes(ExpertId id, unsigned bits) const {
  return device_copy_bytes(layer_of(id), id.expert, wanted_parts(id, bits));
}

std::optional<CacheKey> DeviceTier::displaced_by(ExpertId id, unsigned bits) {
  return cache_.displaced_by(key_of(id), copy_bytes(id, bits));
}

bool DeviceTier::has(ExpertId id) const {
  return open() && cache_.state(key_of(id)) != CopyState::kEmpty;
}

bool DeviceTier::covers(ExpertId id, CacheKey key, unsigned bits) const {
  return cache_.state(key) != CopyState::kEmpty &&
         parts_[cache_.shape().index(key)] >= wanted_parts(id, bits);
}

bool DeviceTier::pin(ExpertId id, unsigned bits) {
  const CacheKey key = key_of(id);
  if (!open() || !covers(id, key, bits)) return false;
  (void)cache_.pin(key);
  return true;
}

void DeviceTier::unpin(ExpertId id) { cache_.unpin(key_of(id)); }

ExpertWeights DeviceTier::weights(ExpertId id, unsigned bits) const {
  const std::uint32_t index = cache_.shape().index(key_of(id));
  const Passing* const here = passing(id);
  ExpertWeights weights =
      here != nullptr
          ? device_weights(layer_of(id), id.expert, here->parts,
                           passing_place(static_cast<std::size_t>(here - passing_.data())))
          : device_weights(layer_of(id), id.expert, parts_[index], memory_.data() + places_[index]);
  if (layer_of(id).widths.empty()) return weights;
  // Where its groups lie stays; fewer of them are read.
  const ExpertWeights narrow =
      device_weights(layer_of(id), id.expert, wanted_parts(id, bits), nullptr);
  weights.gate.nested.width = narrow.gate.nested.width;
  weights.up.nested.width = narrow.up.nested.width;
  weights.down.nested.width = narrow.down.nested.width;
  return weights;
}

Status DeviceTier::await(StreamIndex stream, ExpertId id) {
  for (std::size_t i = 0; i < under_way_; ++i) {
    const Upload& upload = uploads_[(first_ + i) % kStagings];
    if (upload.id == id) return note(device_.wait(stream, upload.come));
  }
  return {};
}

/// The oldest upload, or, without waiting, all that have come.
Status DeviceTier::come(bool wait) {
  while (under_way_ > 0) {
    const Upload& upload = uploads_[first_];
    if (wait) {
      SLUICE_TRY(device_.finish(upload.come));
    } else {
      SLUICE_ASSIGN(const bool done, device_.done(upload.come));
      if (!done) return {};
    }
    SLUICE_ASSIGN(const double seconds, device_.seconds_between(upload.begun, upload.come));
    statistics_.seconds += seconds;
    statistics_.come += 1;
    if (!upload.passing) {
      cache_.loaded(key_of(upload.id));
      cache_.unpin(key_of(upload.id));
    }
    first_ = (first_ + 1) % kStagings;
    under_way_ -= 1;
    if (wait) return {};
  }
  return {};
}

Status DeviceTier::poll() { return open() ? note(come(/*wait=*/false)) : Status(); }

Result<bool> DeviceTier::staging_free() {
  SLUICE_TRY(poll());
  return under_way_ < kStagings;
}

std::size_t DeviceTier::room() const {
  return (cache_.capacity() - cache_.pinned_bytes()) / widest_;
}

Status DeviceTier::begin_upload(Upload& upload, std::byte* to, const std::byte* from,
                                std::size_t bytes) {
  SLUICE_ASSIGN(upload.begun, device_.record(stream_));
  SLUICE_TRY(device_.upload(stream_, to, from, bytes));
  SLUICE_ASSIGN(upload.come, device_.record(stream_));
  return {};
}

const DeviceTier::Passing* DeviceTier::passing(ExpertId id) const {
  const auto found = std::ranges::find_if(
      passing_, [&](const Passing& place) { return place.taken && place.id == id; });
  return found == passing_.end() ? nullptr : &*found;
}

void DeviceTier::passed(ExpertId id, DeviceEvent event) {
  Passing& place = passing_[static_cast<std::size_t>(passing(id) - passing_.data())];
  place.taken = false;
  place.left = event;
}

/// Null: the next place is taken. The link waits for what was there, the host does not.
Result<std::byte*> DeviceTier::enter_passage(ExpertId id, std::size_t parts) {
  if (passage_ == 0 || passing_[next_passing_].taken) return nullptr;
  const std::size_t index = next_passing_;
  Passing& place = passing_[index];
  if (place.left) SLUICE_TRY(device_.wait(stream_, *place.left));
  place = {.id = id, .parts = parts, .taken = true, .left = std::nullopt};
  next_passing_ = (next_passing_ + 1) % passage_;
  return passing_place(index);
}

/// A place that stays the expert's; null: there is none.
std::byte* DeviceTier::reserve(ExpertId id, std::size_t parts, std::size_t bytes, Room room) {
  const CacheKey key = key_of(id);
  if (cache_.state(key) == CopyState::kLoading) return nullptr;  // a narrower one
  if (cache_.state(key) == CopyState::kReady) cache_.discard(key);
  const auto copy = room == Room::kAny     ? cache_.reserve(key, bytes)
                    : room == Room::kWorth ? cache_.reserve_if_worth(key, bytes)
                                           : cache_.reserve_free(key, bytes);
  if (!copy) return nullptr;
  parts_[cache_.shape().index(key)] = static_cast<std::uint8_t>(parts);
  places_[cache_.shape().index(key)] = copy->extent.offset;
  return memory_.data() + copy->extent.offset;
}

Result<bool> DeviceTier::upload(ExpertId id, unsigned bits, const ExpertWeights& weights, Room room,
                                Compute& compute) {
  SLUICE_ASSIGN(const bool free, staging_free());
  if (!free) SLUICE_TRY(note(come(/*wait=*/true)));
  const std::size_t parts = wanted_parts(id, bits);
  const std::size_t bytes = device_copy_bytes(layer_of(id), id.expert, parts);
  std::byte* to = nullptr;
  if (room == Room::kPassing) {
    auto entered = enter_passage(id, parts);
    SLUICE_TRY(note(entered.status()));
    to = *entered;
  } else {
    to = reserve(id, parts, bytes, room);
  }
  if (to == nullptr) return false;
  const std::size_t place = (first_ + under_way_) % kStagings;
  std::byte* const staging = stagings_[place].data();
  write_device_copy(weights, device_weights(layer_of(id), id.expert, parts, staging), staging,
                    compute);
  Upload& upload = uploads_[place];
  upload.id = id;
  upload.passing = room == Room::kPassing;
  SLUICE_TRY(note(begin_upload(upload, to, staging, bytes)));
  under_way_ += 1;
  statistics_.uploads += 1;
  statistics_.bytes += bytes;
  return true;
}

}  // namespace sluice
