#include "apps/simulate_hybrid.h"

#include <fmt/format.h>
#include <spdlog/spdlog.h>

#include <algorithm>
#include <fstream>
#include <nlohmann/json.hpp>

#include "apps/cancel.h"
#include "apps/options.h"
#include "apps/percentage.h"
#include "apps/report.h"
#include "apps/routing_trace_file.h"
#include "apps/side_by_side.h"
#include "base/cancellation.h"
#include "base/size.h"
#include "hybrid/hybrid_replay.h"

namespace sluice::apps {
namespace {

constexpr std::uint64_t kUnknownExpert = std::uint64_t{1} << 20;
/// The first of all visits teach what is popular, and are not counted.
constexpr double kTaught = 1.0 / 3;

struct ModeName {
  HybridMode mode;
  const char* name;
};
constexpr ModeName kModes[] = {{HybridMode::kAuto, "auto"},
                               {HybridMode::kStatic, "static"},
                               {HybridMode::kGpuOnly, "gpu-only"},
                               {HybridMode::kCpuOnly, "cpu-only"}};

/// Visits with how many rows want each expert.
class RowCounts final : public TraceSink {
 public:
  Status begin(TraceShape given) override {
    shape = std::move(given);
    return {};
  }
  Status visit(const RecordedVisit& visit) override {
    const std::size_t first = wanted.size();
    for (const RoutedExpert& routed : visit.chosen) {
      const auto begin = wanted.begin() + static_cast<std::ptrdiff_t>(first);
      const auto known = std::find_if(
          begin, wanted.end(), [&](const WantedRows& one) { return one.expert == routed.expert; });
      if (known == wanted.end()) {
        wanted.push_back({routed.expert, 1, routed.score});
      } else {
        known->rows += 1;
        known->score += routed.score;
      }
    }
    visits.push_back({visit.layer, visit.decode, wanted.size()});
    return check_cancelled(&cancel_requested());
  }

