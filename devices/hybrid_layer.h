#pragma once
// One MoE layer on two kinds of processor: which experts the device computes, which the CPU, which
// are copied to the device first, and the device's part of the work.
//
// The story of one layer, within the visit of the ExpertStore that it belongs to:
//
//     plan(layer, wanted)    says how many rows of each expert are the device's, and which experts
//                            it must be given: the store is asked for these and for the CPU's alone
//     begin(rows)            what experts read goes to the device, if it is not there
//     add(…) … launch()      experts that it has
//     fetch()                outputs come back, into the very places where the CPU would put them
//     upload(…), add, launch as experts arrive
//     finish()               waits for all of that. False: the device failed, and what it was given
//                            is the CPU's to compute; it is given nothing from then on.
//
// Where rows have a neighbour, nothing comes back: `computed` brings what the CPU computed, and
// sum(), before finish(), has the device add it up. The host waits for none of it until it asks
// for a later layer.
//
// Activations are those that the CPU quantised and every kernel keeps the canonical order, so that
// it makes no difference to the bits who computes what.
//
// Not thread-safe.

#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "base/clock.h"
#include "base/device_backend.h"
#include "devices/device_scratch.h"
#include "devices/placement.h"
#include "experts/device_tier.h"
#include "experts/expert_store.h"
#include "hybrid/copy_worth.h"
#include "hybrid/hybrid_learner.h"
#include "hybrid/hybrid_scheduler.h"
#include "layers/layer_weights.h"
#include "layers/model_description.h"
#include "layers/scratch.h"

namespace sluice {

struct HybridOptions {
  std::uint64_t vram = 0;                          // bytes of the device's memory, at most
  std::uint32_t first_layer = 0, end_layer = ~0u;  // whose experts it has to do with
  Placement placement;
  std::string policy = "auto";  // of the tier
  std::size_t rows = 0;         // in a pass, at most
  bool eight_bit = true;        // activations have an 8-bit form
  HybridCosts costs;            // until layers have been measured
  Clock clock = steady_seconds;
};

struct HybridStatistics {
  std::uint64_t uses = 0;       // experts wanted by layers that were shared out
  std::uint64_t on_device = 0;  // of these, those of which it computed rows, …
  std::uint64_t found = 0;      // … and those that it had already
  std::uint64_t redone = 0;     // experts that the CPU computed after the device had failed
  DeviceTierStatistics tier;
  HybridStatistics& operator+=(const HybridStatistics& more);
};

class HybridLayer {
 public:
  /// What a machine of the usual kind takes.
  static HybridCosts usual_costs(unsigned threads);
  /// Of the host's memory, beyond the scratch.
  static std::uint64_t host_bytes(const ModelDescription& model, const ExpertCatalogue& catalogue);
  /// kBudget: the device's memory is too small for one expert and what it reads and writes. All
  /// that is passed but the options outlives it; `layers` are the model's.
  static Result<std::unique_ptr<HybridLayer>> create(const ModelDescription& model,
                                                     std::span<const LayerWeights> layers,
                                                     const ExpertCatalogue& catalogue,
                                                     DeviceBackend& device, Compute& compute,
                                                     const HybridOptions& options);

  DeviceBackend& device() { return device_; }
  /// Whether there is anything to be shared out.
  bool open() const { return tier_->open(); }
  /// On the device or on its way there.
  bool has(ExpertId id) const { return tier_->has(id); }
  /// Of a pass that it shares out.
  std::size_t max_rows() const { return scratch_.max_rows(); }
  HybridStatistics statistics() const;
  /// As far as they have been learned.
  const HybridCosts& costs() const { return learner_.costs(); }

  /// `experts`, `rows` (that want each) and `scores` are as long; so is `bits`, that each needs, or
  /// empty: all. An index below is one of these.
  void plan(std::uint32_t layer, std::span<const std::uint32_t> experts,
            std::span<const std::uint32_t> rows, std::span<const float> scores,
            std::span<const std::uint8_t> bits, std::size_t pass_rows, const ExpertStore& store);
  /// Of the expert's rows, the first so many are the device's.
  std::uint32_t device_rows(std::uint32_t index) const { return rows_[index]; }
  /// That are to be uploaded, in this order.
  std::span<const std::uint32_t> uploads() const { return uploads_; }
  bool to_upload(std::uint32_t index) const { return to_upload_[index] != 0; }
  /// Whether the device has anything to compute.
  bool has_work() const { return residents_ > 0 || !uploads_.empty(); }

