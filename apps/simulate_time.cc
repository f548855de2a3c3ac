#include "apps/simulate_time.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <string_view>

#include "apps/cancel.h"
#include "apps/options.h"
#include "apps/report.h"
#include "apps/side_by_side.h"
#include "base/cancellation.h"
#include "base/size.h"
#include "cache/virtual_time.h"

namespace sluice::apps {
namespace {

Status not_a(std::string_view what, std::string_view text) {
  return {ErrorCode::kInvalidArgument, fmt::format("'{}' is not {}", text, what)};
}

bool parse_number(std::string_view text, double& number) {
  const char* const end = text.data() + text.size();
  const auto [rest, error] = std::from_chars(text.data(), end, number, std::chars_format::fixed);
  return error == std::errc() && rest == end && number >= 0 && number < 1e9;
}

/// "2ms", "100us", "0.5s".
Result<double> parse_seconds(std::string_view text) {
  double number = 0;
  for (const auto& [unit, seconds] :
       {std::pair<std::string_view, double>{"us", 1e-6}, {"ms", 1e-3}, {"s", 1}}) {
    if (!text.ends_with(unit)) continue;
    if (parse_number(text.substr(0, text.size() - unit.size()), number)) return number * seconds;
    break;
  }
  return not_a("a time such as 2ms or 100us", text);
}

/// "a+b+c" before the first plus, which goes, and what follows.
std::string_view take_part(std::string_view& text) {
  const std::size_t plus = std::min(text.find('+'), text.size());
  const std::string_view part = text.substr(0, plus);
  text.remove_prefix(std::min(plus + 1, text.size()));
  return part;
}

/// BYTES[+LATENCY[+SPIKE/EVERY]]
Result<DiskModel> parse_disk(std::string_view text) {
  DiskModel disk;
  std::string_view rest = text;
  SLUICE_ASSIGN(const std::uint64_t bytes, parse_size(take_part(rest)));
  if (bytes == 0) return not_a("a disk that reads anything", text);
  disk.bytes_per_second = static_cast<double>(bytes);
  if (!rest.empty()) {
    SLUICE_ASSIGN(disk.latency, parse_seconds(take_part(rest)));
  }
  if (rest.empty()) return disk;
  const std::size_t slash = std::min(rest.find('/'), rest.size());
  SLUICE_ASSIGN(disk.spike, parse_seconds(rest.substr(0, slash)));
  const std::string_view every = rest.substr(std::min(slash + 1, rest.size()));
  const char* const end = every.data() + every.size();
  const auto [last, error] = std::from_chars(every.data(), end, disk.spike_every);
  if (error != std::errc() || last != end || disk.spike_every == 0) {
    return not_a("a spike such as 30ms/50, in one of fifty reads", rest);
  }
  return disk;
}

/// LAYER+EXPERT
Result<ComputerModel> parse_computer(std::string_view text) {
  ComputerModel computer;
  std::string_view rest = text;
  SLUICE_ASSIGN(computer.layer, parse_seconds(take_part(rest)));
  SLUICE_ASSIGN(computer.expert, parse_seconds(rest));
  return computer;
}

Result<GuessModel> parse_guess(std::string_view text) {
  using Kind = GuessModel::Kind;
  if (text == "popularity") return GuessModel{.kind = Kind::kPopularity};
  if (text == "paths") return GuessModel{.kind = Kind::kPaths};
  GuessModel guess{.kind = Kind::kRecall};
  if (parse_number(text, guess.recall) && guess.recall <= 1) return guess;
  return not_a("popularity, paths, or a recall from 0 to 1", text);
}

template <typename Parse>
CLI::Validator check(const Parse& parse, const char* form) {
  return CLI::Validator(
      [parse](const std::string& text) {
        const auto parsed = parse(text);
        return parsed.ok() ? std::string() : parsed.status().message();
      },
      form);
}

/// One row.
struct TimedRun {
  std::size_t policy = 0, capacity = 0, disk = 0;
  std::string guess;
  VirtualRun run;
  VirtualTime time;

