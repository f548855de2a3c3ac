#include "cache/quota_policy.h"

#include <algorithm>

namespace sluice {
namespace {

// Quotas are made anew after twice as many cycles as before, and at the latest after these.
constexpr std::uint64_t kLongestPlan = 64;

}  // namespace

QuotaPolicy::QuotaPolicy(const CacheShape& shape)
    : shape_(shape),
      residents_(shape.size(), shape.layers()),
      used_(shape.size()),
      quotas_(shape.layers()) {}

void QuotaPolicy::visit(std::uint32_t layer) {
  now_ += 1;
  if (layer <= current_) cycles_ += 1;
  current_ = layer;
}

void QuotaPolicy::use(std::uint32_t layer, std::uint32_t index) {
  residents_.append(layer, index);
  used_[index] = now_;
}

void QuotaPolicy::touch(CacheKey key, float) {
  const std::uint32_t index = shape_.index(key);
  if (residents_.ring_of(index) != KeyRings::kNone) use(key.layer, index);
  on_touch(key.layer, index);
}

void QuotaPolicy::admit(CacheKey key, std::uint64_t) {
  const std::uint32_t index = shape_.index(key);
  if (residents_.ring_of(index) == KeyRings::kNone) resident_ += 1;
  use(key.layer, index);
}

void QuotaPolicy::forget(CacheKey key) {
  const std::uint32_t index = shape_.index(key);
  if (residents_.ring_of(index) == KeyRings::kNone) return;
  resident_ -= 1;
  residents_.remove(index);
}

/// Of experts of several sizes now more fit and now fewer: a few more change no plan.
void QuotaPolicy::plan() {
  if (cycles_ < next_plan_ && resident_ <= slots_ + slots_ / 16) return;
  slots_ = std::max(slots_, resident_);
  next_plan_ = cycles_ + std::clamp<std::uint64_t>(cycles_, 1, kLongestPlan);
  share_out(slots_, quotas_);
}

std::optional<CacheKey> QuotaPolicy::victim(const Evictable& evictable) {
  plan();
  std::optional<CacheKey> best;
  double farthest = 0;
  for (std::uint32_t layer = 0; layer < shape_.layers(); ++layer) {
    const auto oldest = residents_.oldest(layer, shape_, evictable);
    if (!oldest || distance(*oldest) <= farthest) continue;
    farthest = distance(*oldest);
    best = oldest;
  }
  return best;
}

double QuotaPolicy::distance(CacheKey key) const {
  const double coming = key.layer == current_ ? 1 : 0;
  const double above = residents_.size(key.layer) + coming - quotas_[key.layer];
  const double age = static_cast<double>(now_ - used_[shape_.index(key)] + 1);
  // No quota is larger than the cache, so that is positive.
  return above + slots_ + 1 + age / static_cast<double>(now_ + 1);
}

}  // namespace sluice
