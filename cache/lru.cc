#include "cache/lru.h"

namespace sluice {

Lru::Lru(const CacheShape& shape)
    : shape_(shape), residents_(shape.size(), 1), used_(shape.size()) {}

void Lru::use(std::uint32_t index) {
  residents_.append(0, index);
  used_[index] = now_;
}

void Lru::touch(CacheKey key, float) {
  const std::uint32_t index = shape_.index(key);
  if (residents_.ring_of(index) == 0) use(index);
}

void Lru::admit(CacheKey key, std::uint64_t) { use(shape_.index(key)); }

void Lru::forget(CacheKey key) { residents_.remove(shape_.index(key)); }

std::optional<CacheKey> Lru::victim(const Evictable& evictable) {
  return residents_.oldest(0, shape_, evictable);
}

double Lru::distance(CacheKey key) const {
  return static_cast<double>(now_ - used_[shape_.index(key)] + 1);
}

}  // namespace sluice
