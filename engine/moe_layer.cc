#include "engine/moe_layer.h"

#include <algorithm>
#include <cmath>
#include <numeric>

#include "cache/routing_trace.h"
#include "layers/tasks.h"

namespace sluice {
namespace {

constexpr std::uint32_t kNone = ~0u;
/// A layer's widths: those of the forms together.
constexpr std::size_t kMostLevels = kMostNestedGroups;

}  // namespace

MoeLayer::MoeLayer(const ModelDescription& model, Compute& compute, ExpertStore& store,
                   Scratch& scratch, GateForecast& forecast, const Devices& devices)
    : model_(model),
      compute_(compute),
      store_(store),
      scratch_(scratch),
      forecast_(forecast),
      devices_(devices),
      router_(model.router),
      top_k_(model.router.top_k),
      levels_(scratch.max_rows * model.router.top_k),
      taken_bits_(levels_.size()),
      slot_of_(model.router.experts, kNone),
      group_of_(scratch.max_rows * model.router.top_k) {
  const std::size_t experts = model.router.experts, groups = experts * kMostLevels;
  wanted_.reserve(experts);
  wanted_scores_.reserve(experts);
  wanted_bits_.reserve(experts);
  first_group_.reserve(experts);
  groups_.reserve(groups);
  first_place_.reserve(groups + 1);
  tasks_.reserve(groups);
  task_groups_.reserve(groups);
  wanted_rows_.reserve(experts);
  asked_.reserve(experts);
  asked_experts_.reserve(experts);
  asked_scores_.reserve(experts);
  asked_bits_.reserve(experts);
}

void MoeLayer::follow(RoutingScript* script) {
  script_ = script;
  top_k_ = script == nullptr ? model_.router.top_k : script->top_k();
}

void MoeLayer::route(std::uint32_t layer, const RouterWeights& weights, std::size_t rows,
                     RoutingObserver* observer) {
  choose(layer, weights, rows, observer);
  choose_levels(layer, rows);
  if (observer != nullptr) show_widths(layer, rows, *observer);
  group_by_expert(layer, rows);
}

void MoeLayer::read_ahead(std::uint32_t layer) { forecast_.certain(layer, wanted_); }

Status MoeLayer::run(std::uint32_t layer, const LayerWeights& weights, std::size_t rows,
                     RoutingObserver* observer, DensePart& part, DenseDevice* place) {
  if (model_.router.weights_scale_input) scale_inputs(weights.router, rows);
  SLUICE_TRY(visit_experts(layer, weights, rows, observer, part, place));
  if (summed_there_) {
    place->summed();
    return {};
  }
  combine(rows);
  return place == nullptr ? Status() : place->bring();
}

void MoeLayer::choose(std::uint32_t layer, const RouterWeights& weights, std::size_t rows,
                      RoutingObserver* observer) {
  const RouterDescription& router = model_.router;
  for (std::size_t row = 0; row < rows; ++row) {
    std::uint32_t* const ids = scratch_.expert_ids + row * top_k_;
    float* const weight = scratch_.expert_weights + row * top_k_;
    if (script_ == nullptr) {
      router_.choose({scratch_.scores + row * router.experts, router.experts},
                     weights.selection_bias, ids, weight);
    } else {
      script_->choose(layer, row, {ids, top_k_}, {weight, top_k_});
    }
    if (weights.expert_scale == nullptr || router.weights_scale_input) continue;
    for (std::size_t rank = 0; rank < top_k_; ++rank) {
      weight[rank] *= weights.expert_scale[ids[rank]];
    }
  }
  if (observer != nullptr) {
    observer->routed({.layer = layer,
                      .rows = rows,
                      .top_k = top_k_,
                      .experts = router.experts,
                      .ids = scratch_.expert_ids,
                      .weights = scratch_.expert_weights,
                      .scores = script_ == nullptr ? scratch_.scores : nullptr,
                      .input = scratch_.read_by_router(model_).values});
  }
  if (relaxation_ != nullptr) relax(layer, weights, rows);
}

void MoeLayer::relax(std::uint32_t layer, const RouterWeights& weights, std::size_t rows) {
  resident_.clear();
  for (std::uint32_t expert = 0; relaxation_->looks_at_memory() && expert < model_.router.experts;
       ++expert) {
    const ExpertId id{layer, expert};
    resident_.push_back(devices_.has(id) || store_.resident(id));
  }
  relaxation_->relax(
      {.layer = layer,
       .rows = rows,
       .scores = scratch_.scores,
       .selection_bias = weights.selection_bias,
       .expert_scale = model_.router.weights_scale_input ? nullptr : weights.expert_scale,
       .resident = resident_,
       .ids = scratch_.expert_ids,
       .weights = scratch_.expert_weights});
}

/// (row, rank) as an index, of all experts that rows take.
template <typename Visit>
void MoeLayer::for_each_pair(std::size_t rows, Visit visit) const {
  for (std::size_t row = 0; row < rows; ++row) {
    for (std::size_t rank = 0; rank < taken(row); ++rank) visit(row * top_k_ + rank);
  }
}

void MoeLayer::choose_levels(std::uint32_t layer, std::size_t rows) {
  if (widths_ == nullptr) return;
  for (std::size_t row = 0; row < rows; ++row) {
    for (std::size_t rank = 0; rank < taken(row); ++rank) {
      const std::size_t pair = row * top_k_ + rank;
      levels_[pair] = static_cast<std::uint8_t>(
          widths_->level(layer, scratch_.expert_ids[pair], row, rank, share(row, rank)));
    }
  }
}

void MoeLayer::show_widths(std::uint32_t layer, std::size_t rows, RoutingObserver& observer) {
  taken_bits_.assign(rows * top_k_, TakenWidths::kNone);
  for_each_pair(rows, [&](std::size_t pair) {
    taken_bits_[pair] = widths_ == nullptr ? static_cast<std::uint8_t>(kExactWidth)
                                           : widths_->bits(layer, levels_[pair]);
  });
  observer.narrowed({.layer = layer, .rows = rows, .top_k = top_k_, .bits = taken_bits_.data()});
}

/// How much of a row an expert makes, whatever the scale of the model's weights: what recorded
/// routings hold, so that a replay decides likewise.
float MoeLayer::share(std::size_t row, std::size_t rank) const {
  const float* const weights = scratch_.expert_weights + row * top_k_;
  return share_of(share_code(std::fabs(weights[rank]) / weight_sum({weights, taken(row)})));
}

/// Its index in wanted_.
std::uint32_t MoeLayer::want(std::uint32_t expert) {
  std::uint32_t& slot = slot_of_[expert];
  if (slot == kNone) {
    slot = static_cast<std::uint32_t>(wanted_.size());
    wanted_.push_back(expert);
    first_group_.push_back(kNone);
    if (widths_ != nullptr) wanted_bits_.push_back(0);
  }
  return slot;
}

/// A counting sort of (row, rank) by expert and level: each group's rows lie together, and each
/// pair knows where its output will be.
void MoeLayer::group_by_expert(std::uint32_t layer, std::size_t rows) {
  wanted_.clear();
  wanted_bits_.clear();
  first_group_.clear();
  groups_.clear();
  first_place_.assign(1, 0);
  for_each_pair(rows, [&](std::size_t pair) {
    const std::uint32_t wanted = want(scratch_.expert_ids[pair]);
    const std::uint8_t level = widths_ == nullptr ? std::uint8_t{0} : levels_[pair];
    std::uint32_t group = first_group_[wanted];
    while (group != kNone && groups_[group].level != level) group = groups_[group].next;
    if (group == kNone) {
      group = static_cast<std::uint32_t>(groups_.size());
      groups_.push_back({wanted, level, first_group_[wanted]});
      first_group_[wanted] = group;
      first_place_.push_back(0);
    }
    group_of_[pair] = group;
    ++first_place_[group + 1];
  });
  for (std::size_t group = 0; group < groups_.size(); ++group) {
    first_place_[group + 1] += first_place_[group];
    if (widths_ == nullptr) continue;
    std::uint8_t& bits = wanted_bits_[groups_[group].wanted];
    bits = std::max(bits, widths_->bits(layer, groups_[group].level));
  }
  std::fill_n(scratch_.output_place, rows * top_k_, CombineTask::kLeftOut);
  // Filling advances each start to the next group's; shifting back afterwards restores them.
  for_each_pair(rows, [&](std::size_t pair) {
    const std::uint32_t place = first_place_[group_of_[pair]]++;
    scratch_.grouped_rows[place] = static_cast<std::uint32_t>(pair / top_k_);
    scratch_.output_place[pair] = place;
  });
  for (std::size_t group = groups_.size(); group > 0; --group)
    first_place_[group] = first_place_[group - 1];
  first_place_[0] = 0;
  score_wanted(rows);
  for (const std::uint32_t expert : wanted_) slot_of_[expert] = kNone;
}

void MoeLayer::score_wanted(std::size_t rows) {
  wanted_scores_.assign(wanted_.size(), 0.0f);
  for_each_pair(rows, [&](std::size_t pair) {
    wanted_scores_[slot_of_[scratch_.expert_ids[pair]]] += share(pair / top_k_, pair % top_k_);
  });
}

/// Who computes which rows, and which experts the store is asked for: not those that only the
/// device has to do with, and has.
void MoeLayer::share_out(std::uint32_t layer, std::size_t rows, RoutingObserver* observer) {
  asked_.clear();
  hybrid_ = devices_.hybrid(layer);
  shared_out_ =
      hybrid_ != nullptr && hybrid_->open() && (observer == nullptr || !observer->needs_products());
  if (!shared_out_) {
    asked_.resize(wanted_.size());
    std::iota(asked_.begin(), asked_.end(), 0u);
    return;
  }
  wanted_rows_.assign(wanted_.size(), 0);
  for (std::uint32_t group = 0; group < groups_.size(); ++group) {
    wanted_rows_[groups_[group].wanted] += first_place_[group + 1] - first_place_[group];
  }
  hybrid_->plan(layer, wanted_, wanted_rows_, wanted_scores_, wanted_bits_, rows, store_);
  const auto uploads = hybrid_->uploads();
  asked_.assign(uploads.begin(), uploads.end());
  for (std::uint32_t wanted = 0; wanted < wanted_.size(); ++wanted) {
    const std::uint32_t on_device = hybrid_->device_rows(wanted);
    set_device_rows(wanted, on_device);
    if (on_device < wanted_rows_[wanted] && !hybrid_->to_upload(wanted)) asked_.push_back(wanted);
  }
}

void MoeLayer::set_device_rows(std::uint32_t wanted, std::uint32_t rows) {
  for (std::uint32_t group = first_group_[wanted]; group != kNone; group = groups_[group].next) {
    groups_[group].on_device = std::min(rows, first_place_[group + 1] - first_place_[group]);
    rows -= groups_[group].on_device;
  }
}

Status MoeLayer::begin_visit(std::uint32_t layer) {
  asked_experts_.clear();
  asked_scores_.clear();
  asked_bits_.clear();
  for (const std::uint32_t wanted : asked_) {
    asked_experts_.push_back(wanted_[wanted]);
    asked_scores_.push_back(wanted_scores_[wanted]);
    if (!wanted_bits_.empty()) asked_bits_.push_back(wanted_bits_[wanted]);
  }
  return store_.begin(layer, asked_experts_, asked_scores_, asked_bits_);
}

Status MoeLayer::visit_experts(std::uint32_t layer, const LayerWeights& weights, std::size_t rows,
                               RoutingObserver* observer, DensePart& part, DenseDevice* place) {
  share_out(layer, rows, observer);
  Status status = begin_visit(layer);
  if (status.ok()) {
    if (shared_out_) give_residents(layer, weights.expert_biases, rows, place);
    forecast_.routed(layer, rows, scratch_.read_by_router(model_).values);
    // The shared expert is always in memory: computed while the misses are on their way.
    if (place == nullptr) part.share(layer, rows);
    status = compute_arrivals(layer, weights.expert_biases, observer);
    store_.end();
  }
  summed_there_ = shared_out_ && place != nullptr && status.ok() && hybrid_->sum();
  if (!shared_out_ || summed_there_ || hybrid_->finish() || !status.ok()) return status;
  return compute_what_is_left(layer, weights.expert_biases);
}

/// What the device has keeps it busy from the beginning on.
void MoeLayer::give_residents(std::uint32_t layer, const ExpertBiases& biases, std::size_t rows,
                              DenseDevice* place) {
  if (!hybrid_->has_work()) return;
  const bool scaled = model_.router.weights_scale_input;
  const std::size_t places = first_place_.back();
  ExpertRows given{.scratch = &scratch_,
                   .input = scaled ? slice_rows(scratch_.expert_input, 0, places)
                                   : slice_rows(scratch_.normed, 0, rows),
                   .rows = rows,
                   .ranks = top_k_,
                   .places = places};
  if (place != nullptr) {
    given.neighbour = place->neighbour();
    if (scaled) given.neighbour->input = {};
  }
  hybrid_->begin(given);
  for (std::uint32_t wanted = 0; wanted < wanted_.size(); ++wanted) {
    if (!hybrid_->to_upload(wanted)) give(layer, wanted, biases);
  }
  hybrid_->launch();
  hybrid_->fetch();
}

void MoeLayer::give(std::uint32_t layer, std::uint32_t wanted, const ExpertBiases& biases) {
  for (std::uint32_t group = first_group_[wanted]; group != kNone; group = groups_[group].next) {
    if (groups_[group].on_device == 0) continue;
    const std::uint8_t level = groups_[group].level;
    const unsigned bits = widths_ == nullptr ? kExactWidth : widths_->bits(layer, level);
    const FfnTask task =
        expert_task(group, hybrid_->weights(wanted, bits), biases, /*on_device=*/true);
    hybrid_->add(wanted, task);
    if (widths_ != nullptr) widths_->count(layer, level, task.n_rows);
  }
}

Status MoeLayer::compute_arrivals(std::uint32_t layer, const ExpertBiases& biases,
                                  RoutingObserver* observer) {
  for (;;) {
    SLUICE_ASSIGN(const std::span<const std::uint32_t> ready, store_.ready());
    if (ready.empty()) return {};
    SLUICE_TRY(store_.prepare(ready, compute_));
    compute_ready(layer, ready, biases);
    for (std::size_t i = 0; observer != nullptr && i < tasks_.size(); ++i) {
      observer->computed(layer, wanted_[groups_[task_groups_[i]].wanted], tasks_[i]);
    }
    SLUICE_TRY(store_.release(ready));
  }
}

/// Uploads come first, for the CPU has something to do meanwhile; where one would have to wait for
/// another, the CPU takes an expert of its own first.
void MoeLayer::compute_ready(std::uint32_t layer, std::span<const std::uint32_t> ready,
                             const ExpertBiases& biases) {
  tasks_.clear();
  task_groups_.clear();
  for (const std::uint32_t index : ready) {
    if (!shared_out_ || !hybrid_->to_upload(asked_[index])) add_tasks(layer, index, biases);
  }
  if (!shared_out_) return compute_.ffn(tasks_);
  std::size_t computed = 0;
  for (const std::uint32_t index : ready) {
    const std::uint32_t wanted = asked_[index];
    hybrid_->arrived(wanted);
    if (!hybrid_->to_upload(wanted)) continue;
    while (computed < tasks_.size() && !hybrid_->can_upload()) compute_tasks(computed++, 1);
    if (hybrid_->upload(wanted, store_.weights(index))) {
      give(layer, wanted, biases);
      hybrid_->launch();
    } else {
      set_device_rows(wanted, 0);
    }
    add_tasks(layer, index, biases);  // what of it is the CPU's
  }
  compute_tasks(computed, tasks_.size() - computed);
  for (const std::uint32_t index : ready) {
    hybrid_->promote(asked_[index], store_.weights(index));
  }
}

void MoeLayer::compute_tasks(std::size_t first, std::size_t count) {
  if (count == 0) return;
  const auto tasks = std::span(tasks_).subspan(first, count);
  const double begun = hybrid_->clock()();
  compute_.ffn(tasks);
  hybrid_->computed(tasks, hybrid_->clock()() - begun);
}

/// The device has failed: what it was given is the CPU's.
Status MoeLayer::compute_what_is_left(std::uint32_t layer, const ExpertBiases& biases) {
  asked_.clear();
  for (std::uint32_t wanted = 0; wanted < wanted_.size(); ++wanted) {
    std::uint32_t given = 0;
    for (std::uint32_t group = first_group_[wanted]; group != kNone; group = groups_[group].next) {
      given += groups_[group].on_device;
      groups_[group].on_device = 0;
    }
    if (given > 0) asked_.push_back(wanted);
  }
  shared_out_ = false;
  hybrid_->redone(asked_.size());
  SLUICE_TRY(begin_visit(layer));
  const Status status = compute_arrivals(layer, biases, /*observer=*/nullptr);
  store_.end();
  return status;
}

/// Each pair's own input: the row times the expert's weight, in whose place the output then has the
/// expert's scale, if there is one.
void MoeLayer::scale_inputs(const RouterWeights& weights, std::size_t rows) {
  const std::size_t hidden = model_.hidden;
  for_each_pair(rows, [&](std::size_t pair) {
    const float* from = scratch_.normed.values + pair / top_k_ * hidden;
    float* const to = scratch_.expert_input.values + scratch_.output_place[pair] * hidden;
    float& weight = scratch_.expert_weights[pair];
    for (std::size_t i = 0; i < hidden; ++i) to[i] = from[i] * weight;
    weight =
        weights.expert_scale == nullptr ? 1.0f : weights.expert_scale[scratch_.expert_ids[pair]];
  });
  compute_.quantise(scratch_.expert_input, first_place_.back());
}

/// Rows of an expert that the store was asked for, without the device's.
void MoeLayer::add_tasks(std::uint32_t layer, std::uint32_t index, const ExpertBiases& biases) {
  const std::uint32_t wanted = asked_[index];
  for (std::uint32_t group = first_group_[wanted]; group != kNone; group = groups_[group].next) {
    if (groups_[group].on_device == first_place_[group + 1] - first_place_[group]) continue;
    const std::uint8_t level = groups_[group].level;
    const unsigned bits = widths_ == nullptr ? kExactWidth : widths_->bits(layer, level);
    tasks_.push_back(expert_task(group, store_.weights(index, bits), biases, /*on_device=*/false));
    task_groups_.push_back(group);
    if (widths_ != nullptr) widths_->count(layer, level, tasks_.back().n_rows);
  }
}

/// Of a group's rows, those that are the device's, or the others.
FfnTask MoeLayer::expert_task(std::uint32_t group, const ExpertWeights& expert,
                              const ExpertBiases& biases, bool on_device) const {
  const std::uint32_t wanted = groups_[group].wanted;
  const std::size_t middle = first_place_[group] + groups_[group].on_device;
  const std::size_t first = on_device ? first_place_[group] : middle;
  const std::size_t rows = (on_device ? middle : first_place_[group + 1]) - first;
  const bool scaled = model_.router.weights_scale_input;
  const auto bias_of = [&](const float* all, std::size_t width) {
    return all == nullptr ? nullptr : all + wanted_[wanted] * width;
  };
  FfnTask task = ffn_task(model_, expert.gate, expert.up, expert.down);
  task.gate_bias = bias_of(biases.gate, model_.expert_ffn);
  task.up_bias = bias_of(biases.up, model_.expert_ffn);
  task.down_bias = bias_of(biases.down, model_.hidden);
  task.input = scaled ? slice_rows(scratch_.expert_input, first, rows) : scratch_.normed;
  task.row_index = scaled ? nullptr : scratch_.grouped_rows + first;
  task.n_rows = rows;
  task.hidden = slice_rows(scratch_.expert_hidden, first, rows);
  task.output = scratch_.expert_outputs + first * model_.hidden;
  return task;
}

/// Of all experts, the host's and the device's.
void MoeLayer::combine(std::size_t rows) {
  compute_.combine({.outputs = scratch_.expert_outputs,
                    .places = scratch_.output_place,
                    .weights = scratch_.expert_weights,
                    .out = scratch_.block_output,
                    .rows = rows,
                    .ranks = top_k_,
                    .columns = model_.hidden});
}

}  // namespace sluice
