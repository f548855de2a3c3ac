#include "apps/trace_script.h"

#include <fmt/format.h>

#include <algorithm>
#include <utility>

#include "apps/drawn.h"
#include "apps/routing_trace_file.h"

namespace sluice::apps {
namespace {

bool takes(std::span<const RoutedExpert> row, std::uint32_t expert) {
  return std::ranges::find(row, expert, &RoutedExpert::expert) != row.end();
}

Status misfit(const std::string& what) { return {ErrorCode::kInvalidArgument, what}; }

}  // namespace

/// Puts the visits of a pass together until every layer of the model has had its turn.
class TraceScript::Builder final : public TraceSink {
 public:
  Builder(const ExpertCatalogue& model, std::uint32_t top_k, const Options& options)
      : model_(model), most_top_k_(top_k), most_rows_(options.most_rows) {}

  Status begin(TraceShape shape) override {
    const std::size_t layers = model_.layers().size(), recorded = shape.experts.size();
    if (layers == 0) return misfit("the model has no experts that could follow it");
    if (layers > recorded) {
      return misfit(
          fmt::format("it has {} layers of experts and the model {}: take a model of at most {} "
                      "(make_bench_model --layers {})",
                      recorded, layers, recorded, recorded));
    }
    for (std::size_t layer = 0; layer < layers; ++layer) {
      const std::uint32_t experts = model_.layers()[layer].experts;
      if (shape.experts[layer] <= experts) continue;
      return misfit(
          fmt::format("it has {} experts in a layer where the model has {}: take a model "
                      "of the shape that it was recorded from",
                      shape.experts[layer], experts));
    }
    recorded_layers_ = static_cast<std::uint32_t>(recorded);
    recorded_experts_ = *std::ranges::max_element(shape.experts);
    return {};
  }

  Status visit(const RecordedVisit& visit) override {
    if (visit.layer == 0) begin_pass(visit);
    if (visit.layer != next_layer_ || visit.layer >= model_.layers().size()) return {};
    if (visit.row_ends.size() != rows_) return misfit("layers of one pass have other rows");
    next_layer_ += 1;
    for (std::size_t row = 0; row < kept_; ++row) {
      const std::size_t first = row == 0 ? 0 : visit.row_ends[row - 1];
      SLUICE_TRY(take(visit, row, visit.chosen.subspan(first, visit.row_ends[row] - first)));
    }
    if (next_layer_ < model_.layers().size()) return {};
    std::vector<RoutedExpert>& all = visit.decode ? answers_ : prompts_;
    all.insert(all.end(), pass_.begin(), pass_.end());
    next_layer_ = kNoLayer;
    return {};
  }

  Result<std::unique_ptr<TraceScript>> finish(const Options& options) {
    std::unique_ptr<TraceScript> script(new TraceScript);
    const std::size_t row = top_k_ * model_.layers().size();
    if (prompts_.empty() && answers_.empty()) return misfit("it has no pass through all layers");
    script->options_ = options;
    script->top_k_ = top_k_;
    script->layers_ = static_cast<std::uint32_t>(model_.layers().size());
    script->recorded_layers_ = recorded_layers_;
    script->recorded_experts_ = recorded_experts_;
    script->turns_.assign(model_.layers().back().layer + std::size_t{1}, 0);
    for (std::size_t turn = 0; turn < model_.layers().size(); ++turn) {
      script->turns_[model_.layers()[turn].layer] = static_cast<std::uint32_t>(turn);
      script->experts_.push_back(model_.layers()[turn].experts);
    }
    script->prompt_rows_ = prompts_.size() / row;
    script->rows_ = script->prompt_rows_ + answers_.size() / row;
    script->chosen_ = std::exchange(prompts_, {});
    script->chosen_.insert(script->chosen_.end(), answers_.begin(), answers_.end());
    script->chosen_.shrink_to_fit();
    script->prefill_.count = script->rows_;
    script->decode_.count = script->rows_;
    if (!answers_.empty()) {
      script->decode_.first = script->prompt_rows_;
      script->decode_.count = script->answer_rows();
    }
    return script;
  }

 private:
  static constexpr std::uint32_t kNoLayer = ~std::uint32_t{0};

  void begin_pass(const RecordedVisit& visit) {
    const std::vector<RoutedExpert>& all = visit.decode ? answers_ : prompts_;
    const std::size_t row = std::max<std::size_t>(1, top_k_ * model_.layers().size());
    rows_ = visit.row_ends.size();
    kept_ = std::min(rows_, most_rows_ - std::min(most_rows_, all.size() / row));
    next_layer_ = kept_ == 0 ? kNoLayer : 0;
    pass_.clear();
  }