  const char* reading() const {
    if (run.guess.kind == GuessModel::Kind::kOff) return "";
    return run.guess.judged ? "what pays" : "all";
  }
  double waiting_share() const { return time.seconds > 0 ? time.waiting / time.seconds : 0; }
};

Result<std::vector<TimedRun>> plan(const TimeOptions& options, const TimedPolicies& what) {
  SLUICE_ASSIGN(const ComputerModel computer, parse_computer(options.computer));
  std::vector<TimedRun> runs;
  for (std::size_t policy = 0; policy < what.policies.size(); ++policy) {
    for (std::size_t capacity = 0; capacity < what.capacities.size(); ++capacity) {
      for (std::size_t at = 0; at < options.disks.size(); ++at) {
        SLUICE_ASSIGN(const DiskModel disk, parse_disk(options.disks[at]));
        VirtualRun run{.capacity = what.capacity_bytes[capacity],
                       .disk = disk,
                       .computer = computer,
                       .guess = {},
                       .cancelled = &cancel_requested()};
        runs.push_back({policy, capacity, at, "off", run, {}});
        for (const std::string& guess : options.guesses) {
          SLUICE_ASSIGN(run.guess, parse_guess(guess));
          run.guess.most = options.ahead;
          for (const bool judged : {false, true}) {
            run.guess.judged = judged;
            runs.push_back({policy, capacity, at, guess, run, {}});
          }
        }
      }
    }
  }
  return runs;
}

nlohmann::json to_json(const TimeOptions& options, const TimedPolicies& what,
                       const std::vector<TimedRun>& runs) {
  nlohmann::json rows = nlohmann::json::array();
  for (const TimedRun& run : runs) {
    rows.push_back({{"policy", what.policies[run.policy]},
                    {"capacity", what.capacities[run.capacity]},
                    {"capacity_bytes", what.capacity_bytes[run.capacity]},
                    {"disk", options.disks[run.disk]},
                    {"computer", options.computer},
                    {"guess", run.guess},
                    {"judged", run.guess != "off" && run.run.guess.judged},
                    {"tokens", run.time.tokens},
                    {"seconds", run.time.seconds},
                    {"tokens_per_second", run.time.tokens_per_second()},
                    {"waiting_share", run.waiting_share()},
                    {"bytes_read", run.time.bytes_read},
                    {"read_ahead", run.time.guesses},
                    {"read_ahead_rightly", run.time.right}});
  }
  return rows;
}

void print_table(const TimeOptions& options, const TimedPolicies& what,
                 const std::vector<TimedRun>& runs) {
  const auto widest = [](std::string_view title, const std::vector<std::string>& texts) {
    std::size_t width = title.size();
    for (const std::string& text : texts) width = std::max(width, text.size());
    return width;
  };
  const std::size_t policy = widest("policy", what.policies);
  const std::size_t capacity = widest("capacity", what.capacities);
  const std::size_t disk = widest("disk", options.disks), guess = widest("guess", options.guesses);
  fmt::print("{:<{}}  {:>{}}  {:<{}}  {:<{}}  {:<9} {:>9} {:>8} {:>9} {:>9} {:>9}\n", "policy",
             policy, "capacity", capacity, "disk", disk, "guess", guess, "reads", "tokens/s",
             "waiting", "MB/token", "ahead", "rightly");
  for (const TimedRun& run : runs) {
    const double tokens = static_cast<double>(std::max<std::uint64_t>(1, run.time.tokens));
    fmt::print("{:<{}}  {:>{}}  {:<{}}  {:<{}}  {:<9} {:>9.3f} {:>7.1f}% {:>9.1f} {:>9} {:>9}\n",
               what.policies[run.policy], policy, what.capacities[run.capacity], capacity,
               options.disks[run.disk], disk, run.guess, guess, run.reading(),
               run.time.tokens_per_second(), 100 * run.waiting_share(),
               static_cast<double>(run.time.bytes_read) / 1e6 / tokens, run.time.guesses,
               run.time.right);
  }
}

}  // namespace

CLI::Option* add_time_options(CLI::App& app, TimeOptions& options) {
  CLI::Option* const disk =
      app.add_option("--disk", options.disks,
                     "In virtual time, on disks of so many bytes a second, with a latency (100us) "
                     "and spikes of so long in one of so many reads if said: 2.3G,100M+2ms+30ms/50")
          ->delimiter(',')
          ->check(kListed)
          ->check(check(parse_disk, "BYTES+TIME+TIME/N"));
  app.add_option("--computer", options.computer,
                 "What computing a layer without its experts takes, and an expert")
      ->needs(disk)
      ->check(check(parse_computer, "TIME+TIME"))
      ->capture_default_str();
  app.add_option("--guess", options.guesses,
                 "What foretells the next layer's experts: popularity, paths, or the trace itself, "
                 "each of its experts with this probability")
      ->needs(disk)
      ->delimiter(',')
      ->check(kListed)
      ->check(check(parse_guess, "GUESS"))
      ->capture_default_str();
  app.add_option("--ahead", options.ahead, "Guesses about a visit that are read at most")
      ->needs(disk)
      ->check(CLI::Range(1u, static_cast<unsigned>(GuessWorth::kGrades)))
      ->capture_default_str();
  return disk;
}

Status simulate_time(const TimeOptions& options, const TimedPolicies& what, bool json) {
  SLUICE_ASSIGN(std::vector<TimedRun> runs, plan(options, what));
  side_by_side(runs.size(), what.threads, [&](std::size_t at) {
    runs[at].time = run_virtually(what.trace, what.make_policy(runs[at].policy), runs[at].run);
  });
  SLUICE_TRY(check_cancelled(&cancel_requested()));
  if (json) {
    print_json(to_json(options, what, runs));
  } else {
    print_table(options, what, runs);
  }
  return {};
}

}  // namespace sluice::apps
