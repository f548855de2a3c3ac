#pragma once
// The shares of MixedFrequency, and the votes of earlier tokens that went the same way for what
// this token and the next one will want.

#include "cache/forecast_frequency.h"
#include "cache/routing_paths.h"

namespace sluice {

class PathFrequency final : public ForecastFrequency<RoutingPaths> {
 public:
  using ForecastFrequency::ForecastFrequency;
  std::string_view name() const override { return "paths"; }
};

}  // namespace sluice
