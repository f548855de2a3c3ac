#include "cache/arc.h"

#include <algorithm>

namespace sluice {

Arc::Arc(const CacheShape& shape)
    : shape_(shape), lists_(shape.size(), kRings), used_(shape.size()) {}

void Arc::use(Ring ring, std::uint32_t index) {
  lists_.append(ring, index);
  used_[index] = now_;
}

void Arc::touch(CacheKey key, float) {
  const std::uint32_t index = shape_.index(key);
  const double left_once = lists_.size(kLeftOnce), left_often = lists_.size(kLeftOften);
  const double residents = lists_.size(kOnce) + lists_.size(kOften);
  switch (lists_.ring_of(index)) {
    case kOnce:
    case kOften:
      use(kOften, index);
      break;
    case kLeftOnce:
      once_share_ = std::min(residents, once_share_ + std::max(1.0, left_often / left_once));
      break;
    case kLeftOften:
      once_share_ = std::max(0.0, once_share_ - std::max(1.0, left_once / left_often));
      break;
    default:
      break;
  }
}

void Arc::admit(CacheKey key, std::uint64_t) {
  const std::uint32_t index = shape_.index(key);
  use(lists_.ring_of(index) == KeyRings::kNone ? kOnce : kOften, index);
}

void Arc::forget(CacheKey key) {
  const std::uint32_t index = shape_.index(key);
  if (!is_resident(index)) return;
  const std::uint32_t residents = lists_.size(kOnce) + lists_.size(kOften);
  lists_.append(lists_.ring_of(index) == kOnce ? kLeftOnce : kLeftOften, index);
  // No more is remembered than is held, and of what was wanted once only what would fit beside it.
  while (lists_.size(kLeftOnce) > 0 && lists_.size(kOnce) + lists_.size(kLeftOnce) > residents) {
    lists_.remove(lists_.oldest(kLeftOnce));
  }
  while (lists_.size(kLeftOnce) + lists_.size(kLeftOften) > residents) {
    lists_.remove(lists_.oldest(lists_.size(kLeftOften) > 0 ? kLeftOften : kLeftOnce));
  }
}

std::optional<CacheKey> Arc::victim(const Evictable& evictable) {
  const Ring first = giving();
  for (const Ring ring : {first, first == kOnce ? kOften : kOnce}) {
    if (const auto key = lists_.oldest(ring, shape_, evictable)) return key;
  }
  return std::nullopt;
}

double Arc::distance(CacheKey key) const {
  const std::uint32_t index = shape_.index(key);
  const double age = static_cast<double>(now_ - used_[index] + 1) / static_cast<double>(now_ + 1);
  return lists_.ring_of(index) == giving() ? 1 + age : age;
}

}  // namespace sluice
