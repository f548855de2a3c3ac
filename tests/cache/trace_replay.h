#pragma once
// Recorded routing, replayed through the cache as the store would drive it.

#include <cstdint>
#include <filesystem>
#include <memory>
#include <vector>

#include "cache/cache_policy.h"
#include "cache/expert_cache.h"

namespace sluice::test {

/// One visit: the distinct experts that a layer's router chose.
struct RoutingEvent {
  std::uint32_t layer = 0;
  bool decode = true;
  std::vector<std::uint16_t> experts;
};

struct RoutingTrace {
  std::vector<std::uint32_t> experts;       // [layers]
  std::vector<std::uint64_t> expert_bytes;  // [layers]
  std::vector<RoutingEvent> events;
};

/// "experts.u8": uint8 [token][layers][top_k]. The first `tokens` of it.
RoutingTrace read_packed_trace(const std::filesystem::path& path, std::uint32_t layers,
                               std::uint32_t experts, std::uint32_t top_k, std::size_t tokens);
/// A ".route.csv.gz" as the data's README describes it.
RoutingTrace read_route_trace(const std::filesystem::path& path);

/// Gives up what is needed farthest in the future: the bound. Knows the trace that it will see.
class Belady final : public CachePolicy {
 public:
  Belady(const CacheShape& shape, const RoutingTrace& trace);
  std::string_view name() const override { return "belady"; }
  void visit(std::uint32_t layer) override;
  void touch(CacheKey key, float score) override;
  void admit(CacheKey key, std::uint64_t bytes) override;
  void forget(CacheKey key) override;
  std::optional<CacheKey> victim(const Evictable& evictable) override;
  double distance(CacheKey key) const override;

 private:
  CacheShape shape_;
  std::vector<std::vector<std::uint32_t>> uses_;  // [keys] events that want it, last first
  std::uint32_t now_ = 0;                         // events so far
  std::vector<std::uint32_t> resident_;           // indices, unordered
};

struct ReplayResult {
  std::uint64_t requests = 0, hits = 0;
  std::uint64_t decode_requests = 0, decode_hits = 0;
  double hit_rate() const { return static_cast<double>(hits) / static_cast<double>(requests); }
  double decode_hit_rate() const {
    return static_cast<double>(decode_hits) / static_cast<double>(decode_requests);
  }
};

/// Misses that find no room because the visit's own experts fill the cache are counted and not
/// cached.
ReplayResult replay(const RoutingTrace& trace, std::uint64_t capacity_bytes,
                    std::unique_ptr<CachePolicy> policy);

}  // namespace sluice::test
