#pragma once
// One forward pass over rows, each a token at a position of some session. Prefill, decode, several
// sequences and the checking of drafts are the same pass over different rows.

#include <atomic>
#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <vector>

#include "base/compute.h"
#include "base/status.h"
#include "base/types.h"
#include "devices/devices.h"
#include "engine/moe_layer.h"
#include "experts/expert_store.h"
#include "gates/gate_forecast.h"
#include "layers/dense_part.h"
#include "layers/dense_weights.h"
#include "layers/model_description.h"
#include "layers/rope_table.h"
#include "layers/routing_observer.h"
#include "layers/routing_script.h"
#include "layers/scratch.h"

namespace sluice {

/// Receives float32 logits `[vocabulary]` of row `row`, in the order of rows; the span is valid
/// during the call only.
using LogitsSink = std::function<void(std::size_t row, std::span<const float> logits)>;

struct PassOptions {
  RoutingObserver* observer = nullptr;
  const std::atomic<bool>* cancel = nullptr;  // looked at between layers: kCancelled when true
  RoutingScript* script = nullptr;            // says where rows go, in the routers' place
  // Changes what the routers choose (a script's choices stand); null: the model's own does,
  // if it has one, …
  RouteRelaxation* relaxation = nullptr;
  WidthChoice* widths = nullptr;  // says how many bits of experts rows take; null: likewise
  bool exact = false;             // … and this does not forbid it
  bool foretell = true;           // false: in this pass nothing is, as with the predictor "off"
};

/// Not thread-safe: one pass at a time.
class ForwardPass {
 public:
  static Result<std::unique_ptr<ForwardPass>> create(
      const ModelDescription& model, const DenseWeights& weights, Compute& compute,
      ExpertStore& store, KvType kv_type, std::size_t context, const ScratchShape& scratch,
      const ForecastOptions& forecast, const Devices& devices);

  std::size_t max_rows() const { return scratch_.max_rows; }
  /// Sees every pass from now on, before those that are asked later and what the pass's options
  /// name.
  void observe(RoutingObserver& observer) { observers_.push_back(&observer); }
  void ignore(RoutingObserver& observer) { std::erase(observers_, &observer); }
  /// REQUIRES: 0 < rows.size() <= max_rows(); every sequence has room for its rows' positions; a
  /// script fits the model.
  /// After an error the rows' positions hold no meaningful keys and values; earlier positions are
  /// intact, recurrent states are not. After kDeviceLost nothing is that a twin has, and sequences
  /// with twins are refused with the same.
  Status run(std::span<const Row> rows, const PassOptions& options, const LogitsSink& sink);

 private:
  ForwardPass(const ModelDescription& model, const DenseWeights& weights, Compute& compute,
              ExpertStore& store, KvType kv_type, std::size_t context, Scratch scratch,
              const ForecastOptions& forecast, const Devices& devices);

  Status run_layers(std::span<const Row> rows, const PassOptions& options);
  Status run_layers(std::span<const Row> rows, RoutingObserver* observer,
                    const std::atomic<bool>* cancel);
  Status embed(std::span<const Row> rows);
  Status run_layer(std::uint32_t layer, std::span<const Row> rows, RoutingObserver* observer);
  Status move_to(DenseDevice* place, std::span<const Row> rows);
  Status run_on_device(std::uint32_t layer, std::size_t rows, RoutingObserver* observer);
  void enter(std::uint32_t layer, std::size_t rows, RoutingObserver* observer);
  void route(std::uint32_t layer, std::size_t rows, RoutingObserver* observer);
  Status write_logits(std::span<const Row> rows, const LogitsSink& sink);
  void finish_logits(std::size_t rows);

  const ModelDescription& model_;
  const DenseWeights& weights_;
  ExpertStore& store_;
  std::vector<RopeTable> ropes_;
  Scratch scratch_;
  DensePart part_;
  const Devices& devices_;
  DenseDevice* place_ = nullptr;  // that the pass has come to; null: the host
  GateForecast forecast_;
  MoeLayer moe_;
  std::vector<RoutingObserver*> observers_;  // of every pass, and, while one runs, its own
};

}  // namespace sluice
