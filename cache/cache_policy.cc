#include "cache/cache_policy.h"

#include <algorithm>

#include "cache/decayed_frequency.h"
#include "cache/lru.h"

namespace sluice {

CacheShape::CacheShape(const std::vector<std::uint32_t>& experts, std::uint32_t plane_groups)
    : first_{0}, plane_groups_(plane_groups) {
  first_.reserve(experts.size() + 1);
  for (const std::uint32_t count : experts) first_.push_back(first_.back() + count * plane_groups);
}

CacheKey CacheShape::key(std::uint32_t index) const {
  const auto next = std::upper_bound(first_.begin(), first_.end(), index);
  const auto layer = static_cast<std::uint32_t>(next - first_.begin() - 1);
  const std::uint32_t within = index - first_[layer];
  return {layer, static_cast<std::uint16_t>(within / plane_groups_),
          static_cast<std::uint16_t>(within % plane_groups_)};
}

Result<std::unique_ptr<CachePolicy>> make_cache_policy(std::string_view name,
                                                       const CacheShape& shape) {
  using Policy = std::unique_ptr<CachePolicy>;
  if (name == "auto" || name == "decayed") return Policy(std::make_unique<DecayedFrequency>(shape));
  if (name == "lfu") {
    return Policy(std::make_unique<DecayedFrequency>(shape, DecayedFrequency::lfu()));
  }
  if (name == "lru") return Policy(std::make_unique<Lru>(shape));
  return Status(ErrorCode::kInvalidArgument, "unknown cache policy \"" + std::string(name) +
                                                 "\": there are auto, decayed, lfu and lru");
}

}  // namespace sluice
