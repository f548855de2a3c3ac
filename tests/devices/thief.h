#pragma once

#include <cstddef>

#include "base/fake_device.h"
#include "layers/routing_observer.h"

namespace sluice::test {

/// Takes a device away when a layer is routed for the Nth time.
struct Thief : RoutingObserver {
  void routed(const Routing&) override {
    if (--left == 0) device->lose();
  }
  FakeDevice* device = nullptr;
  std::size_t left = 0;
};

}  // namespace sluice::test
