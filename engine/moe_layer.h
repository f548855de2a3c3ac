#pragma once
// The mixture-of-experts half of a layer: route, bring the experts, compute what is there while the
// rest arrives, add in rank order.

#include <cstdint>
#include <span>
#include <vector>

#include "base/compute.h"
#include "base/status.h"
#include "devices/devices.h"
#include "engine/route_relaxation.h"
#include "engine/width_choice.h"
#include "experts/expert_store.h"
#include "gates/gate_forecast.h"
#include "layers/dense_part.h"
#include "layers/model_description.h"
#include "layers/router.h"
#include "layers/routing_observer.h"
#include "layers/routing_script.h"
#include "layers/scratch.h"

namespace sluice {

/// Holds the lists that a visit needs, so that a decode step allocates nothing. One per forward
/// pass.
class MoeLayer {
 public:
  /// Where `devices` has something, the scratch is pinned.
  MoeLayer(const ModelDescription& model, Compute& compute, ExpertStore& store, Scratch& scratch,
           GateForecast& forecast, const Devices& devices);

  /// From now on `script` says where rows go; null: the routers do.
  /// REQUIRES: it gives a row at most the model's top_k experts.
  void follow(RoutingScript* script);
  /// From now on routing departs from the routers' choices as it says; null: it does not.
  /// REQUIRES: no script is followed.
  void relax(RouteRelaxation* relaxation) { relaxation_ = relaxation; }
  /// From now on rows are multiplied by as many bits of experts as it says; null: by all.
  void narrow(WidthChoice* widths) { widths_ = widths; }
  /// Chooses the experts of rows [0, rows), for the next `run`, by scratch.scores.
  void route(std::uint32_t layer, const RouterWeights& weights, std::size_t rows,
             RoutingObserver* observer);
  /// What was just routed is asked for after attention: is read meanwhile.
  void read_ahead(std::uint32_t layer);
  /// block_output[r] = Σ over ranks of weight · expert(x), x = scratch.normed[r], for r in
  /// [0, rows): of the scratch or, if the dense part is on a device, of `place`. Where it is
  /// the host's, `part` computes the shared expert meanwhile. REQUIRES: the rows were routed.
  Status run(std::uint32_t layer, const LayerWeights& weights, std::size_t rows,
             RoutingObserver* observer, DensePart& part, DenseDevice* place);

 private:
  void choose(std::uint32_t layer, const RouterWeights& weights, std::size_t rows,
              RoutingObserver* observer);
  void relax(std::uint32_t layer, const RouterWeights& weights, std::size_t rows);
  std::size_t taken(std::size_t row) const {
    return relaxation_ == nullptr ? top_k_ : relaxation_->taken(row);
  }
  template <typename Visit>
  void for_each_pair(std::size_t rows, Visit visit) const;
  void choose_levels(std::uint32_t layer, std::size_t rows);
  void show_widths(std::uint32_t layer, std::size_t rows, RoutingObserver& observer);
  void group_by_expert(std::uint32_t layer, std::size_t rows);
  std::uint32_t want(std::uint32_t expert);
  void score_wanted(std::size_t rows);
  float share(std::size_t row, std::size_t rank) const;
  void share_out(std::uint32_t layer, std::size_t rows, RoutingObserver* observer);
  void set_device_rows(std::uint32_t wanted, std::uint32_t rows);
  Status begin_visit(std::uint32_t layer);
  void give_residents(std::uint32_t layer, const ExpertBiases& biases, std::size_t rows,
                      DenseDevice* place);
  void give(std::uint32_t layer, std::uint32_t wanted, const ExpertBiases& biases);
  void add_tasks(std::uint32_t layer, std::uint32_t index, const ExpertBiases& biases);
  Status visit_experts(std::uint32_t layer, const LayerWeights& weights, std::size_t rows,
                       RoutingObserver* observer, DensePart& part, DenseDevice* place);
  Status compute_arrivals(std::uint32_t layer, const ExpertBiases& biases,
                          RoutingObserver* observer);
  void compute_ready(std::uint32_t layer, std::span<const std::uint32_t> ready,
                     const ExpertBiases& biases);
  void compute_tasks(std::size_t first, std::size_t count);
  Status compute_what_is_left(std::uint32_t layer, const ExpertBiases& biases);
  void scale_inputs(const RouterWeights& weights, std::size_t rows);
  FfnTask expert_task(std::uint32_t group, const ExpertWeights& expert, const ExpertBiases& biases,
                      bool on_device) const;
  void combine(std::size_t rows);

  const ModelDescription& model_;
  Compute& compute_;
  ExpertStore& store_;
  Scratch& scratch_;
  GateForecast& forecast_;
  const Devices& devices_;
  Router router_;
  RoutingScript* script_ = nullptr;
  std::size_t top_k_;  // the model's, or fewer where a script says so
  RouteRelaxation* relaxation_ = nullptr;
  std::vector<std::uint8_t> resident_;  // [experts]: in memory, where a relaxation wants to know
  WidthChoice* widths_ = nullptr;
  std::vector<std::uint8_t> levels_;      // [rows, top_k] of widths_, where there is one
  std::vector<std::uint8_t> taken_bits_;  // [rows, top_k]: for observers
  std::vector<std::uint32_t>
      wanted_;  // experts of this visit, in the order in which rows first ask for them
  std::vector<float> wanted_scores_;        // [wanted]: the rows' shares of weight, summed
  std::vector<std::uint8_t> wanted_bits_;   // [wanted]: that some row takes; none: all
  std::vector<std::uint32_t> first_group_;  // [wanted]
  std::vector<std::uint32_t> slot_of_;      // [experts]: index into wanted_, or kNone

  /// Rows that take one expert at one level.
  struct Group {
    std::uint32_t wanted = 0;
    std::uint8_t level = 0;
    std::uint32_t next = 0;       // of the same expert, or kNone
    std::uint32_t on_device = 0;  // of its rows, the first so many are the device's
  };
  std::vector<Group> groups_;
  std::vector<std::uint32_t> group_of_;  // [rows, top_k]
  std::vector<std::uint32_t>
      first_place_;  // [groups + 1]: where a group's rows begin in scratch.grouped_rows
  std::vector<std::uint32_t> task_groups_;  // [tasks]
  std::vector<FfnTask> tasks_;

  // A visit's: what the store is asked for, as indices into wanted_, and what it is told of these.
  HybridLayer* hybrid_ = nullptr;           // the layer's; null: the CPU computes all
  bool shared_out_ = false;                 // a device takes part, …
  bool summed_there_ = false;               // … and has made the sum for a dense part of its own
  std::vector<std::uint32_t> wanted_rows_;  // [wanted], if so
  std::vector<std::uint32_t> asked_;
  std::vector<std::uint32_t> asked_experts_;
  std::vector<float> asked_scores_;
  std::vector<std::uint8_t> asked_bits_;
};

}  // namespace sluice
