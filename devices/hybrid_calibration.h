#pragma once
// What this machine takes for a model's experts, measured in a second or two before the first one
// is wanted: on the CPU, on a device, on the link between them, and while all are at work.

#include <cstdint>

#include "base/clock.h"
#include "base/compute.h"
#include "base/device_backend.h"
#include "experts/expert_catalogue.h"
#include "hybrid/layer_plan.h"
#include "layers/model_description.h"

namespace sluice {

/// The experts that are measured: of one layer, with all their bits. Borrows both.
struct CalibrationShape {
  const ModelDescription& model;
  const ExpertLayer& layer;   // REQUIRES: has_device_copy, and the device multiplies it
  std::uint64_t experts = 0;  // that the model has in all
  std::uint32_t rows = 1;     // of a pass, at most
  bool eight_bit = true;      // activations have an 8-bit form
};

struct CalibrationOptions {
  Clock clock = steady_seconds;
  double seconds = 1.5;                            // after which nothing more is begun
  std::uint64_t host_bytes = 0, device_bytes = 0;  // that may be taken meanwhile
  HybridCosts usual;                               // of what is not measured in that time
};

/// Medians of what is measured at least three times; more rows than there was time for are taken to
/// cost what the last that were measured and the usual curve let expect. kBudget: there is no room
/// for experts to be measured with; errors of the device are its own.
Result<HybridCosts> calibrate(DeviceBackend& device, Compute& compute,
                              const CalibrationShape& shape, const CalibrationOptions& options);

}  // namespace sluice