  struct Visit {
    std::uint32_t layer = 0;
    bool decode = true;
    std::size_t end = 0;  // in `wanted`; it begins where the one before ends
  };
  TraceShape shape;
  std::vector<Visit> visits;
  std::vector<WantedRows> wanted;
};

Status bad(const std::string& path, const std::string& what) {
  return {ErrorCode::kInvalidArgument, fmt::format("--machines {}: {}", path, what)};
}

/// One of the file's array.
HybridMachine machine_of(const nlohmann::json& json) {
  // Of what multiplies a byte of weights, which are two codes of four bits.
  constexpr double kOperationsAByte = 4;
  const auto curve = [&](const std::string& device) {
    return CostCurve::roofline(1e9 * json.at(device + "_gbs").get<double>(),
                               1e12 * json.at(device + "_tops").get<double>(), kOperationsAByte);
  };
  const auto microseconds = [&](const char* name) { return 1e-6 * json.at(name).get<double>(); };
  HybridMachine machine;
  machine.name = json.at("name").get<std::string>();
  HybridCosts& costs = machine.costs;
  costs.cpu = curve("cpu");
  costs.gpu = curve("gpu");
  costs.cpu_start = microseconds("cpu_start_us");
  costs.gpu_start = microseconds("gpu_start_us");
  costs.upload_start = microseconds("upload_start_us");
  costs.upload_byte = 1e-9 / json.at("link_gbs").get<double>();
  if (json.contains("staging_gbs")) {
    costs.staging_byte = 1e-9 / json.at("staging_gbs").get<double>();
  }
  costs.cpu_beside_upload = json.at("cpu_beside_upload").get<double>();
  costs.upload_beside_cpu = json.at("upload_beside_cpu").get<double>();
  machine.dense_seconds = microseconds("dense_us");
  machine.drift = json.value("drift", 1.0);
  return machine;
}

bool plausible(const HybridMachine& machine) {
  const HybridCosts& costs = machine.costs;
  const auto positive = [](double number) { return number > 0 && number < 1e6; };
  const auto share = [](double number) { return number > 0.05 && number <= 1; };
  return positive(costs.cpu.seconds(1, 1)) && positive(costs.gpu.seconds(1, 1)) &&
         positive(costs.cpu.seconds(1, 1024)) && positive(costs.gpu.seconds(1, 1024)) &&
         positive(costs.upload_byte) && costs.staging_byte >= 0 && costs.staging_byte < 1e6 &&
         share(costs.cpu_beside_upload) && share(costs.upload_beside_cpu) && costs.cpu_start >= 0 &&
         costs.gpu_start >= 0 && costs.upload_start >= 0 && machine.dense_seconds >= 0 &&
         machine.dense_seconds < 10 && machine.drift > 0.1 && machine.drift < 10;
}

Result<std::vector<HybridMachine>> read_machines(const std::string& path) {
  std::ifstream file(path);
  if (!file)
    return Status(ErrorCode::kNotFound, fmt::format("--machines {}: cannot be read", path));
  std::vector<HybridMachine> machines;
  try {
    for (const nlohmann::json& json : nlohmann::json::parse(file)) {
      machines.push_back(machine_of(json));
      if (!plausible(machines.back())) {
        return bad(path, machines.back().name + " has a number that no machine has");
      }
    }
  } catch (const nlohmann::json::exception& error) {
    return bad(path, error.what());
  }
  if (machines.empty()) return bad(path, "names no machine");
  return machines;
}

struct Run {
  std::size_t machine = 0, vram = 0, mode = 0;
  HybridReplay::Result result;
};

HybridReplay::Result replay(const RowCounts& trace, const HybridMachine& machine, double share,
                            HybridMode mode) {
  double all = 0;
  for (std::size_t layer = 0; layer < trace.shape.experts.size(); ++layer) {
    all += static_cast<double>(trace.shape.experts[layer] * trace.shape.expert_bytes[layer]);
  }
  std::unique_ptr<CachePolicy> policy;
  if (mode == HybridMode::kAuto || mode == HybridMode::kGpuOnly) {
    policy = make_cache_policy("auto", CacheShape(trace.shape.experts)).value();
  }
  const auto taught = static_cast<std::size_t>(kTaught * static_cast<double>(trace.visits.size()));
  HybridReplay replay(trace.shape.experts, trace.shape.expert_bytes, machine, mode,
                      static_cast<std::uint64_t>(share * all), std::move(policy),
                      trace.visits.size() - taught);
  std::size_t first = 0;
  for (std::size_t at = 0; at < trace.visits.size(); ++at) {
    if (cancel_requested()) break;
    const RowCounts::Visit& visit = trace.visits[at];
    const std::span wanted = std::span(trace.wanted).subspan(first, visit.end - first);
    first = visit.end;
    if (at == taught) replay.begin();
    if (at < taught) {
      replay.learn(visit.layer, wanted);
    } else {
      replay.visit(visit.layer, visit.decode, wanted);
    }
  }
  return replay.result();
}

void print(const std::vector<HybridMachine>& machines, const HybridOptions& options,
           const std::vector<Run>& runs) {
  fmt::print("{:<24} {:>6}", "machine", "VRAM");
  for (const ModeName& mode : kModes) fmt::print(" {:>10}", mode.name);
  fmt::print("  {:>10} {:>9} {:>10}   (seconds; auto's hits, foretold time off)\n", "x the best",
             "on GPU", "off");
  for (std::size_t at = 0; at < runs.size(); at += std::size(kModes)) {
    fmt::print("{:<24} {:>6}", machines[runs[at].machine].name, options.vram[runs[at].vram]);
    double best = 0;
    for (std::size_t mode = 0; mode < std::size(kModes); ++mode) {
      const double seconds = runs[at + mode].result.seconds;
      fmt::print(" {:>10.3f}", seconds);
      if (mode == 1 || (mode > 1 && seconds < best)) best = seconds;
    }
    const HybridReplay::Result& result = runs[at].result;
    fmt::print("  {:>10.3f} {:>7.1f} % {:>8.1f} %\n", best / result.seconds,
               100 * static_cast<double>(result.gpu_hits) /
                   static_cast<double>(std::max<std::uint64_t>(1, result.uses)),
               100 * result.off);
  }
}

nlohmann::json to_json(const std::vector<HybridMachine>& machines, const HybridOptions& options,
                       const std::vector<Run>& runs) {
  nlohmann::json rows = nlohmann::json::array();
  for (const Run& run : runs) {
    const HybridReplay::Result& result = run.result;
    rows.push_back({{"machine", machines[run.machine].name},
                    {"vram", options.vram[run.vram]},
                    {"mode", kModes[run.mode].name},
                    {"seconds", result.seconds},
                    {"decode_seconds", result.decode_seconds},
                    {"uses", result.uses},
                    {"gpu_hits", result.gpu_hits},
                    {"uploads", result.uploads},
                    {"promotions", result.promotions}});
    if (kModes[run.mode].mode == HybridMode::kAuto) rows.back()["foretold_off"] = result.off;
  }
  return rows;
}

}  // namespace

CLI::Option* add_hybrid_options(CLI::App& app, HybridOptions& options) {
  CLI::Option* const machines =
      app.add_option("--machines", options.machines,
                     "Machines with a GPU (JSON, as bench/machines.json): what each way to use "
                     "both processors would take, in virtual time")
          ->check(kNamesAFile);
  app.add_option("--vram", options.vram, "Shares of all experts that the GPU's memory holds")
      ->delimiter(',')
      ->check(kListed)
      ->check(CLI::Validator(
          [](const std::string& text) {
            const auto share = parse_percentage(text);
            return share.ok() ? std::string() : share.status().message();
          },
          ""))
      ->needs(machines)
      ->capture_default_str();
  return machines;
}

Status simulate_hybrid(const HybridOptions& options, const std::string& path,
                       std::uint64_t expert_bytes, unsigned threads, bool json) {
  SLUICE_ASSIGN(const std::vector<HybridMachine> machines, read_machines(options.machines));
  RowCounts trace;
  SLUICE_ASSIGN(const TraceFacts facts, read_routing(path, trace));
  if (!facts.warning.empty()) spdlog::warn("{}", facts.warning);
  if (expert_bytes == 0 && !facts.knows_bytes) {
    expert_bytes = kUnknownExpert;
    spdlog::info("{} does not say how large an expert is: {} each (--expert-bytes)", path,
                 format_size(expert_bytes));
  }
  if (expert_bytes != 0) std::ranges::fill(trace.shape.expert_bytes, expert_bytes);
  if (trace.visits.size() < 3) {
    return Status(ErrorCode::kInvalidArgument, path + ": has too few visits for this");
  }
  std::vector<Run> runs;
  for (std::size_t machine = 0; machine < machines.size(); ++machine) {
    for (std::size_t vram = 0; vram < options.vram.size(); ++vram) {
      for (std::size_t mode = 0; mode < std::size(kModes); ++mode) {
        runs.push_back({machine, vram, mode, {}});
      }
    }
  }
  side_by_side(runs.size(), threads, [&](std::size_t at) {
    Run& run = runs[at];
    run.result = replay(trace, machines[run.machine],
                        *parse_percentage(options.vram[run.vram]) / 100, kModes[run.mode].mode);
  });
  SLUICE_TRY(check_cancelled(&cancel_requested()));
  if (json) {
    print_json(to_json(machines, options, runs));
  } else {
    print(machines, options, runs);
  }
  return {};
}

}  // namespace sluice::apps
