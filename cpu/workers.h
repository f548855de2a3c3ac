#pragma once
// The threads of one CpuCompute: a TBB arena in which a loop's items are handed out one at a time.

#include <oneapi/tbb/global_control.h>
#include <oneapi/tbb/info.h>
#include <oneapi/tbb/parallel_for.h>
#include <oneapi/tbb/partitioner.h>
#include <oneapi/tbb/task_arena.h>
#include <algorithm>
#include <atomic>
#include <cstddef>
#include <new>
#include <optional>
#include <system_error>
#include <thread>
#include <vector>

namespace sluice {

/// Not thread-safe: one loop at a time, and a body must not start another.
class Workers {
 public:
  /// `threads` counts the caller of for_each; 0 is taken as 1.
  explicit Workers(unsigned threads)
      : count_(startable(std::max(threads, 1u))),
        arena_(static_cast<int>(count_), /*reserved_for_masters=*/1) {
    allow();
  }

  unsigned count() const { return count_; }
  /// Of count(), those that loops use.
  unsigned active() const { return active_; }
  /// Threads beyond it are not even made. REQUIRES: no loop is running.
  void limit(unsigned most) {
    active_ = std::clamp(most, 1u, count_);
    arena_.terminate();
    arena_.initialize(static_cast<int>(active_), /*reserved_for_masters=*/1);
    allow();
  }

  /// body(item, worker) for every item in [0, items), worker in [0, active()). Items are taken in
  /// order by whichever worker is free, so the caller lists long ones first; no two calls share a
  /// worker number at a time. A worker takes a run of neighbours while many are left: they read
  /// neighbouring memory, which a processor fetches ahead.
  template <typename Body>
  void for_each(std::size_t items, const Body& body) {
    const std::size_t shares = std::min<std::size_t>(items, active_);
    if (shares <= 1) {
      for (std::size_t item = 0; item < items; ++item) body(item, 0u);
      return;
    }
    // TBB orders all this by itself; but a thread sanitizer cannot look into its library, and sees
    // this.
    std::atomic<std::size_t> next{items}, done{0};
    next.store(0, std::memory_order_release);
    const auto share = [&](std::size_t worker) {
      for (std::size_t item = next.load(std::memory_order_acquire); item < items;) {
        const std::size_t run = std::clamp<std::size_t>((items - item) / (4 * shares), 1, kMostRun);
        if (!next.compare_exchange_weak(item, item + run, std::memory_order_acq_rel)) continue;
        for (std::size_t i = item; i < item + run; ++i) body(i, static_cast<unsigned>(worker));
        item = next.load(std::memory_order_acquire);
      }
      done.fetch_add(1, std::memory_order_release);
    };
    arena_.execute(
        [&] { tbb::parallel_for(std::size_t{0}, shares, share, tbb::static_partitioner()); });
    static_cast<void>(done.load(std::memory_order_acquire));
  }

 private:
  static constexpr std::size_t kMostRun = 16;

  /// As many of `wanted` threads as the system lets this process have at a time: TBB ends the
  /// process where it cannot make one.
  static unsigned startable(unsigned wanted) {
    std::vector<std::thread> others;
    std::atomic<bool> go{false};
    try {
      while (others.size() + 1 < wanted) others.emplace_back([&] { go.wait(false); });
    } catch (const std::system_error&) {  // a limit on processes, or on address space
    } catch (const std::bad_alloc&) {
    }
    go.store(true);
    go.notify_all();
    for (std::thread& other : others) other.join();
    return static_cast<unsigned>(others.size()) + 1;
  }
  /// TBB makes no more threads than processors, and says so on stderr, unless told that it may.
  void allow() {
    permission_.reset();
    if (static_cast<int>(active_) > tbb::info::default_concurrency()) {
      permission_.emplace(tbb::global_control::max_allowed_parallelism, active_);
    }
  }

  unsigned count_;
  unsigned active_ = count_;
  std::optional<tbb::global_control> permission_;
  tbb::task_arena arena_;
};

}  // namespace sluice
