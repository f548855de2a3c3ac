#pragma once
// What of a layer is computed where, and how long that takes.

#include <cstdint>
#include <limits>
#include <span>
#include <vector>

#include "hybrid/cost_curve.h"

namespace sluice {

inline constexpr double kNever = std::numeric_limits<double>::infinity();

/// An expert that rows of the layer want. Times are seconds from the layer's start on.
struct ExpertWork {
  std::uint32_t rows = 0;     // above 0
  std::uint64_t bytes = 0;    // of its weights, at the width that is multiplied
  double in_ram_at = 0;       // when the host has it; kNever: it is not on its way
  double on_gpu_at = kNever;  // likewise

  bool on_gpu() const { return on_gpu_at < kNever; }
  bool operator==(const ExpertWork&) const = default;
};

/// A machine: what calibration measured and timings refine. Seconds.
struct HybridCosts {
  CostCurve cpu, gpu;
  double cpu_start = 0, gpu_start = 0;  // once, where a layer uses the device at all
  double upload_start = 0;              // of each expert that is copied to the GPU
  double upload_byte = 0;
  double staging_byte =
      0;  // before that, of the CPU's time: into the memory that the link copies from
  // Copies and the CPU share the host's memory: how fast one is while the other is at work, of what
  // it is alone.
  double cpu_beside_upload = 1, upload_beside_cpu = 1;

  double staging_seconds(std::uint64_t bytes) const {
    return static_cast<double>(bytes) * staging_byte;
  }
  double upload_seconds(std::uint64_t bytes) const {
    return upload_start + static_cast<double>(bytes) * upload_byte;
  }
};

struct LayerPlan {
  std::vector<std::uint32_t>
      gpu_rows;  // [experts]: of an expert's rows, the GPU's; others: the CPU's
  std::vector<std::uint32_t> uploads;  // experts that are copied to the GPU, in this order
  double seconds = 0;                  // until all is computed
};

/// When each device is done with a plan.
struct LayerTimes {
  double cpu = 0, gpu = 0, link = 0;
  double staging = 0, copying = 0;  // of these, how long the CPU staged and the link copied
  double earlier = 0;               // when the link was done with the copy from before
  double all() const { return cpu > gpu ? cpu : gpu; }
};

/// Follows plans event by event: the link copies one expert after the other, the CPU and the GPU
/// take those that are there in the order in which they come; the CPU first those that it only
/// brings to where the link takes them. Keeps its lists from call to call.
class LayerClock {
 public:
  /// kNever where something is computed that never comes. `link_taken`: for so long the link goes
  /// on, alone, with a copy that was begun before the layer.
  LayerTimes follow(std::span<const ExpertWork> work, const HybridCosts& costs,
                    std::span<const std::uint32_t> gpu_rows, std::span<const std::uint32_t> uploads,
                    double link_taken = 0);

 private:
  static constexpr std::size_t kNone = ~std::size_t{0};
  struct Job {
    double ready = 0, seconds = 0;
    std::size_t stages = kNone;  // an upload, which is ready when this is done
  };
  LayerTimes run(const HybridCosts& costs, double link_taken);

  std::vector<Job> cpu_, gpu_, uploads_;
  std::vector<double> gpu_seconds_;  // [uploads]: of what is computed when one has come
};

}  // namespace sluice