  /// REQUIRES: their neighbour, if they have one, is of the same device.
  void begin(const ExpertRows& rows);
  /// REQUIRES: it was there when the layer was planned, or has been uploaded.
  ExpertWeights weights(std::uint32_t index, unsigned bits) const;
  /// A task of this expert with weights as above, everything else of it the host's. REQUIRES:
  /// `begin` was called.
  void add(std::uint32_t index, const FfnTask& task);
  void launch();
  void fetch();
  /// Whether an upload would begin at once.
  bool can_upload();
  /// From the host's weights. False: it is the CPU's to compute after all.
  bool upload(std::uint32_t index, const ExpertWeights& weights);
  /// The CPU has computed it, and the layer is as good as over: copies it if it is the one of the
  /// layer that is worth it.
  void promote(std::uint32_t index, const ExpertWeights& weights);
  /// The CPU has computed these, and was at work for so long.
  void computed(std::span<const FfnTask> tasks, double seconds);
  /// An expert that was not in memory has come from the disk.
  void arrived(std::uint32_t index);
  bool finish();
  /// Whether the neighbour goes on with the sum; then nothing is to be finished by the caller.
  /// REQUIRES: what is the CPU's is computed.
  bool sum();
  /// Waits for what a sum has left under way.
  void settle() {
    if (summing_) finish();
  }
  void redone(std::size_t experts) { statistics_.redone += experts; }
  const Clock& clock() const { return clock_; }

 private:
  HybridLayer(const ModelDescription& model, DeviceBackend& device, Compute& compute,
              const HybridOptions& options, DeviceScratch scratch,
              std::unique_ptr<DeviceTier> tier);
  void measure_work(std::span<const std::uint32_t> rows, const ExpertStore& store);
  void share_out(std::span<const std::uint32_t> rows);
  void unpin_idle();
  void choose_promotion();
  void copies(std::uint64_t bytes);
  double link_taken() const;
  bool begin_upload(std::uint32_t index, const ExpertWeights& weights);
  void learn(double gpu);
  ExpertId id(std::uint32_t index) const { return {layer_, experts_[index]}; }
  unsigned bits(std::uint32_t index) const {
    return bits_.empty() ? kExactWidth : unsigned{bits_[index]};
  }
  void note(const Status& status) {
    if (!status.ok()) tier_->close(status);
  }

  DeviceBackend& device_;
  Compute& compute_;
  const Placement placement_;
  const Clock clock_;
  DeviceScratch scratch_;
  std::unique_ptr<DeviceTier> tier_;
  HybridScheduler scheduler_;
  HybridLearner learner_;
  CopyWorth worth_;
  HybridStatistics statistics_;
  double disk_byte_;                      // seconds, of what has to be read
  double ended_ = 0, link_taken_to_ = 0;  // by the clock: the last layer; what was copied last

  // The open layer; everything is reserved for the widest one.
  std::uint32_t layer_ = 0;
  std::vector<std::uint32_t> experts_;
  std::vector<std::uint8_t> bits_;
  std::vector<ExpertWork> work_;
  std::vector<std::uint32_t> rows_;  // of each expert, the device's
  static constexpr std::uint8_t kPinned = 1, kPassing = 2;
  std::vector<std::uint8_t> pinned_;  // in the tier, or on its way through it until the next launch
  std::size_t passing_ = 0;           // of these, the latter
  std::vector<std::uint8_t> to_upload_;
  std::vector<std::uint32_t> uploads_;
  std::size_t residents_ = 0;
  LayerPlan plan_;        // as it was made
  bool given_ = false;    // the device has what experts read
  bool summing_ = false;  // and adds up what they give
  bool as_planned_ = true;
  std::optional<std::uint32_t> promotion_;  // what is to be copied behind the layer
  bool promoted_ = false;
  double begun_ = 0, cpu_seconds_ = 0, link_before_ = 0;
  double staging_seconds_ = 0;
  bool staging_known_ = false;  // none of it was spent waiting
  std::uint64_t come_before_ = 0, read_bytes_ = 0;
};

}  // namespace sluice
