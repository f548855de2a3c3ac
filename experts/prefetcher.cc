#include "experts/prefetcher.h"

#include <algorithm>

namespace sluice {

std::vector<Prefetcher::Load>::iterator Prefetcher::find(CacheKey key) {
  return std::find_if(loads_.begin(), loads_.end(),
                      [key](const Load& load) { return load.key == key; });
}

/// Nobody wanted it.
void Prefetcher::drop(std::vector<Load>::iterator load) {
  statistics_[load->key.layer].wasted += 1;
  loads_.erase(load);
}

void Prefetcher::expect(std::uint32_t turn, std::span<const LikelyExpert> likely, float least) {
  likely_.clear();
  next_ = 0;
  const std::uint32_t experts = cache_.shape().first(turn + 1) - cache_.shape().first(turn);
  for (const auto& [expert, wanted] : likely) {
    if (expert >= experts) continue;
    const CacheKey key{turn, static_cast<std::uint16_t>(expert), 0};
    cache_.expect(key, std::min(wanted, 1.0f));
    if (wanted >= least) likely_.push_back(key);
  }
}

void Prefetcher::start(std::size_t most) {
  std::size_t count = 0;
  for (; count < most && expects(); ++next_) {
    const CacheKey key = likely_[next_];
    if (cache_.state(key) != CopyState::kEmpty) {
      const auto load = find(key);
      if (load != loads_.end()) load->wrong = false;  // not in time for the last turn
      continue;
    }
    const auto copy = cache_.reserve(key, loader_.slot_bytes(key));
    if (!copy) break;
    if (const auto load = find(key); load != loads_.end()) drop(load);  // came and went
    loader_.add(key, memory_ + copy->extent.offset);
    loads_.push_back({key});
    count += 1;
  }
  if (count == 0) return;
  if (loader_.submit().ok()) {
    under_way_ += count;
    for (auto load = loads_.end() - static_cast<std::ptrdiff_t>(count); load != loads_.end();
         ++load) {
      statistics_[load->key.layer].expected += 1;
    }
    return;
  }
  // Whoever really needs an expert will be told what is wrong with the reader.
  for (; count > 0; --count) {
    cache_.failed(loads_.back().key);
    loads_.pop_back();
  }
}

bool Prefetcher::claim(CacheKey key) {
  const auto load = find(key);
  if (load == loads_.end()) return false;
  ExpertStatistics& statistics = statistics_[key.layer];
  statistics.expected_rightly += 1;
  if (load->under_way) {
    statistics.late += 1;
    under_way_ -= 1;
  }
  loads_.erase(load);
  return true;
}

bool Prefetcher::finish(const FinishedLoad& finished) {
  const auto load = find(finished.key);
  if (load == loads_.end() || !load->under_way) return false;
  under_way_ -= 1;
  if (finished.status.ok()) {
    cache_.loaded(load->key);
    cache_.unpin(load->key);
    load->under_way = false;
  } else {
    cache_.failed(load->key);
    load->wrong = true;
  }
  if (load->wrong) drop(load);
  return true;
}

void Prefetcher::close(std::uint32_t layer) {
  expect_nothing();
  const auto in_vain = [layer](const Load& load) {
    return !load.under_way && load.key.layer == layer;
  };
  statistics_[layer].wasted += std::erase_if(loads_, in_vain);
  for (Load& load : loads_) load.wrong |= load.key.layer == layer;
}

}  // namespace sluice
