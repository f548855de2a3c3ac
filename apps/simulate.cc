// sluice simulate: a recorded routing through cache policies, without a model.

#include <fmt/format.h>
#include <spdlog/spdlog.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <mutex>

#include "apps/cancel.h"
#include "apps/options.h"
#include "apps/percentage.h"
#include "apps/progress_line.h"
#include "apps/report.h"
#include "apps/routing_trace_file.h"
#include "apps/side_by_side.h"
#include "apps/simulate_chart.h"
#include "apps/simulate_hybrid.h"
#include "apps/simulate_time.h"
#include "base/cancellation.h"
#include "base/size.h"
#include "cache/belady.h"
#include "cache/trace_replay.h"

namespace sluice::apps {
namespace {

constexpr std::uint64_t kUnknownExpert = std::uint64_t{1} << 20;

struct SimulateOptions {
  std::string trace;
  std::vector<std::string> policies{"lru", "auto", "belady"};
  std::vector<std::string> capacities{"10%", "20%", "30%", "40%", "50%", "70%"};
  std::string expert_bytes;
  std::string html;
  std::uint64_t count_from = 0;
  unsigned threads = 0;
  bool extents = false;
  bool json = false;
  TimeOptions time;
  HybridOptions hybrid;
};

/// "10%" of `all`, or a size.
Result<std::uint64_t> parse_capacity(const std::string& text, std::uint64_t all) {
  if (!text.ends_with('%')) return parse_size(text);
  SLUICE_ASSIGN(const double percent, parse_percentage(text));
  return static_cast<std::uint64_t>(std::floor(static_cast<double>(all) * percent / 100 + 1e-6));
}

/// For CLI11.
std::string check_capacity(const std::string& text) {
  const auto capacity = parse_capacity(text, 0);
  return capacity.ok() ? std::string() : capacity.status().message();
}

/// For CLI11: a row would only be there twice.
void refuse_twice(const char* option, const std::vector<std::string>& names) {
  for (auto name = names.begin(); name != names.end(); ++name) {
    if (std::find(names.begin(), name, *name) == name) continue;
    throw CLI::ValidationError(option, fmt::format("{} is there twice", *name));
  }
}

/// One cell of the table.
struct Replay {
  std::size_t policy = 0, capacity = 0;
  ReplayResult result;
};

class Simulation {
 public:
  Simulation(const SimulateOptions& options, RoutingTrace trace)
      : options_(options), trace_(std::move(trace)) {}

  Status prepare() {
    all_ = full_capacity(trace_, room());
    for (const std::string& text : options_.capacities) {
      SLUICE_ASSIGN(const std::uint64_t capacity, parse_capacity(text, all_));
      capacities_.push_back(capacity);
    }
    for (std::size_t policy = 0; policy < options_.policies.size(); ++policy) {
      SLUICE_TRY(make_policy(policy));
      for (std::size_t capacity = 0; capacity < capacities_.size(); ++capacity) {
        replays_.push_back({policy, capacity, {}});
      }
    }
    return find_first_counted();
  }

  /// Replays know nothing of one another: as many at a time as there are processors.
  Status run() {
    const auto began = std::chrono::steady_clock::now();
    std::mutex progress;
    std::size_t done = 0;
    ProgressLine line;
    side_by_side(replays_.size(), options_.threads, [&](std::size_t at) {
      Replay& cell = replays_[at];
      auto policy = make_policy(cell.policy);  // was made before
      cell.result = replay(trace_, std::move(policy).value(),
                           {.capacity = capacities_[cell.capacity],
                            .room = room(),
                            .count_from = count_from_,
                            .cancelled = &cancel_requested()});
      const std::lock_guard lock(progress);
      line.show(fmt::format("{} of {} replays", ++done, replays_.size()));
    });
    line.clear();
    SLUICE_TRY(check_cancelled(&cancel_requested()));
    const std::chrono::duration<double> took = std::chrono::steady_clock::now() - began;
    const double touches = static_cast<double>(trace_.routed.size() * replays_.size());
    spdlog::info(
        "{} visits wanting {} experts, replayed {} times in {:.2f} s: {:.1f} million a second",
        trace_.events.size(), trace_.routed.size(), replays_.size(), took.count(),
        touches / 1e6 / std::max(took.count(), 1e-9));
    return {};
  }

  /// What disks and a computer would take for it, on standard output.
  Status run_virtually() const {
    const auto made = [this](std::size_t policy) { return std::move(make_policy(policy)).value(); };
    return simulate_time(options_.time,
                         {.trace = trace_,
                          .policies = options_.policies,
                          .capacities = options_.capacities,
                          .capacity_bytes = capacities_,
                          .make_policy = made,
                          .threads = options_.threads},
                         options_.json);
  }

