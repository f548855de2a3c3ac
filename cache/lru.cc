#include "cache/lru.h"

namespace sluice {

Lru::Lru(const CacheShape& shape) : shape_(shape), end_(shape.size()) {
  links_.reserve(end_ + 1);
  for (std::uint32_t index = 0; index <= end_; ++index) links_.push_back({index, index, 0});
}

void Lru::unlink(std::uint32_t index) {
  Link& link = links_[index];
  links_[link.older].newer = link.newer;
  links_[link.newer].older = link.older;
  link = {index, index, 0};
}

void Lru::append(std::uint32_t index) {
  const std::uint32_t newest = links_[end_].older;
  links_[index] = {newest, end_, now_};
  links_[newest].newer = index;
  links_[end_].older = index;
}

void Lru::touch(CacheKey key, float) {
  const std::uint32_t index = shape_.index(key);
  if (!resident(index)) return;
  unlink(index);
  append(index);
}

void Lru::admit(CacheKey key, std::uint64_t) {
  const std::uint32_t index = shape_.index(key);
  if (resident(index)) unlink(index);
  append(index);
}

void Lru::forget(CacheKey key) {
  const std::uint32_t index = shape_.index(key);
  if (resident(index)) unlink(index);
}

std::optional<CacheKey> Lru::victim(const Evictable& evictable) {
  for (std::uint32_t index = links_[end_].newer; index != end_; index = links_[index].newer) {
    const CacheKey key = shape_.key(index);
    if (evictable(key)) return key;
  }
  return std::nullopt;
}

double Lru::distance(CacheKey key) const {
  return static_cast<double>(now_ - links_[shape_.index(key)].used + 1);
}

}  // namespace sluice
