// Reading ahead what GuessWorth says is never slower than not reading ahead: on every recorded
// trace, with the default policy and every budget, disk, computer and guesser, without a tolerance.
// (With LRU it can be slower by some percent: a wrong guess takes the place of what was used least
// recently but would still have been wanted, which GuessWorth does not see.) By default on parts of
// the traces; SLUICE_WHOLE_GRID=1 takes more of them, all recalls, and a quarter of an hour.

#include <gtest/gtest.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <string>
#include <utility>
#include <vector>

#include "apps/routing_trace_file.h"
#include "cache/trace_replay.h"
#include "cache/virtual_time.h"
#include "tests/support/test_data.h"

namespace sluice {
namespace {

using Kind = GuessModel::Kind;

const bool kWhole = std::getenv("SLUICE_WHOLE_GRID") != nullptr;

struct NamedDisk {
  const char* name;
  DiskModel model;
};
constexpr NamedDisk kDisks[] = {
    {"100 MB/s with spikes",
     {.bytes_per_second = 100e6, .latency = 2e-3, .spike_every = 50, .spike = 30e-3}},
    {"500 MB/s", {.bytes_per_second = 500e6, .latency = 200e-6}},
    {"2.3 GB/s", {.bytes_per_second = 2.3e9, .latency = 100e-6}},
    {"7 GB/s", {.bytes_per_second = 7e9, .latency = 80e-6}},
    {"3 GB/s, memory", {.bytes_per_second = 3e9, .latency = 5e-6}},
};

struct NamedComputer {
  const char* name;
  ComputerModel model;
};
constexpr NamedComputer kComputers[] = {
    {"slow", {.layer = 3e-3, .expert = 0.6e-3}},
    {"middling", {.layer = 0.8e-3, .expert = 0.1e-3}},
    {"fast", {.layer = 0.2e-3, .expert = 0.03e-3}},
};

std::vector<GuessModel> guessers() {
  std::vector<GuessModel> all{{.kind = Kind::kPaths}};
  std::vector<double> recalls{0.5, 0.9, 0.95, 1};
  if (kWhole) {
    all.push_back({.kind = Kind::kPopularity});
    recalls = {0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 1};
  }
  for (const double recall : recalls) all.push_back({.kind = Kind::kRecall, .recall = recall});
  return all;
}

class Grid {
 public:
  explicit Grid(RoutingTrace trace) : trace_(std::move(trace)) {}

  void expect_never_slower() const {
    for (const NamedDisk& disk : kDisks) {
      for (const NamedComputer& computer : kComputers) {
        if (!kWhole && &computer == &kComputers[1]) continue;
        run(disk, computer);
      }
    }
  }

 private:
  VirtualTime go(const VirtualRun& run) const {
    const CacheShape shape(trace_.experts);
    return run_virtually(trace_, std::move(make_cache_policy("auto", shape)).value(), run);
  }

  void run(const NamedDisk& disk, const NamedComputer& computer) const {
    double least = 1e9, sum = 0;
    int count = 0;
    for (const unsigned percent : {10u, 20u, 30u, 40u, 50u, 70u}) {
      VirtualRun run{.capacity = full_capacity(trace_, ReplayRoom::kBytes) * percent / 100,
                     .disk = disk.model,
                     .computer = computer.model,
                     .guess = {}};
      const double off = go(run).tokens_per_second();
      for (const GuessModel& guess : guessers()) {
        run.guess = guess;
        const VirtualTime judged = go(run);
        EXPECT_GE(judged.tokens_per_second(), off)
            << percent << " %, " << disk.name << ", " << computer.name << ", guesser "
            << static_cast<int>(guess.kind) << " " << guess.recall << ": " << judged.guesses
            << " guesses, right " << judged.right;
        least = std::min(least, judged.tokens_per_second() / off);
        sum += judged.tokens_per_second() / off;
        count += 1;
      }
    }
    if (kWhole) {
      std::printf("%-21s %-8s: %3d runs, to off at least %.4f, on average %.4f\n", disk.name,
                  computer.name, count, least, sum / count);
    }
  }

  const RoutingTrace trace_;
};

RoutingTrace part(const RoutingTrace& trace, std::size_t first_step, std::size_t steps) {
  RoutingTrace part = trace;
  const auto begin =
      trace.events.begin() + static_cast<std::ptrdiff_t>(first_step * trace.experts.size());
  part.events.assign(begin, begin + static_cast<std::ptrdiff_t>(steps * trace.experts.size()));
  return part;
}

TEST(NeverSlower, OnQwen3) {
  const auto path = test::test_data("traces/qwen3-30b-a3b.route.csv.gz");
  if (path.empty()) GTEST_SKIP() << "needs SLUICE_TEST_DATA";
  RoutingTrace trace = apps::read_routing_trace(path.string())->trace;
  if (!kWhole) trace.events.resize(trace.events.size() / 2);
  Grid(std::move(trace)).expect_never_slower();
}

TEST(NeverSlower, OnGptOss120b) {
  const auto path = test::test_data("traces/gpt-oss-120b.route.csv.gz");
  if (path.empty()) GTEST_SKIP() << "needs SLUICE_TEST_DATA";
  RoutingTrace trace = apps::read_routing_trace(path.string())->trace;
  Grid(std::move(trace)).expect_never_slower();
}

TEST(NeverSlower, OnGptOss20b) {
  const auto path = test::test_data("traces/gpt-oss-20b");
  if (path.empty()) GTEST_SKIP() << "needs SLUICE_TEST_DATA";
  RoutingTrace trace = apps::read_routing_trace(path.string())->trace;
  std::fill(trace.expert_bytes.begin(), trace.expert_bytes.end(), std::uint64_t{13219200});
  if (!kWhole) return Grid(part(trace, 6000, 80)).expect_never_slower();
  for (std::size_t first = 0; first < 54000; first += 9000) {
    std::printf("from step %zu\n", first);
    Grid(part(trace, first, 300)).expect_never_slower();
  }
}

}  // namespace
}  // namespace sluice