  nlohmann::json json() const {
    nlohmann::json rows = nlohmann::json::array();
    for (const Replay& cell : replays_) {
      const ReplayResult& result = cell.result;
      rows.push_back({{"policy", options_.policies[cell.policy]},
                      {"capacity", options_.capacities[cell.capacity]},
                      {"capacity_bytes", capacities_[cell.capacity]},
                      {"requests", result.requests},
                      {"hits", result.hits},
                      {"hit_rate", result.hit_rate()},
                      {"decode_requests", result.decode_requests},
                      {"decode_hits", result.decode_hits},
                      {"decode_hit_rate", result.decode_hit_rate()},
                      {"bytes_loaded", result.bytes_loaded}});
    }
    return rows;
  }

  SimulatedCurves curves() const {
    SimulatedCurves drawn{options_.trace, has_decode(), options_.capacities, {}, {}};
    for (const std::uint64_t capacity : capacities_) {
      drawn.shares.push_back(static_cast<double>(capacity) / static_cast<double>(all_));
    }
    for (const std::string& policy : options_.policies) drawn.curves.push_back({policy, {}});
    for (const Replay& cell : replays_) {
      drawn.curves[cell.policy].hit_rates.push_back(drawn.decode ? cell.result.decode_hit_rate()
                                                                 : cell.result.hit_rate());
    }
    return drawn;
  }

  /// On standard output: rates in decode, those of the whole run where it is more, and bytes.
  void print() const {
    if (has_decode()) {
      print_table("decode hit rate, %", [](const ReplayResult& result) {
        return fmt::format("{:.1f}", 100 * result.decode_hit_rate());
      });
    } else {
      spdlog::warn("{}: there is no decode step in this trace: rates are of the whole run",
                   options_.trace);
    }
    const auto more = [](const Replay& cell) {
      return cell.result.requests > cell.result.decode_requests;
    };
    if (std::any_of(replays_.begin(), replays_.end(), more)) {
      print_table("hit rate of the whole run, %", [](const ReplayResult& result) {
        return fmt::format("{:.1f}", 100 * result.hit_rate());
      });
    }
    print_table("read in the whole run",
                [](const ReplayResult& result) { return format_size(result.bytes_loaded); });
  }

 private:
  bool has_decode() const {
    return std::any_of(trace_.events.begin() + static_cast<std::ptrdiff_t>(count_from_),
                       trace_.events.end(), [](const RoutingEvent& event) { return event.decode; });
  }

  template <typename Text>
  void print_table(std::string_view title, const Text& text) const {
    std::size_t widest = 6;
    for (const std::string& name : options_.policies) widest = std::max(widest, name.size());
    fmt::print("{:<{}}", "policy", widest);
    const auto width = [](const std::string& capacity) {
      return std::max<std::size_t>(8, capacity.size());
    };
    for (const std::string& capacity : options_.capacities) {
      fmt::print(" {:>{}}", capacity, width(capacity));
    }
    fmt::print("   ({})\n", title);
    for (const Replay& cell : replays_) {
      if (cell.capacity == 0) fmt::print("{:<{}}", options_.policies[cell.policy], widest);
      fmt::print(" {:>{}}", text(cell.result), width(options_.capacities[cell.capacity]));
      if (cell.capacity + 1 == capacities_.size()) fmt::print("\n");
    }
  }

  ReplayRoom room() const { return options_.extents ? ReplayRoom::kExtents : ReplayRoom::kBytes; }

  Result<std::unique_ptr<CachePolicy>> make_policy(std::size_t which) const {
    const std::string& name = options_.policies[which];
    const CacheShape shape(trace_.experts);
    if (name == "belady") {
      return std::unique_ptr<CachePolicy>(std::make_unique<Belady>(shape, trace_));
    }
    return make_cache_policy(name, shape);
  }

  /// Decode steps begin where the layers start anew.
  Status find_first_counted() {
    if (options_.count_from == 0) return {};
    std::uint64_t steps = 0;
    for (std::size_t at = 0; at < trace_.events.size(); ++at) {
      const bool begins = at == 0 || !trace_.events[at - 1].decode ||
                          trace_.events[at].layer <= trace_.events[at - 1].layer;
      if (!trace_.events[at].decode || !begins) continue;
      if (steps++ < options_.count_from) continue;
      count_from_ = at;
      return {};
    }
    return {ErrorCode::kInvalidArgument, fmt::format("--count-from {}: {} has {} decode steps",
                                                     options_.count_from, options_.trace, steps)};
  }

