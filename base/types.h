#pragma once
// Small values that every room speaks of.

#include <compare>
#include <cstddef>
#include <cstdint>
#include <functional>

namespace sluice {

using TokenId = std::int32_t;

/// One routed expert of one layer.
struct ExpertId {
  std::uint32_t layer = 0;
  std::uint32_t expert = 0;
  auto operator<=>(const ExpertId&) const = default;
};

}  // namespace sluice

template <>
struct std::hash<sluice::ExpertId> {
  std::size_t operator()(const sluice::ExpertId& id) const noexcept {
    return std::hash<std::uint64_t>()((std::uint64_t{id.layer} << 32) | id.expert);
  }
};
