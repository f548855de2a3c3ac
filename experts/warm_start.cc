#include "experts/warm_start.h"

#include <algorithm>
#include <cmath>
#include <utility>

namespace sluice {
namespace {

/// As many as the policies' middle clocks remember.
constexpr std::uint32_t kRecalledVisits = 32;
/// Visits after which a disk that had no time for a single load is tried again.
constexpr std::uint32_t kLongestPause = 64;

}  // namespace

WarmStart::WarmStart(ExpertCache& cache, ExpertLoader& loader, std::byte* memory, std::size_t most,
                     std::span<ExpertStatistics> statistics,
                     std::function<bool(CacheKey)> elsewhere)
    : cache_(cache),
      loader_(loader),
      memory_(memory),
      most_(std::max<std::size_t>(1, most)),
      statistics_(statistics),
      elsewhere_(std::move(elsewhere)),
      visits_(cache.shape().layers()),
      uses_(cache.shape().size()) {
  loads_.reserve(most_);
}

void WarmStart::take_over(const HotSet& earlier) {
  const CacheShape& shape = cache_.shape();
  struct Place {
    std::size_t rank;  // in its layer
    CacheKey key;
  };
  std::vector<Place> places;
  std::vector<std::size_t> ranks(shape.layers());
  for (const HotSet::Expert& one : earlier.experts) {
    const CacheKey key{one.turn, one.expert, 0};
    places.push_back({ranks[one.turn]++, key});
    uses_[shape.index(key)] = one.uses / 2;
  }
  std::stable_sort(places.begin(), places.end(), [](const Place& a, const Place& b) {
    return a.rank != b.rank ? a.rank < b.rank : a.key.layer < b.key.layer;
  });
  for (const Place& place : places) keys_.push_back(place.key);
  for (std::uint32_t turn = 0; turn < shape.layers(); ++turn)
    visits_[turn] = earlier.visits[turn] / 2;
  recall(earlier);
}

/// Visits as they were on average: every expert in its share of them, not all in the same ones.
void WarmStart::recall(const HotSet& earlier) {
  constexpr double kGoldenRatio = 0.6180339887498949;
  std::vector<std::vector<HotSet::Expert>> layers(cache_.shape().layers());
  for (const HotSet::Expert& one : earlier.experts) layers[one.turn].push_back(one);
  std::vector<CacheKey> wanted;
  std::vector<float> scores;
  for (std::uint32_t visit = 0; visit < kRecalledVisits; ++visit) {
    for (std::uint32_t turn = 0; turn < layers.size(); ++turn) {
      const double visits = std::max(1u, earlier.visits[turn]);
      wanted.clear();
      for (const HotSet::Expert& one : layers[turn]) {
        const double share = std::min(1.0, one.uses / visits);
        const double at = visit * share + one.expert * kGoldenRatio;
        if (std::floor(at + share) > std::floor(at)) wanted.push_back({turn, one.expert, 0});
      }
      const std::size_t count = std::max<std::size_t>(1, wanted.size());
      scores.assign(wanted.size(), 1 / static_cast<float>(count));
      cache_.visit(turn, wanted, scores);
    }
  }
}

void WarmStart::count(std::uint32_t turn, std::span<const CacheKey> wanted) {
  visits_[turn] += 1;
  for (const CacheKey key : wanted) {
    if (key.plane_group == 0) uses_[cache_.shape().index(key)] += 1;
  }
}

HotSet WarmStart::hand_over(std::span<const CacheKey> residents) const {
  HotSet hot;
  hot.visits = visits_;
  const auto add = [&](CacheKey key) {
    hot.experts.push_back(
        {static_cast<std::uint16_t>(key.layer), key.expert, uses_[cache_.shape().index(key)]});
  };
  for (const CacheKey key : residents) {
    if (key.plane_group == 0) add(key);
  }
  for (std::size_t i = next_; i < keys_.size(); ++i) {
    // What was wanted meanwhile and given up again is not worth keeping; what nobody has wanted for
    // several runs is not, either.
    if (cache_.state(keys_[i]) == CopyState::kEmpty && uses_[cache_.shape().index(keys_[i])] > 0) {
      add(keys_[i]);
    }
  }
  return hot;
}

void WarmStart::start() {
  if (spare_ == 0) return;
  // All of it was there before anybody looked: the disk could have read more.
  if (loads_.empty() && given_ >= spare_) spare_ = std::min(2 * spare_, most_);
  load(spare_);
  given_ = loads_.size();
}

void WarmStart::yield() {
  if (spare_ == 0) {
    rest_ -= 1;
    if (rest_ == 0) spare_ = 1;
  } else if (!loads_.empty() && came_ == 0) {
    spare_ = 0;
    rest_ = pause_;
    pause_ = std::min(2 * pause_, kLongestPause);
    given_ = 0;
  } else if (!loads_.empty()) {
    spare_ = std::max<std::size_t>(1, given_ - std::min(given_, loads_.size()));
    pause_ = 1;
    given_ = 0;
  }
  came_ = 0;
}

void WarmStart::load(std::size_t most) {
  const std::size_t before = loads_.size();
  for (; loads_.size() < most && pending(); ++next_) {
    const CacheKey key = keys_[next_];
    if (cache_.state(key) != CopyState::kEmpty || elsewhere_(key)) continue;
    const auto copy = cache_.reserve_free(key, loader_.slot_bytes(key));
    full_ = !copy;
    if (full_) break;
    loader_.add(key, memory_ + copy->extent.offset);
    loads_.push_back(key);
  }
  if (loads_.size() == before) return;
  if (loader_.submit().ok()) {
    for (std::size_t i = before; i < loads_.size(); ++i) statistics_[loads_[i].layer].warmed += 1;
    return;
  }
  // Whoever really needs an expert will be told what is wrong with the reader.
  for (; loads_.size() > before; loads_.pop_back()) cache_.failed(loads_.back());
}

void WarmStart::claim(CacheKey key) { std::erase(loads_, key); }

bool WarmStart::finish(const FinishedLoad& load) {
  if (std::erase(loads_, load.key) == 0) return false;
  came_ += 1;
  if (load.status.ok()) {
    cache_.loaded(load.key);
    cache_.unpin(load.key);
  } else {
    cache_.failed(load.key);
  }
  return true;
}

}  // namespace sluice
