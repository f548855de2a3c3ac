#pragma once
// What one visit of a layer wants of the expert store.

#include <cstdint>
#include <span>
#include <vector>

#include "cache/expert_cache.h"

namespace sluice {

/// A part of an expert, on its way; pinned in the cache while Loading and Arrived.
///
///     from        to
///     Deferred    Arrived     it is in memory           Arrived     Over       by release()
///     Deferred    Loading     room was found            Arrived     Deferred   others need its
///     room Loading     Arrived     all its reads are in      Loading     Over       a read failed
enum class Stage : std::uint8_t { kDeferred, kLoading, kArrived, kOver };

struct Want {
  CacheKey key;
  std::uint32_t expert = 0;  // of the visit
  Stage stage = Stage::kDeferred;
  bool returned = false;  // in memory since an earlier visit
  CachedCopy copy;        // meaningful while pinned
};

/// An expert is handed out once all its parts have arrived.
struct WantedExpert {
  std::uint32_t first = 0;    // of the visit's wants, one for each part
  std::uint32_t parts = 0;    // that are wanted
  std::uint32_t awaited = 0;  // of these, those that have not arrived
  bool handed = false;        // and not released
};

struct ExpertVisit {
  std::vector<WantedExpert> experts;  // the caller's (router's) order
  std::vector<Want> wants;            // of one expert after the other

  std::span<Want> wants_of(std::uint32_t expert) {
    return std::span(wants).subspan(experts[expert].first, experts[expert].parts);
  }
  std::span<const Want> wants_of(std::uint32_t expert) const {
    return std::span(wants).subspan(experts[expert].first, experts[expert].parts);
  }
  const Want& first_of(std::uint32_t expert) const { return wants[experts[expert].first]; }
};

}  // namespace sluice
