#pragma once
// Recorded routing on a machine with a GPU in virtual time: what each way to use it would take. All
// experts are in the host's memory, some in the GPU's.

#include <cstdint>
#include <memory>
#include <random>
#include <span>
#include <string>
#include <vector>

#include "cache/cache_policy.h"
#include "cache/routing_trace.h"
#include "hybrid/copy_worth.h"
#include "hybrid/hybrid_learner.h"
#include "hybrid/hybrid_scheduler.h"

namespace sluice {

/// A machine as it is, which the scheduler never sees.
struct HybridMachine {
  std::string name;
  HybridCosts costs;
  double dense_seconds = 0;    // of a layer beside its experts: the GPU's, the link is idle
  double noise = 0.05;         // of every timing
  double hiccups = 0.005;      // the share of layers that something else holds up: tenfold
  double miscalibrated = 0.2;  // by how much calibration errs, in each number
  double drift = 1;            // what CPU and link are slower by from the middle of the run on
};

enum class HybridMode : std::uint8_t {
  kAuto,     // HybridScheduler, a cache in the GPU's memory, costs learned from timings
  kGpuOnly,  // all experts are computed by the GPU: missing ones are copied, and cached
  kCpuOnly,
  kStatic,  // the GPU has those that were wanted most before, and computes these; the CPU the
            // others
};

/// An expert of a visit and for how many of its rows.
struct WantedRows {
  std::uint16_t expert = 0;
  std::uint32_t rows = 0;
  float score = 1;
};

class HybridReplay {
 public:
  struct Result {
    double seconds = 0;                                                 // virtual
    double decode_seconds = 0;                                          // of it
    std::uint64_t uses = 0, gpu_hits = 0, uploads = 0, promotions = 0;  // experts
    double off = 0;  // how far the scheduler's foretold times were off, on average
  };

  /// `gpu_bytes` of experts fit the GPU. `policy` says which leave; null: they stay.
  HybridReplay(std::vector<std::uint32_t> experts, std::vector<std::uint64_t> expert_bytes,
               const HybridMachine& machine, HybridMode mode, std::uint64_t gpu_bytes,
               std::unique_ptr<CachePolicy> policy, std::uint64_t visits);

  /// Before the run: what earlier ones wanted. Costs nothing.
  void learn(std::uint32_t layer, std::span<const WantedRows> wanted);
  /// Ends that: the GPU has what was wanted most.
  void begin();
  void visit(std::uint32_t layer, bool decode, std::span<const WantedRows> wanted);
  Result result() const;

 private:
  std::uint32_t index(std::uint32_t layer, std::uint16_t expert) const {
    return shape_.index({layer, expert});
  }
  const LayerPlan& make_plan();
  void admit(CacheKey key);
  double promote(std::uint32_t layer, const LayerPlan& plan, const LayerTimes& times);
  std::optional<CacheKey> displaced_by(CacheKey key);
  HybridCosts truth() const;
  void learn_costs(const LayerPlan& plan, const LayerTimes& times, double hiccup);

  const CacheShape shape_;
  const std::vector<std::uint64_t> expert_bytes_;
  const HybridMachine machine_;
  const HybridMode mode_;
  const std::uint64_t gpu_bytes_, visits_;
  const std::unique_ptr<CachePolicy> policy_;
  std::mt19937_64 random_{1}, trouble_{2};  // trouble_: is every mode's alike
  std::uniform_real_distribution<double> unit_;
  HybridLearner learner_;
  HybridScheduler scheduler_;
  CopyWorth worth_;
  LayerClock clock_;
  LayerPlan fixed_;  // of modes that plan nothing
  std::vector<ExpertWork> work_;
  std::vector<std::uint32_t> experts_;  // of the visit
  std::vector<std::uint64_t> counts_;   // [keys]: rows before the run
  std::vector<bool> on_gpu_;            // [keys]
  std::uint64_t used_ = 0, visited_ = 0;
  CacheKey copied_;       // behind a layer, …
  double copy_left_ = 0;  // … for so long yet, if the CPU does not disturb; 0: nothing is
  Result sums_;
};

}  // namespace sluice
