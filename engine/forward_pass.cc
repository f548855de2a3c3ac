#include "engine/forward_pass.h"

#include <fmt/format.h>

#include <algorithm>

#include "base/cancellation.h"
#include "base/canonical.h"
#include "base/strip_layout.h"

namespace sluice {

Result<std::unique_ptr<ForwardPass>> ForwardPass::create(
    const ModelDescription& model, const DenseWeights& weights, Compute& compute,
    ExpertStore& store, KvType kv_type, std::size_t context, const ScratchShape& shape,
    const ForecastOptions& forecast, const Devices& devices) {
  SLUICE_ASSIGN(Scratch scratch, Scratch::create(model, shape, devices.pinning()));
  return std::unique_ptr<ForwardPass>(new ForwardPass(
      model, weights, compute, store, kv_type, context, std::move(scratch), forecast, devices));
}

ForwardPass::ForwardPass(const ModelDescription& model, const DenseWeights& weights,
                         Compute& compute, ExpertStore& store, KvType kv_type, std::size_t context,
                         Scratch scratch, const ForecastOptions& forecast, const Devices& devices)
    : model_(model),
      weights_(weights),
      store_(store),
      scratch_(std::move(scratch)),
      part_(model, weights, compute, scratch_, kv_type),
      devices_(devices),
      forecast_(model, weights.layers(), compute, store, scratch_, forecast),
      moe_(model, compute, store, scratch_, forecast_, devices) {
  for (const RopeDescription& rope : model.ropes) ropes_.emplace_back(rope, context);
}

Status ForwardPass::run(std::span<const Row> rows, const PassOptions& options,
                        const LogitsSink& sink) {
  const bool with_devices = devices_.dense_open();
  for (const Row& row : rows) {
    if (!with_devices && row.sequence->has_twins()) {
      return Status(ErrorCode::kDeviceLost, devices_.dense_closed());
    }
  }
  place_ = nullptr;
  Status status = run_layers(rows, options);
  if (status.ok()) status = write_logits(rows, sink);
  // Nothing of the pass is under way any more when its scratch is the next one's.
  if (with_devices) {
    const Status ended = devices_.end();
    if (status.ok()) status = ended;
  }
  store_.settle();
  return status;
}

Status ForwardPass::run_layers(std::span<const Row> rows, const PassOptions& options) {
  moe_.follow(options.script);
  moe_.narrow(options.widths);
  moe_.relax(options.script == nullptr ? options.relaxation : nullptr);
  forecast_.follow(options.script);
  forecast_.enable(options.foretell);
  if (options.script != nullptr) options.script->begin(rows.size());
  if (options.widths != nullptr) SLUICE_TRY(options.widths->begin(rows));
  if (options.observer != nullptr) observers_.push_back(options.observer);
  RoutingObservers all(observers_);
  const Status status = run_layers(rows, observers_.empty() ? nullptr : &all, options.cancel);
  if (options.observer != nullptr) observers_.pop_back();
  return status;
}

Status ForwardPass::run_layers(std::span<const Row> rows, RoutingObserver* observer,
                               const std::atomic<bool>* cancel) {
  SLUICE_TRY(embed(rows));
  if (observer != nullptr) observer->begin(rows);
  for (std::uint32_t layer = 0; layer < model_.layers.size(); ++layer) {
    SLUICE_TRY(check_cancelled(cancel));
    SLUICE_TRY(move_to(devices_.dense_open() ? devices_.dense(layer) : nullptr, rows));
    SLUICE_TRY(place_ == nullptr ? run_layer(layer, rows, observer)
                                 : run_on_device(layer, rows.size(), observer));
  }
  return {};
}

Status ForwardPass::embed(std::span<const Row> rows) {
  const WeightMatrix& table = weights_.embedding();
  for (std::size_t row = 0; row < rows.size(); ++row) {
    if (rows[row].token < 0 || static_cast<std::size_t>(rows[row].token) >= table.rows) {
      return Status(
          ErrorCode::kInvalidArgument,
          fmt::format("token {} is outside the vocabulary of {}", rows[row].token, table.rows));
    }
    decode_row(table, static_cast<std::size_t>(rows[row].token),
               scratch_.residual + row * model_.hidden);
    scratch_.positions[row] = rows[row].position;
  }
  if (model_.embedding_scale != 1) {
    for (std::size_t i = 0; i < rows.size() * model_.hidden; ++i) {
      scratch_.residual[i] *= model_.embedding_scale;
    }
  }
  for (std::size_t rope = 0; rope < ropes_.size(); ++rope) {
    ropes_[rope].fill({scratch_.positions.data(), rows.size()}, scratch_.cosines[rope],
                      scratch_.sines[rope]);
  }
  return {};
}

Status ForwardPass::run_layer(std::uint32_t layer, std::span<const Row> rows,
                              RoutingObserver* observer) {
  const std::size_t n = rows.size();
  const bool sparse = model_.layers[layer].sparse;
  const bool routes_first = model_.router.input == RouterInput::kLayerInput;
  enter(layer, n, observer);
  if (sparse && routes_first) {
    part_.score(layer, n);
    route(layer, n, observer);
    moe_.read_ahead(layer);
  }
  part_.attend(layer, rows);
  part_.feed(layer, n);
  if (sparse) {
    if (!routes_first) {
      part_.score(layer, n);
      route(layer, n, observer);
    }
    SLUICE_TRY(moe_.run(layer, weights_.layers()[layer], n, observer, part_, /*place=*/nullptr));
  }
  part_.close(layer, n);
  return {};
}

/// The residual of the layers before comes along.
Status ForwardPass::move_to(DenseDevice* place, std::span<const Row> rows) {
  if (place == place_) return {};
  if (place_ != nullptr) {
    SLUICE_TRY(place_->show_residual());
    SLUICE_TRY(place_->shown());
  }
  place_ = place;
  return place == nullptr ? Status() : place->begin(scratch_, rows);
}

/// The same, while the host does what it can about the experts.
Status ForwardPass::run_on_device(std::uint32_t layer, std::size_t rows,
                                  RoutingObserver* observer) {
  const bool sparse = model_.layers[layer].sparse;
  const bool routes_first = model_.router.input == RouterInput::kLayerInput;
  // Else nobody looks at what the layer begins with, and the device goes on.
  const bool shows = observer != nullptr || forecast_.reads_residual(layer, rows);
  DensePart& part = place_->part();
  if (shows) SLUICE_TRY(place_->show_residual());
  if (sparse && routes_first) part.score(layer, rows);
  part.attend(layer, place_->rows());
  part.feed(layer, rows);
  if (sparse && !routes_first) part.score(layer, rows);
  if (shows) {
    SLUICE_TRY(place_->shown());
    enter(layer, rows, observer);
  }
  if (sparse) {
    SLUICE_TRY(place_->fetch(layer));
    route(layer, rows, observer);
    SLUICE_TRY(moe_.run(layer, weights_.layers()[layer], rows, observer, part, place_));
  }
  part.close(layer, rows);
  return {};
}

/// scratch.residual is what the layer begins with.
void ForwardPass::enter(std::uint32_t layer, std::size_t rows, RoutingObserver* observer) {
  if (observer != nullptr) observer->entering(layer, rows, scratch_.residual);
  forecast_.entering(layer, rows);
}

/// By scratch.scores.
void ForwardPass::route(std::uint32_t layer, std::size_t rows, RoutingObserver* observer) {
  moe_.route(layer, weights_.layers()[layer].router, rows, observer);
}

Status ForwardPass::write_logits(std::span<const Row> rows, const LogitsSink& sink) {
  (place_ == nullptr ? part_ : place_->part()).end(rows.size());
  std::uint32_t* const wanted = scratch_.logit_rows;
  std::size_t count = 0;
  for (std::size_t row = 0; row < rows.size(); ++row) {
    if (rows[row].wants_logits) wanted[count++] = static_cast<std::uint32_t>(row);
    if (count == 0 || (count < Scratch::kLogitRows && row + 1 < rows.size())) continue;
    if (place_ == nullptr) {
      part_.logits(count);
    } else {
      SLUICE_TRY(place_->fetch_logits(count));
    }
    finish_logits(count);
    for (std::size_t i = 0; i < count; ++i) {
      sink(wanted[i], {scratch_.logits + i * model_.vocabulary, model_.vocabulary});
    }
    count = 0;
  }
  return {};
}

void ForwardPass::finish_logits(std::size_t rows) {
  if (model_.logit_scale == 1 && !model_.logit_softcap) return;
  for (std::size_t i = 0; i < rows * model_.vocabulary; ++i) {
    float& logit = scratch_.logits[i];
    logit *= model_.logit_scale;
    // tanh, from an exponential that is the same everywhere.
    if (const auto cap = model_.logit_softcap) {
      logit = *cap * (1.0f - 2.0f / (1.0f + canonical_exp(2.0f * logit / *cap)));
    }
  }
}

}  // namespace sluice
