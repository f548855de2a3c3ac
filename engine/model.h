#pragma once
// An opened model: its description and dense weights, and the machinery that runs passes over it.

#include <algorithm>
#include <atomic>
#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <span>
#include <string>

#include "devices/devices.h"
#include "engine/forward_pass.h"
#include "engine/memory_plan.h"
#include "engine/route_relaxation.h"
#include "engine/runtime.h"
#include "experts/expert_catalogue.h"
#include "experts/expert_store.h"
#include "formats/checkpoint.h"
#include "layers/dense_weights.h"
#include "layers/kv_cache.h"
#include "layers/model_description.h"
#include "text/tokenizer.h"

namespace sluice {

struct ModelOptions {
  std::uint32_t context = 0;    // positions of one sequence; 0: see MemoryRequest
  std::uint32_t sequences = 1;  // whole contexts that there is room for
  std::uint32_t seats = 0;      // sessions that may be open at once and share that; 0: as many
  KvType kv_type = KvType::kF16;
  bool compute_f32 = false;      // quantised weights meet float32 activations instead of 8-bit ones
  std::uint32_t max_rows = 0;    // of a pass; 0: as the budget allows
  std::string policy = "auto";   // of the expert cache
  std::uint64_t reserved = 0;    // of the runtime's budget, for the caller's own use
  std::string predict = "auto";  // what foretells experts, as GateForecast knows it
  // Corrections of it. None: those beside the model, where there are any and they fit; empty: none.
  std::optional<std::string> calibration = std::nullopt;
  RouteTolerance tolerance = {};  // approximations; by default there are none
  unsigned width = kExactWidth;   // of experts, where the model's outline is not open yet
  std::optional<float> narrow = std::nullopt;  // where that is kAutoWidth; none: what is usual
  // Looked at while weights are read and laid out: kCancelled when true. It need not outlive that.
  const std::atomic<bool>* cancel = nullptr;
  std::uint32_t most_sessions() const { return std::max(seats, sequences); }
  std::function<void(double)> progress = {};  // told which share of the dense weights has been read
};

/// What is known of a model before any weight is read: all that `info` needs.
struct ModelOutline {
  Checkpoint checkpoint;  // its tokenizer has been moved into `tokenizer`
  ModelDescription description;
  ExpertCatalogue catalogue;
  std::unique_ptr<Tokenizer> tokenizer;  // null where the checkpoint has none that can be used …
  std::string no_tokenizer;              // … and why that is so
  std::uint64_t dense_bytes = 0;
  std::uint64_t tokenizer_bytes = 0;

  /// `width`: of experts, as ExpertCatalogue has it.
  static Result<ModelOutline> open(const std::string& path, unsigned width = kExactWidth);
  /// The same for a checkpoint that is open already.
  static Result<ModelOutline> from(Checkpoint checkpoint, unsigned width = kExactWidth);
  /// A `ram` of 0 asks for the smallest plan. REQUIRES: the checkpoint's files are open in the
  /// runtime's reader.
  Result<MemoryPlan> plan(std::uint64_t ram, Runtime& runtime, const ModelOptions& options) const;
};

/// Opens the checkpoint's files in a reader; `[i]` is the reader's index of checkpoint.files[i].
Result<std::vector<FileIndex>> open_files(const Checkpoint& checkpoint, BlockReader& reader);

/// Of all passes so far.
struct ModelStatistics {
  ExpertStatistics experts;
  std::uint64_t on_device = 0;  // experts that a device computed rows of
};

/// Borrows its runtime. Sessions of one model may be used from several threads: passes take turns.
class Model {
 public:
  /// kBudget when the runtime's budget cannot hold it; nothing large was allocated then. kCancelled
  /// when options.cancel asked for it.
  static Result<std::unique_ptr<Model>> open(Runtime& runtime, const std::string& path,
                                             const ModelOptions& options);
  /// The same of a checkpoint that is open.
  static Result<std::unique_ptr<Model>> open(Runtime& runtime, ModelOutline outline,
                                             const ModelOptions& options);

