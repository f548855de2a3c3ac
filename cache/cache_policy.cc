#include "cache/cache_policy.h"

#include <algorithm>

#include "cache/adap_moe.h"
#include "cache/arc.h"
#include "cache/auto_policy.h"
#include "cache/decayed_frequency.h"
#include "cache/edge_moe.h"
#include "cache/fate.h"
#include "cache/layered_policy.h"
#include "cache/learned_reuse.h"
#include "cache/lfru.h"
#include "cache/lru.h"
#include "cache/mixed_frequency.h"
#include "cache/mrs.h"
#include "cache/part_worth.h"
#include "cache/path_frequency.h"
#include "cache/s3_fifo.h"

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

CacheShape CacheShape::whole_experts() const {
  CacheShape whole = *this;
  for (std::uint32_t& first : whole.first_) first /= plane_groups_;
  whole.plane_groups_ = 1;
  return whole;
}

namespace {

template <typename Policy>
std::unique_ptr<CachePolicy> make(const CacheShape& shape) {
  return std::make_unique<Policy>(shape);
}

template <typename Model>
std::unique_ptr<CachePolicy> make_layered(const CacheShape& shape) {
  return std::make_unique<LayeredPolicy>(shape, make_worth<Model>(shape));
}

struct NamedPolicy {
  std::string_view name;
  std::unique_ptr<CachePolicy> (*make)(const CacheShape& shape);
};

constexpr NamedPolicy kPolicies[] = {
    {"auto", make<AutoPolicy>},
    {"adapmoe", make<AdapMoe>},
    {"arc", make<Arc>},
    {"decayed", make_layered<DecayedFrequency>},
    {"edgemoe", make_layered<EdgeMoe>},
    {"fate", make<Fate>},
    {"learned", make_layered<LearnedReuse>},
    {"lfru", make<Lfru>},
    {"lfu",
     [](const CacheShape& shape) -> std::unique_ptr<CachePolicy> {
       return std::make_unique<LayeredPolicy>(
           shape, make_worth<DecayedFrequency>(shape, DecayedFrequency::lfu()));
     }},
    {"lru", make<Lru>},
    {"mixed", make_layered<MixedFrequency>},
    {"mrs", make_layered<Mrs>},
    {"paths", make_layered<PathFrequency>},
    {"s3fifo", make<S3Fifo>},
};

}  // namespace

std::vector<std::string> cache_policy_names() {
  std::vector<std::string> names;
  for (const NamedPolicy& policy : kPolicies) names.emplace_back(policy.name);
  return names;
}

Result<std::unique_ptr<CachePolicy>> make_cache_policy(std::string_view name,
                                                       const CacheShape& shape) {
  std::string known;
  for (const NamedPolicy& policy : kPolicies) {
    if (policy.name == name) return policy.make(shape);
    known.append(known.empty() ? "" : ", ").append(policy.name);
  }
  return Status(ErrorCode::kInvalidArgument,
                "unknown cache policy \"" + std::string(name) + "\": there are " + known);
}

}  // namespace sluice
