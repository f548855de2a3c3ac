#include "cache/virtual_time.h"

#include <algorithm>
#include <random>
#include <utility>
#include <vector>

#include "cache/guess_worth.h"
#include "cache/routing_paths.h"

namespace sluice {
namespace {

/// What the next layer may want, best first.
class Guesser {
 public:
  Guesser(const GuessModel& model, const RoutingTrace& trace, const CacheShape& shape)
      : model_(model), trace_(trace), shape_(shape), paths_(shape), uses_(shape.size()) {}

  void see(const RoutingEvent& event) {
    if (model_.kind == GuessModel::Kind::kPaths) paths_.visit(event.layer);
    for (const RoutedExpert& routed : trace_.wanted(event)) {
      const std::uint32_t index = shape_.index({event.layer, routed.expert, 0});
      uses_[index] += 1;
      if (model_.kind == GuessModel::Kind::kPaths) paths_.touch(event.layer, index);
    }
  }

  /// Numbers of keys. `next`: the event that will come, of which only kRecall knows more than the
  /// layer.
  const std::vector<std::uint32_t>& guess(const RoutingEvent& next) {
    guesses_.clear();
    const std::uint32_t first = shape_.first(next.layer), end = shape_.first(next.layer + 1);
    if (model_.kind == GuessModel::Kind::kRecall) {
      for (const RoutedExpert& routed : trace_.wanted(next)) {
        const bool right = static_cast<double>(random_() >> 8) / 16777216.0 < model_.recall;
        const std::uint32_t other = first + static_cast<std::uint32_t>(random_()) % (end - first);
        guesses_.push_back(right ? first + routed.expert : other);
      }
      return guesses_;
    }
    for (std::uint32_t i = first; i < end; ++i) guesses_.push_back(i);
    const auto weight = [&](std::uint32_t i) {
      return model_.kind == GuessModel::Kind::kPaths ? paths_.share(next.layer, i) : uses_[i];
    };
    const std::size_t count = std::min<std::size_t>(next.count, guesses_.size());
    std::partial_sort(guesses_.begin(), guesses_.begin() + static_cast<std::ptrdiff_t>(count),
                      guesses_.end(), [&](std::uint32_t a, std::uint32_t b) {
                        const float of_a = weight(a), of_b = weight(b);
                        return of_a != of_b ? of_a > of_b : a < b;
                      });
    guesses_.resize(count);
    if (model_.kind == GuessModel::Kind::kPaths) {
      std::erase_if(guesses_, [&](std::uint32_t i) { return weight(i) <= 0; });
    }
    return guesses_;
  }

 private:
  const GuessModel& model_;
  const RoutingTrace& trace_;
  const CacheShape& shape_;
  RoutingPaths paths_;
  std::vector<float> uses_;  // [keys]
  std::vector<std::uint32_t> guesses_;
  std::mt19937 random_{1};
};

class Machine {
 public:
  Machine(const RoutingTrace& trace, std::unique_ptr<CachePolicy> policy, const VirtualRun& run)
      : trace_(trace),
        run_(run),
        shape_(trace.experts),
        policy_(std::move(policy)),
        guesser_(run.guess, trace, shape_),
        free_(run.capacity),
        entries_(shape_.size()),
        evictable_([this](CacheKey key) {
          const Entry& entry = entries_[shape_.index(key)];
          return !entry.wanted && entry.arrival <= now_;
        }) {}

  VirtualTime go() {
    for (std::size_t at = 0; at < trace_.events.size(); ++at) {
      if (run_.cancelled != nullptr && run_.cancelled->load(std::memory_order_relaxed)) break;
      const RoutingEvent& event = trace_.events[at];
      const double began = now_, waited = waited_;
      const VirtualTime before = counts_;
      visit(event, at + 1 < trace_.events.size() ? &trace_.events[at + 1] : nullptr);
      if (!event.decode) {
        counts_ = before;
        continue;
      }
      counts_.tokens += event.layer == 0;
      counts_.seconds += now_ - began;
      counts_.waiting += waited_ - waited;
    }
    return counts_;
  }

 private:
  struct Entry {
    bool resident = false, wanted = false, guessed = false;
    double arrival = 0;
  };

