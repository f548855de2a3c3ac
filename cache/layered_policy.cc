#include "cache/layered_policy.h"

#include <algorithm>
#include <utility>

namespace sluice {
namespace {

// However certain a forecast is, something is left to tell its experts apart.
constexpr float kCertain = 0.999f;

}  // namespace

LayeredPolicy::LayeredPolicy(const CacheShape& shape, std::shared_ptr<WorthModel> model, bool feeds)
    : shape_(shape),
      model_(std::move(model)),
      feeds_(feeds),
      layers_(shape.layers()),
      resident_(shape.size()),
      expected_(shape.size()),
      worths_(shape.size()) {}

void LayeredPolicy::visit(std::uint32_t layer) {
  current_ = layer;
  layers_[layer].known = false;
  if (layers_[layer].expected) {
    layers_[layer].expected = false;
    std::fill(expected_.begin() + shape_.first(layer), expected_.begin() + shape_.first(layer + 1),
              0.0f);
  }
  if (feeds_) model_->visit(layer);
}

void LayeredPolicy::expect(CacheKey key, float probability) {
  const std::uint32_t first = shape_.index({key.layer, key.expert, 0});
  for (std::uint32_t i = first; i < first + shape_.plane_groups(); ++i) {
    expected_[i] = probability * model_->share(key.layer, i);
  }
  layers_[key.layer].expected = true;
}

void LayeredPolicy::touch(CacheKey key, float score) {
  layers_[key.layer].known = false;
  if (feeds_) model_->touch(key.layer, shape_.index(key), score);
}

void LayeredPolicy::admit(CacheKey key, std::uint64_t) {
  resident_[shape_.index(key)] = 1;
  layers_[key.layer].known = false;
}

void LayeredPolicy::forget(CacheKey key) {
  resident_[shape_.index(key)] = 0;
  layers_[key.layer].known = false;
}

float LayeredPolicy::ahead(std::uint32_t layer) const {
  const std::uint32_t count = shape_.layers();
  // The layer being visited has had its turn: it is a whole cycle away.
  const std::uint32_t turns = layer > current_ ? layer - current_ : layer + count - current_;
  return static_cast<float>(turns) / static_cast<float>(count);
}

void LayeredPolicy::find_coldest(std::uint32_t layer, const Evictable& evictable) {
  Layer& state = layers_[layer];
  state.coldest = kNone;
  state.known = true;
  for (std::uint32_t i = shape_.first(layer); i < shape_.first(layer + 1); ++i) {
    if (resident_[i] == 0) continue;
    const float here = worths_[i] = model_->worth(layer, i);
    if (state.coldest != kNone && here >= state.worth) continue;
    if (evictable(shape_.key(i))) {
      state.coldest = i;
      state.worth = here;
    } else {
      // A minimum that leaves out an expert that must stay holds as long as that is pinned: not
      // remembered.
      state.known = false;
    }
  }
}

float LayeredPolicy::raised(std::uint32_t layer, std::uint32_t index, float worth) const {
  const float probability = std::max(expected_[index], model_->foreseen(layer, index));
  return worth / (1 - std::min(probability, kCertain));
}

/// The least worthy of the layer. Forecasts only raise, so it is the one without them unless there
/// is one for that.
LayeredPolicy::Candidate LayeredPolicy::find_candidate(std::uint32_t layer,
                                                       const Evictable& evictable) const {
  const Layer& state = layers_[layer];
  Candidate best{state.coldest, raised(layer, state.coldest, state.worth)};
  if (best.worth <= state.worth) return best;
  for (std::uint32_t i = shape_.first(layer); i < shape_.first(layer + 1); ++i) {
    if (resident_[i] == 0 || worths_[i] >= best.worth) continue;
    const float here = raised(layer, i, worths_[i]);
    if (here < best.worth && evictable(shape_.key(i))) best = {i, here};
  }
  return best;
}

std::optional<CacheKey> LayeredPolicy::victim(const Evictable& evictable) {
  std::uint32_t best = kNone;
  float farthest = -1;
  for (std::uint32_t layer = 0; layer < shape_.layers(); ++layer) {
    const Layer& state = layers_[layer];
    const bool holds =
        state.known && (state.coldest == kNone || evictable(shape_.key(state.coldest)));
    if (!holds) find_coldest(layer, evictable);
    if (state.coldest == kNone) continue;
    // Forecasts only raise worths, so nothing of the layer is farther away than that.
    const float until = ahead(layer);
    if (model_->distance_of(state.worth, until) <= farthest) continue;
    const Candidate candidate = find_candidate(layer, evictable);
    const float distance = model_->distance_of(candidate.worth, until);
    if (distance > farthest) {
      farthest = distance;
      best = candidate.index;
    }
  }
  if (best == kNone) return std::nullopt;
  return shape_.key(best);
}

double LayeredPolicy::distance(CacheKey key) const {
  const std::uint32_t index = shape_.index(key);
  return model_->distance_of(raised(key.layer, index, model_->worth(key.layer, index)),
                             ahead(key.layer));
}

}  // namespace sluice