  /// Of one row.
  Status take(const RecordedVisit& visit, std::size_t row, std::span<const RoutedExpert> chosen) {
    if (top_k_ == 0) {
      top_k_ = static_cast<std::uint32_t>(chosen.size());
      if (top_k_ > most_top_k_) {
        return misfit(
            fmt::format("its tokens take {} experts in a layer and the model's {}: take a "
                        "model of the shape that it was recorded from",
                        top_k_, most_top_k_));
      }
    }
    if (chosen.size() != top_k_) {
      return misfit(
          fmt::format("a token takes {} experts where others take {}", chosen.size(), top_k_));
    }
    pass_.resize(kept_ * model_.layers().size() * top_k_);
    RoutedExpert* const place =
        pass_.data() + (row * model_.layers().size() + visit.layer) * top_k_;
    float sum = 0;
    for (std::size_t rank = 0; rank < top_k_; ++rank) {
      if (takes(chosen.first(rank), chosen[rank].expert)) {
        return misfit(fmt::format("a token takes expert {} twice", chosen[rank].expert));
      }
      sum += std::max(chosen[rank].score, 0.0f);
    }
    for (std::size_t rank = 0; rank < top_k_; ++rank) {
      const float even = 1.0f / static_cast<float>(top_k_);
      place[rank] = {chosen[rank].expert,
                     sum > 0 ? std::max(chosen[rank].score, 0.0f) / sum : even};
    }
    return {};
  }

  const ExpertCatalogue& model_;
  const std::uint32_t most_top_k_;
  const std::size_t most_rows_;
  std::uint32_t recorded_layers_ = 0, recorded_experts_ = 0;
  std::uint32_t top_k_ = 0;                      // 0 before the first row
  std::vector<RoutedExpert> prompts_, answers_;  // [rows, layers, top_k]
  std::vector<RoutedExpert> pass_;               // [kept, layers, top_k]
  std::size_t rows_ = 0, kept_ = 0;              // of the pass
  std::uint32_t next_layer_ = kNoLayer;
};

Result<std::unique_ptr<TraceScript>> TraceScript::read(const std::string& path,
                                                       const ModelOutline& model,
                                                       const Options& options) {
  Builder builder(model.catalogue, model.description.router.top_k, options);
  SLUICE_TRY(read_routing(path, builder));
  auto script = builder.finish(options);
  return script.ok() ? std::move(script) : script.status().with_context(path);
}

double TraceScript::repeats(std::uint64_t prefill, std::uint64_t decode) const {
  return std::max(static_cast<double>(prefill) / static_cast<double>(prefill_.count),
                  static_cast<double>(decode) / static_cast<double>(decode_.count));
}

void TraceScript::begin(std::size_t rows) {
  phase_->pass = phase_->next;
  phase_->next += rows;
}

std::span<const RoutedExpert> TraceScript::at(std::uint32_t layer, std::size_t row) const {
  const std::size_t place = phase_->first + (phase_->pass + row) % phase_->count;
  return {chosen_.data() + (place * layers_ + turns_[layer]) * top_k_, top_k_};
}

void TraceScript::choose(std::uint32_t layer, std::size_t row, std::span<std::uint32_t> ids,
                         std::span<float> weights) {
  const std::span<const RoutedExpert> chosen = at(layer, row);
  std::ranges::transform(chosen, ids.begin(), &RoutedExpert::expert);
  std::ranges::transform(chosen, weights.begin(), &RoutedExpert::score);
}

void TraceScript::guess(std::uint32_t layer, std::size_t row, std::span<std::uint32_t> ids) {
  const std::span<const RoutedExpert> chosen = at(layer, row);
  const std::uint32_t experts = experts_[turns_[layer]];
  const std::uint64_t drawn =
      mixed(mixed(options_.seed ^ (static_cast<std::uint64_t>(layer) << 40)) + phase_->pass + row);
  for (std::size_t rank = 0; rank < ids.size(); ++rank) {
    ids[rank] = chosen[rank].expert;
    const std::uint64_t draw = mixed(drawn + rank);
    if (unit(draw) < options_.guess_recall) continue;
    // Another that is neither chosen nor guessed; where there is none, the guess is right after
    // all.
    const auto start = static_cast<std::uint32_t>(mixed(draw) % experts);
    for (std::uint32_t i = 0; i < experts; ++i) {
      const std::uint32_t other = (start + i) % experts;
      const auto guessed = ids.first(rank);
      if (takes(chosen, other) || std::ranges::find(guessed, other) != guessed.end()) continue;
      ids[rank] = other;
      break;
    }
  }
}

}  // namespace sluice::apps