  const ModelDescription& description() const { return outline_.description; }
  const Checkpoint& checkpoint() const { return outline_.checkpoint; }
  const ExpertCatalogue& catalogue() const { return outline_.catalogue; }
  const Tokenizer* tokenizer() const { return outline_.tokenizer.get(); }
  /// Why tokenizer() is null: none is there, or which part of it is not understood.
  const std::string& no_tokenizer() const { return outline_.no_tokenizer; }
  const DenseWeights& weights() const { return weights_; }
  const MemoryPlan& plan() const { return plan_; }
  /// Why corrections that lie beside the model are not used; empty where they are, or none are
  /// there.
  const std::string& unused_calibration() const { return unused_calibration_; }
  /// The approximations that were asked for, and what they did; null: none were.
  const RouteRelaxation* relaxation() const { return relaxation_ ? &*relaxation_ : nullptr; }
  /// What experts' bits go by, and how many were taken; null: widths are not chosen.
  const WidthChoice* widths() const { return widths_ ? &*widths_ : nullptr; }
  /// The share up to which experts have the fewest bits, on average over layers.
  float narrow() const {
    return narrow_.value_or(WidthChoice::usual_narrow(description().router.top_k));
  }
  /// Whether the calibration says how sensitive each layer is to skipping; else all count alike.
  bool knows_sensitivities() const { return !corrections_.sensitivities().empty(); }
  /// What its options named.
  const std::string& policy() const { return policy_; }
  const std::string& predict() const { return predict_; }
  Runtime& runtime() const { return runtime_; }
  /// REQUIRES: no pass runs.
  ExpertStatistics expert_statistics() const { return store_->statistics(); }
  /// As the last pass left them; on any thread.
  ModelStatistics statistics() const;
  const Devices& devices() const { return *devices_; }
  /// What an expert takes of the cache. REQUIRES: there is such an expert.
  std::size_t slot_bytes(ExpertId id) const { return store_->slot_bytes(id); }
  /// [catalogue().layers()]; add up to expert_statistics().
  std::span<const ExpertStatistics> layer_statistics() const { return store_->layer_statistics(); }
  /// To load the dense weights, sector padding included.
  std::uint64_t dense_bytes_read() const { return dense_bytes_read_; }
  KvPool& kv_pool() { return *kv_; }

  /// See ExpertStore: experts that an earlier run had in memory are read while passes leave the
  /// disk something to do. REQUIRES: of this model; no pass yet.
  void warm(const HotSet& earlier) { store_->warm(earlier); }
  /// Reads some of them and waits, for when no pass is wanted yet. False: none is left.
  bool warm_up();
  HotSet hot_set() const { return store_->hot_set(); }

  std::size_t max_rows() const { return pass_->max_rows(); }

  /// Sees every pass of every session from now on, until it is to be ignored. REQUIRES, of both: no
  /// pass runs.
  void observe_routing(RoutingObserver& observer) { pass_->observe(observer); }
  void ignore_routing(RoutingObserver& observer) { pass_->ignore(observer); }
  /// From now on widths are taken as a log has them. REQUIRES: widths() is not null; no pass runs.
  void replay_widths(WidthScript& script) { widths_->follow(&script); }
  /// One forward pass; see ForwardPass::run. It has the model's relaxation, unless its options say
  /// otherwise.
  Status step(std::span<const Row> rows, const PassOptions& options, const LogitsSink& sink);

 private:
  Model(Runtime& runtime, ModelOutline outline) : runtime_(runtime), outline_(std::move(outline)) {}
  Status make_plan(const ModelOptions& options);
  void open_devices(const ModelOptions& options);
  Status open_pass(const ModelOptions& options);
  Status read_corrections(const ModelOptions& options);

  Runtime& runtime_;
  ModelOutline outline_;
  std::string policy_, predict_;
  MemoryPlan plan_;
  DenseWeights weights_;
  RouterCopies copies_;
  GateCorrections corrections_;
  std::string calibration_;  // the file that they are of, or empty
  std::string unused_calibration_;
  std::uint64_t dense_bytes_read_ = 0;
  std::optional<RouteRelaxation> relaxation_;
  std::optional<float> narrow_;
  std::optional<WidthChoice> widths_;
  std::unique_ptr<Devices> devices_;
  std::unique_ptr<ExpertStore> store_;
  std::optional<KvPool> kv_;
  std::unique_ptr<ForwardPass> pass_;
  std::mutex step_mutex_;
  mutable std::mutex statistics_mutex_;
  ModelStatistics statistics_;
};

}  // namespace sluice
