#include "cache/lfru.h"

namespace sluice {

Lfru::Lfru(const CacheShape& shape)
    : shape_(shape), safe_(shape.size(), 1), uses_(shape.size()), used_(shape.size()) {}

bool Lfru::is_resident(std::uint32_t index) const {
  return safe_.ring_of(index) == 0 || others_.contains(rank(index));
}

void Lfru::use(std::uint32_t index) {
  others_.erase(rank(index));
  uses_[index] += 1;
  used_[index] = now_;
  safe_.append(0, index);
  while (safe_.size(0) > others_.size() + 1) {
    const std::uint32_t oldest = safe_.oldest(0);
    safe_.remove(oldest);
    others_.insert(rank(oldest));
  }
}

void Lfru::touch(CacheKey key, float) {
  const std::uint32_t index = shape_.index(key);
  if (is_resident(index)) use(index);
}

void Lfru::admit(CacheKey key, std::uint64_t) { use(shape_.index(key)); }

void Lfru::forget(CacheKey key) {
  const std::uint32_t index = shape_.index(key);
  others_.erase(rank(index));
  safe_.remove(index);
  uses_[index] = 0;
}

std::optional<CacheKey> Lfru::victim(const Evictable& evictable) {
  for (const Rank& other : others_) {
    const CacheKey key = shape_.key(std::get<2>(other));
    if (evictable(key)) return key;
  }
  return safe_.oldest(0, shape_, evictable);
}

double Lfru::distance(CacheKey key) const {
  const std::uint32_t index = shape_.index(key);
  if (safe_.ring_of(index) != 0) return 1 + 1 / (1 + static_cast<double>(uses_[index]));
  return static_cast<double>(now_ - used_[index] + 1) / static_cast<double>(now_ + 1);
}

}  // namespace sluice