  void visit(const RoutingEvent& event, const RoutingEvent* next) {
    now_ += run_.computer.layer;
    worth_.was_idle(now_ - demand_done_);
    policy_->visit(event.layer);
    wanted_.clear();
    for (const RoutedExpert& routed : trace_.wanted(event)) {
      const CacheKey key{event.layer, routed.expert, 0};
      policy_->touch(key, routed.score);
      wanted_.push_back(shape_.index(key));
      entries_[wanted_.back()].wanted = true;
    }
    judge_guesses();
    guesser_.see(event);
    bool missing = false;
    arrivals_.clear();
    demand_done_ = now_;
    for (const std::uint32_t index : wanted_) {
      Entry& entry = entries_[index];
      if (entry.guessed) counts_.right += 1;
      entry.guessed = false;
      if (!entry.resident) {
        missing = true;
        if (!load(index)) {  // the visit is wider than the cache: read and dropped
          arrivals_.push_back(read(trace_.expert_bytes[event.layer]));
          demand_done_ = std::max(demand_done_, arrivals_.back());
          continue;
        }
      }
      arrivals_.push_back(entry.arrival);
      demand_done_ = std::max(demand_done_, entry.arrival);
    }
    worth_.missed(missing);
    guesses_.clear();
    if (next != nullptr && event.decode && next->decode && next->layer == event.layer + 1) {
      read_ahead(*next);
    }
    std::sort(arrivals_.begin(), arrivals_.end());
    for (const double arrival : arrivals_) {
      waited_ += std::max(0.0, arrival - now_);
      now_ = std::max(now_, arrival) + run_.computer.expert;
    }
    for (const std::uint32_t index : wanted_) entries_[index].wanted = false;
  }

  void judge_guesses() {
    for (std::size_t place = 0; place < guesses_.size(); ++place) {
      worth_.came(place, entries_[guesses_[place]].wanted);
      if (!entries_[guesses_[place]].wanted) entries_[guesses_[place]].guessed = false;
    }
  }

  void read_ahead(const RoutingEvent& next) {
    if (run_.guess.kind == GuessModel::Kind::kOff) return;
    for (const std::uint32_t index : guesser_.guess(next)) {
      if (!entries_[index].resident && guesses_.size() < GuessWorth::kGrades) {
        guesses_.push_back(index);
      }
    }
    const std::size_t most = run_.guess.judged
                                 ? std::min<std::size_t>(run_.guess.most, worth_.count())
                                 : run_.guess.most;
    for (std::size_t place = 0; place < std::min(most, guesses_.size()); ++place) {
      if (entries_[guesses_[place]].resident || !load(guesses_[place])) continue;
      entries_[guesses_[place]].guessed = true;
      counts_.guesses += 1;
    }
  }

  bool load(std::uint32_t index) {
    const CacheKey key = shape_.key(index);
    const std::uint64_t bytes = trace_.expert_bytes[key.layer];
    while (free_ < bytes) {
      const auto victim = policy_->victim(evictable_);
      if (!victim) return false;
      policy_->forget(*victim);
      Entry& gone = entries_[shape_.index(*victim)];
      gone.resident = gone.guessed = false;
      free_ += trace_.expert_bytes[victim->layer];
    }
    free_ -= bytes;
    policy_->admit(key, bytes);
    entries_[index].resident = true;
    entries_[index].arrival = read(bytes);
    return true;
  }

  /// When the bytes will be there.
  double read(std::uint64_t bytes) {
    double took = static_cast<double>(bytes) / run_.disk.bytes_per_second;
    reads_ += 1;
    if (run_.disk.spike_every != 0 && reads_ % run_.disk.spike_every == 0) took += run_.disk.spike;
    counts_.bytes_read += bytes;
    disk_free_ = std::max(disk_free_, now_) + took;
    worth_.read_took(took);
    return disk_free_ + run_.disk.latency;
  }

  const RoutingTrace& trace_;
  const VirtualRun& run_;
  const CacheShape shape_;
  std::unique_ptr<CachePolicy> policy_;
  Guesser guesser_;
  GuessWorth worth_;
  std::uint64_t free_;
  std::vector<Entry> entries_;  // [keys]
  CachePolicy::Evictable evictable_;
  double now_ = 0, waited_ = 0;
  double disk_free_ = 0;    // when it has read what it was told
  double demand_done_ = 0;  // when the last visit's misses were in
  std::uint64_t reads_ = 0;
  VirtualTime counts_;
  std::vector<std::uint32_t> wanted_, guesses_;
  std::vector<double> arrivals_;
};

}  // namespace

VirtualTime run_virtually(const RoutingTrace& trace, std::unique_ptr<CachePolicy> policy,
                          const VirtualRun& run) {
  return Machine(trace, std::move(policy), run).go();
}

}  // namespace sluice