  const SimulateOptions& options_;
  const RoutingTrace trace_;
  std::uint64_t all_ = 0;  // bytes that hold every expert
  std::size_t count_from_ = 0;
  std::vector<std::uint64_t> capacities_;
  std::vector<Replay> replays_;  // policy by policy
};

Status simulate(const SimulateOptions& options) {
  RunFiles files;
  for (const std::string& path : routing_files(options.trace)) files.add(path, "the trace itself");
  SLUICE_TRY(files.check_output(options.html));
  if (!options.hybrid.machines.empty()) {
    const std::uint64_t bytes =
        options.expert_bytes.empty() ? 0 : parse_size(options.expert_bytes).value();
    return simulate_hybrid(options.hybrid, options.trace, bytes, options.threads, options.json);
  }
  SLUICE_ASSIGN(RoutingTraceFile file, read_routing_trace(options.trace));
  if (!file.facts.warning.empty()) spdlog::warn("{}", file.facts.warning);
  if (!file.facts.knows_experts) {
    spdlog::info("{} does not say how many experts a layer has: {}, by the largest id in it",
                 options.trace, file.trace.experts.front());
  }
  if (!options.expert_bytes.empty() || !file.facts.knows_bytes) {
    std::uint64_t bytes = kUnknownExpert;
    if (!options.expert_bytes.empty()) {
      SLUICE_ASSIGN(bytes, parse_size(options.expert_bytes));
    } else {
      spdlog::info("{} does not say how large an expert is: {} each (--expert-bytes)",
                   options.trace, format_size(bytes));
    }
    std::fill(file.trace.expert_bytes.begin(), file.trace.expert_bytes.end(), bytes);
    file.trace.slot_bytes.clear();
  }
  Simulation simulation(options, std::move(file.trace));
  SLUICE_TRY(simulation.prepare());
  if (!options.time.disks.empty()) return simulation.run_virtually();
  SLUICE_TRY(simulation.run());
  if (!options.html.empty()) SLUICE_TRY(write_chart(options.html, files, simulation.curves()));
  if (options.json) {
    print_json(simulation.json());
  } else {
    simulation.print();
  }
  return {};
}

}  // namespace

Verb add_simulate(CLI::App& root) {
  auto options = std::make_shared<SimulateOptions>();
  CLI::App* app = root.add_subcommand("simulate", "Replay recorded routing through cache policies");
  app->add_option(
         "TRACE", options->trace,
         "What --trace-routing wrote, a folder of experts.u8, probs.u16 and index.jsonl, or "
         "a .route.csv[.gz]")
      ->required();
  std::vector<std::string> names = cache_policy_names();
  names.push_back("belady");
  app->add_option("--policy", options->policies, "Policies, such as lru,auto; belady is the bound")
      ->delimiter(',')
      ->check(kListed)
      ->check(CLI::IsMember(names))
      ->capture_default_str();
  app->add_option("--capacity", options->capacities,
                  "What the cache holds: shares of all experts or sizes, such as 10%,4000MiB")
      ->delimiter(',')
      ->check(kListed)
      ->check(CLI::Validator(check_capacity, ""))
      ->capture_default_str();
  app->add_option("--expert-bytes", options->expert_bytes,
                  "Size of one expert, instead of what the trace says")
      ->check(CLI::Validator(
          [](const std::string& text) {
            const auto bytes = parse_size(text);
            if (!bytes.ok()) return bytes.status().message();
            const bool fits = *bytes > 0 && *bytes <= std::uint64_t{1} << 40;
            return fits ? std::string() : text + " is not the size of an expert";
          },
          "SIZE"));
  CLI::Option* const extents =
      app->add_flag("--extents", options->extents,
                    "Count as the engine's cache does, with gaps between experts of several sizes");
  CLI::Option* const count_from =
      app->add_option("--count-from", options->count_from,
                      "Decode steps that only warm the cache before counting begins");
  app->add_option("--threads", options->threads, "Replays at a time (default: the processors)")
      ->check(CLI::Range(1u, 1024u));
  app->add_flag("--json", options->json, "Write one JSON array to standard output");
  CLI::Option* const html =
      app->add_option("--html", options->html, "Draw the curves into this file")
          ->check(kNamesAFile);
  CLI::Option* const disk = add_time_options(*app, options->time);
  CLI::Option* const machines = add_hybrid_options(*app, options->hybrid);
  for (CLI::Option* const option : {extents, count_from, html}) disk->excludes(option);
  for (const char* const other :
       {"--disk", "--policy", "--capacity", "--extents", "--count-from", "--html"}) {
    machines->excludes(app->get_option(other));
  }
  app->parse_complete_callback([options] {
    refuse_twice("--policy", options->policies);
    refuse_twice("--capacity", options->capacities);
    refuse_twice("--disk", options->time.disks);
    refuse_twice("--guess", options->time.guesses);
    refuse_twice("--vram", options->hybrid.vram);
  });
  return {app, [options] { return simulate(*options); }};
}

}  // namespace sluice::apps
