#pragma once
// Three queues, first in, first out: what is new waits in a small one and mostly leaves from there;
// what was wanted again meanwhile moves to the main one, and so does what is missed soon after it
// left (the third queue remembers it). In the main one an expert goes round once more for each
// time, of the last three, that it was wanted.
//
// J. Yang et al., "FIFO queues are all you need for cache eviction", SOSP 2023. Counted in keys,
// not in bytes.

#include "cache/cache_policy.h"
#include "cache/key_rings.h"

namespace sluice {

class S3Fifo final : public CachePolicy {
 public:
  explicit S3Fifo(const CacheShape& shape);

  std::string_view name() const override { return "s3fifo"; }
  void visit(std::uint32_t) override {}
  void touch(CacheKey key, float score) override;
  void admit(CacheKey key, std::uint64_t bytes) override;
  void forget(CacheKey key) override;
  std::optional<CacheKey> victim(const Evictable& evictable) override;
  double distance(CacheKey key) const override;

 private:
  enum Ring : std::uint32_t { kSmall, kMain, kLeft, kRings };

  /// The queue that has more than its share.
  Ring giving() const;
  void append(Ring ring, std::uint32_t index);
  std::optional<CacheKey> victim_of(Ring ring, const Evictable& evictable);

  CacheShape shape_;
  KeyRings queues_;
  std::vector<std::uint8_t> uses_;     // [keys] since it came in, at most three
  std::vector<std::uint64_t> queued_;  // [keys] at which place of all
  std::uint64_t places_ = 0;           // so far
  Ring gave_ = kSmall;                 // the last victim
};

}  // namespace sluice
