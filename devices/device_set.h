#pragma once
// The devices of a process, and what a model may have of them.

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "base/compute.h"
#include "base/device_backend.h"
#include "base/status.h"
#include "devices/placement.h"

namespace sluice {

using DeviceList = std::vector<std::unique_ptr<DeviceBackend>>;
/// Makes the devices; they may compute as the CPU does, with what is passed.
using DeviceFactory = std::function<Result<DeviceList>(Compute& cpu)>;

struct DeviceSet {
  DeviceList devices;
  std::vector<std::uint64_t> vram;  // bytes of each one's memory, at most
  Placement placement;
  // Layers whose other parts a device computes, too, at most; none: as many as there is room for.
  std::optional<std::uint32_t> device_layers;
  // What experts take on the processors is measured when a model is opened, for some 1.5 seconds,
  // unless `machine_costs` has it; else it is guessed.
  bool calibrate = false;
  std::string machine_costs;  // a file that keeps it from run to run; empty: none
};

}  // namespace sluice
