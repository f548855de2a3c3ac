#include "cache/virtual_time.h"

#include <algorithm>
#include <array>
#include <random>
#include <utility>
#include <vector>

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

/// Reads that the engine gives the disk at a time: while there are as many, no guess is begun.
constexpr std::size_t kInFlight = 2;

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
          return !entry.wanted && !entry.guessed && entry.arrival <= clock_;
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
    begin_guesses();
    for (const std::uint32_t index : wanted_) entries_[index].wanted = false;
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
    read_missing(event.layer);
    if (next != nullptr && event.decode && next->decode && next->layer == event.layer + 1) {
      guess(*next);
    }
    std::sort(arrivals_.begin(), arrivals_.end());
    for (const double arrival : arrivals_) {
      waited_ += std::max(0.0, arrival - now_);
      now_ = std::max(now_, arrival) + run_.computer.expert;
    }
  }

  void read_missing(std::uint32_t layer) {
    bool missing = false;
    arrivals_.clear();
    demand_done_ = now_;
    for (const std::uint32_t index : wanted_) {
      Entry& entry = entries_[index];
      if (entry.guessed) counts_.right += 1;
      entry.guessed = false;
      double arrival = entry.arrival;
      if (!entry.resident) {
        missing = true;
        // A visit that is wider than the cache: read and dropped.
        arrival = load(index, now_) ? entry.arrival : read(trace_.expert_bytes[layer], now_);
      }
      arrivals_.push_back(arrival);
      demand_done_ = std::max(demand_done_, arrival);
    }
    worth_.missed(missing);
  }

  void judge_guesses() {
    for (std::size_t place = 0; place < guesses_.size(); ++place) {
      worth_.came(place, entries_[guesses_[place]].wanted);
      if (!entries_[guesses_[place]].wanted) entries_[guesses_[place]].guessed = false;
    }
    guesses_.clear();
  }

  void guess(const RoutingEvent& next) {
    if (run_.guess.kind == GuessModel::Kind::kOff) return;
    for (const std::uint32_t index : guesser_.guess(next)) {
      if (!entries_[index].resident && guesses_.size() < GuessWorth::kGrades) {
        guesses_.push_back(index);
      }
    }
    most_ = std::min<std::size_t>(guesses_.size(), run_.guess.most);
    guessed_at_ = now_;
  }

  /// Those of the last visit's that found the disk with less to do than it can be given, until now.
  void begin_guesses() {
    for (std::size_t place = 0; place < most_; ++place) {
      const std::uint32_t index = guesses_[place];
      const double when = std::max(guessed_at_, ends_[reads_ % ends_.size()]);
      if (when >= now_ || (run_.guess.judged && !worth_.pays(place, idle_left(when)))) break;
      if (entries_[index].resident || !load(index, when)) continue;
      entries_[index].guessed = true;
      counts_.guesses += 1;
    }
    most_ = 0;
  }

  /// Of the time that the disk has nothing to read for visits, usually, before the next one begins:
  /// what a guess has that the disk is told of then.
  double idle_left(double when) const {
    return worth_.idle() - (std::max(when, disk_free_) - demand_done_);
  }

  bool load(std::uint32_t index, double when) {
    const CacheKey key = shape_.key(index);
    const std::uint64_t bytes = trace_.expert_bytes[key.layer];
    clock_ = when;
    while (free_ < bytes) {
      const auto victim = policy_->victim(evictable_);
      if (!victim) return false;
      policy_->forget(*victim);
      entries_[shape_.index(*victim)].resident = false;
      free_ += trace_.expert_bytes[victim->layer];
    }
    free_ -= bytes;
    policy_->admit(key, bytes);
    entries_[index].resident = true;
    entries_[index].arrival = read(bytes, when);
    return true;
  }

  /// When the bytes will be there that the disk is told to read.
  double read(std::uint64_t bytes, double when) {
    double took = static_cast<double>(bytes) / run_.disk.bytes_per_second;
    double& end = ends_[reads_ % ends_.size()];
    reads_ += 1;
    if (run_.disk.spike_every != 0 && reads_ % run_.disk.spike_every == 0) took += run_.disk.spike;
    counts_.bytes_read += bytes;
    disk_free_ = std::max(disk_free_, when) + took;
    end = disk_free_;
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
  double clock_ = 0;      // of the load that makes room
  double disk_free_ = 0;  // when it has read what it was told
  // When the last reads were or will be over, a ring: the disk is given as many at a time.
  std::array<double, kInFlight> ends_{};
  double demand_done_ = 0;  // when the last visit's misses were in
  double guessed_at_ = 0;
  std::size_t most_ = 0;  // of guesses_: as many may be read
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
