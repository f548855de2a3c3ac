#include "cache/belady.h"

#include <limits>

namespace sluice {

Belady::Belady(const CacheShape& shape, const RoutingTrace& trace)
    : shape_(shape), following_(trace.routed.size()), next_(shape.size(), kNever) {
  for (std::size_t at = trace.events.size(); at-- > 0;) {
    const RoutingEvent& event = trace.events[at];
    for (std::size_t i = event.first; i < event.first + event.count; ++i) {
      std::uint32_t& next = next_[shape_.index({event.layer, trace.routed[i].expert, 0})];
      following_[i] = next;
      next = static_cast<std::uint32_t>(at);
    }
  }
}

void Belady::visit(std::uint32_t) { visits_ += 1; }

void Belady::touch(CacheKey key, float) {
  const std::uint32_t index = shape_.index(key);
  const bool is_resident = resident_.erase({next_[index], index}) != 0;
  next_[index] = following_[touches_++];
  if (is_resident) resident_.insert({next_[index], index});
}

void Belady::admit(CacheKey key, std::uint64_t) {
  const std::uint32_t index = shape_.index(key);
  resident_.insert({next_[index], index});
}

void Belady::forget(CacheKey key) {
  const std::uint32_t index = shape_.index(key);
  resident_.erase({next_[index], index});
}

std::optional<CacheKey> Belady::victim(const Evictable& evictable) {
  for (auto at = resident_.rbegin(); at != resident_.rend(); ++at) {
    const CacheKey key = shape_.key(at->second);
    if (evictable(key)) return key;
  }
  return std::nullopt;
}

double Belady::distance(CacheKey key) const {
  const std::uint32_t next = next_[shape_.index(key)];
  if (next == kNever) return std::numeric_limits<float>::max();
  return static_cast<double>(next) + 1 - visits_;
}

}  // namespace sluice
