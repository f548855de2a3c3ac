#include "cache/s3_fifo.h"

#include <algorithm>

namespace sluice {
namespace {

constexpr std::uint8_t kMostUses = 3;
constexpr std::uint32_t kSmallPart = 10;  // the small queue's share is a tenth

}  // namespace

S3Fifo::S3Fifo(const CacheShape& shape)
    : shape_(shape), queues_(shape.size(), kRings), uses_(shape.size()), queued_(shape.size()) {}

S3Fifo::Ring S3Fifo::giving() const {
  const std::uint32_t small = queues_.size(kSmall), main = queues_.size(kMain);
  return small > 0 && small * kSmallPart >= small + main ? kSmall : kMain;
}

void S3Fifo::append(Ring ring, std::uint32_t index) {
  queues_.append(ring, index);
  queued_[index] = ++places_;
}

void S3Fifo::touch(CacheKey key, float) {
  const std::uint32_t index = shape_.index(key);
  if (queues_.ring_of(index) > kMain) return;
  uses_[index] = std::min<std::uint8_t>(kMostUses, static_cast<std::uint8_t>(uses_[index] + 1));
}

void S3Fifo::admit(CacheKey key, std::uint64_t) {
  const std::uint32_t index = shape_.index(key);
  uses_[index] = 0;
  append(queues_.ring_of(index) == kLeft ? kMain : kSmall, index);
}

void S3Fifo::forget(CacheKey key) {
  const std::uint32_t index = shape_.index(key);
  const std::uint32_t ring = queues_.ring_of(index);
  if (ring > kMain) return;
  if (ring == kMain) {
    queues_.remove(index);
    return;
  }
  append(kLeft, index);
  while (queues_.size(kLeft) > std::max(1u, queues_.size(kMain))) {
    queues_.remove(queues_.oldest(kLeft));
  }
}

/// The queue's oldest that was not wanted since it was last asked for; those that were move on.
std::optional<CacheKey> S3Fifo::victim_of(Ring ring, const Evictable& evictable) {
  std::uint32_t index = queues_.oldest(ring);
  while (index != KeyRings::kNone) {
    const std::uint32_t next = queues_.newer(index);
    const CacheKey key = shape_.key(index);
    if (!evictable(key)) {
      index = next;
      continue;
    }
    if (uses_[index] == 0) {
      gave_ = ring;
      return key;
    }
    uses_[index] = ring == kSmall ? std::uint8_t{0} : static_cast<std::uint8_t>(uses_[index] - 1);
    append(kMain, index);
    // The main queue's last one is its next one, too.
    if (next != KeyRings::kNone || ring == kSmall) index = next;
  }
  return std::nullopt;
}

std::optional<CacheKey> S3Fifo::victim(const Evictable& evictable) {
  for (const Ring ring : {giving(), kSmall, kMain}) {
    if (const auto key = victim_of(ring, evictable)) return key;
  }
  return std::nullopt;
}

double S3Fifo::distance(CacheKey key) const {
  const std::uint32_t index = shape_.index(key);
  const double age =
      static_cast<double>(places_ - queued_[index] + 1) / static_cast<double>(places_ + 1);
  const double waiting = 1.0 + kMostUses - uses_[index];
  return (queues_.ring_of(index) == gave_ ? 2 + kMostUses : 0) + waiting + age;
}

}  // namespace sluice
