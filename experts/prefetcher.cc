#include "experts/prefetcher.h"

#include <algorithm>
#include <utility>

namespace sluice {
namespace {

/// What is less probable than this grade's is not read unjudged.
const std::size_t kVeryLikely = GuessWorth::grade(0.7f);

}  // namespace

Prefetcher::Prefetcher(ExpertCache& cache, ExpertLoader& loader, std::byte* memory,
                       std::size_t most, std::span<ExpertStatistics> statistics,
                       std::size_t at_a_time, std::function<bool(CacheKey)> elsewhere)
    : cache_(cache),
      loader_(loader),
      memory_(memory),
      statistics_(statistics),
      at_a_time_(at_a_time),
      elsewhere_(std::move(elsewhere)) {
  guesses_.reserve(3 * most);
  loads_.reserve(3 * most);
}

std::vector<Prefetcher::Load>::iterator Prefetcher::find(CacheKey key) {
  return std::find_if(loads_.begin(), loads_.end(),
                      [key](const Load& load) { return load.key == key; });
}

/// Nobody wanted it.
void Prefetcher::drop(std::vector<Load>::iterator load) {
  statistics_[load->key.layer].wasted += 1;
  loads_.erase(load);
}

void Prefetcher::expect(std::uint32_t turn, std::span<const LikelyExpert> likely, Reach reach) {
  std::erase_if(guesses_, [turn](const Guess& guess) { return guess.key.layer == turn; });
  const CacheShape& shape = cache_.shape();
  for (const auto& [expert, wanted] : likely) {
    if (expert >= shape.experts(turn)) continue;
    // Of experts in parts the first is read ahead.
    const CacheKey key{turn, static_cast<std::uint16_t>(expert), 0};
    cache_.expect(key, std::min(wanted, 1.0f));
    if (cache_.state(key) == CopyState::kEmpty) {
      guesses_.push_back({key, reach == Reach::kAll ? kNoGrade : GuessWorth::grade(wanted)});
    } else if (const auto load = find(key); load != loads_.end()) {
      load->wrong = false;  // not in time for the last turn
    }
  }
}

bool Prefetcher::streams() const {
  return std::ranges::any_of(guesses_, [](const Guess& guess) { return guess.grade == kNoGrade; });
}

/// What of that time those before it leave.
double Prefetcher::rest(double idle) const {
  return idle - static_cast<double>(under_way_) * worth_.read();
}

bool Prefetcher::pays(const Guess& guess, double idle) const {
  if (at_a_time_ > 0) return guess.grade <= kVeryLikely && under_way_ < at_a_time_;
  return worth_.pays(guess.grade, rest(idle));
}

void Prefetcher::start(std::size_t most, std::uint32_t next_turn, double idle) {
  std::size_t count = 0;
  bool room = true;
  for (std::uint32_t ahead = 0; ahead < 2 && room; ++ahead) {
    const std::uint32_t turn = (next_turn + ahead) % cache_.shape().layers();
    const double left = idle + ahead * worth_.idle();
    for (Guess& guess : guesses_) {
      if (guess.key.layer != turn) continue;
      if (guess.grade == kNoGrade ? count == most : !pays(guess, left)) break;
      if (cache_.state(guess.key) == CopyState::kEmpty && !elsewhere_(guess.key)) {
        const double gain = guess.grade == kNoGrade ? 0 : worth_.gain(guess.grade, rest(left));
        room = add(guess);
        if (!room) break;
        questions_.gains(gain);
        count += 1;
      }
      guess.key.layer = kBegun;
    }
  }
  std::erase_if(guesses_, [](const Guess& guess) { return guess.key.layer == kBegun; });
  if (count > 0) submit(count);
}

bool Prefetcher::add(const Guess& guess) {
  const auto copy = cache_.reserve(guess.key, loader_.slot_bytes(guess.key));
  if (!copy) return false;
  if (const auto load = find(guess.key); load != loads_.end()) drop(load);  // came and went
  loader_.add(guess.key, memory_ + copy->extent.offset);
  loads_.push_back({guess.key, guess.grade});
  under_way_ += 1;
  return true;
}

/// The last `count` loads.
void Prefetcher::submit(std::size_t count) {
  if (loader_.submit().ok()) {
    for (auto load = loads_.end() - static_cast<std::ptrdiff_t>(count); load != loads_.end();
         ++load) {
      statistics_[load->key.layer].expected += 1;
    }
    return;
  }
  // Whoever really needs an expert will be told what is wrong with the reader.
  under_way_ -= count;
  for (; count > 0; --count) {
    cache_.failed(loads_.back().key);
    loads_.pop_back();
  }
}

bool Prefetcher::claim(CacheKey key) {
  const auto load = find(key);
  if (load == loads_.end()) return false;
  worth_.came(load->grade, true);
  ExpertStatistics& statistics = statistics_[key.layer];
  statistics.expected_rightly += 1;
  if (load->under_way) {
    statistics.late += 1;
    under_way_ -= 1;
  }
  loads_.erase(load);
  return true;
}

void Prefetcher::miss(CacheKey key) {
  const auto guess = std::ranges::find(guesses_, key, &Guess::key);
  if (guess != guesses_.end()) {
    worth_.came(guess->grade, true);
    guesses_.erase(guess);
  } else if (const auto load = find(key); load != loads_.end()) {  // given up before its turn
    worth_.came(load->grade, true);
    drop(load);
  }
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

void Prefetcher::close(std::uint32_t turn) {
  questions_.next_visit();
  std::erase_if(guesses_, [&](const Guess& guess) {
    if (guess.key.layer == turn) worth_.came(guess.grade, false);
    return guess.key.layer == turn;
  });
  for (Load& load : loads_) {
    if (load.key.layer != turn) continue;
    if (!load.wrong) worth_.came(load.grade, false);
    load.wrong = true;
  }
  statistics_[turn].wasted +=
      std::erase_if(loads_, [](const Load& load) { return load.wrong && !load.under_way; });
}

}  // namespace sluice
