#include "apps/report.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstdio>
#include <numeric>
#include <vector>

#include "base/size.h"
#include "base/system_memory.h"

namespace sluice::apps {
namespace {

double hit_rate(const ExpertStatistics& statistics) {
  if (statistics.requests == 0) return 0;
  return static_cast<double>(statistics.hits) / static_cast<double>(statistics.requests);
}

double milliseconds(const ExpertStatistics& statistics) {
  return static_cast<double>(statistics.wait_nanoseconds) / 1e6;
}

/// 0 where the system does not tell.
std::uint64_t peak_resident_bytes() {
  const auto memory = process_memory();
  return memory.ok() ? memory->peak_resident : 0;
}

/// In bytes, but for the context.
nlohmann::json memory_json(const Model& model) {
  const MemoryPlan& plan = model.plan();
  return {{"ram_budget", model.runtime().ram()},
          {"peak_rss", peak_resident_bytes()},
          {"dense", plan.dense},
          {"kv", plan.kv},
          {"scratch", plan.scratch},
          {"expert_cache", plan.cache},
          {"context", plan.context}};
}

/// Why a device was given up; empty where none was.
std::string device_lost(const Devices& devices) {
  const std::string dense = devices.dense_closed();
  return dense.empty() ? devices.statistics().value_or(HybridStatistics{}).tier.closed : dense;
}

nlohmann::json device_json(const Devices& devices) {
  const HybridStatistics experts = devices.statistics().value_or(HybridStatistics{});
  return {{"layers", devices.dense_layers()},
          {"layer_bytes", devices.dense_bytes()},
          {"experts", experts.uses},
          {"on_device", experts.on_device},
          {"found", experts.found},
          {"redone", experts.redone},
          {"uploads", experts.tier.uploads},
          {"bytes_uploaded", experts.tier.bytes},
          {"capacity", experts.tier.capacity},
          {"lost", device_lost(devices)}};
}

/// Why the device is not used, or what it did.
std::string device_words(const Model& model) {
  const Devices& devices = model.devices();
  if (devices.pinning() == nullptr) return "device: not used: " + devices.unused();
  std::string words =
      fmt::format("device: has {} of {} layers but for their experts ({});", devices.dense_layers(),
                  model.description().layers.size(), format_size(devices.dense_bytes()));
  if (const auto experts = devices.statistics()) {
    words +=
        fmt::format(" of {} experts it computed {}, {} of which it had; {} ({}) copied to its {}",
                    experts->uses, experts->on_device, experts->found, experts->tier.uploads,
                    format_size(experts->tier.bytes), format_size(experts->tier.capacity));
  } else {
    words += " no experts: " + devices.unused();
  }
  if (const std::string lost = device_lost(devices); !lost.empty()) words += "; given up: " + lost;
  return words;
}

nlohmann::json layers_json(const Model& model) {
  nlohmann::json layers = nlohmann::json::array();
  for (std::size_t i = 0; i < model.layer_statistics().size(); ++i) {
    layers.push_back(experts_json(model.layer_statistics()[i]));
    layers.back()["layer"] = model.catalogue().layers()[i].layer;
  }
  return layers;
}

/// "17 (12 ms), 3 (9 ms), 20 (2 ms)": the layers that waited longest; empty where none did.
std::string longest_waits(const Model& model) {
  constexpr std::size_t kNamed = 3;
  const auto layers = model.layer_statistics();
  std::vector<std::size_t> order(layers.size());
  std::iota(order.begin(), order.end(), std::size_t{0});
  std::stable_sort(order.begin(), order.end(), [&](std::size_t a, std::size_t b) {
    return layers[a].wait_nanoseconds > layers[b].wait_nanoseconds;
  });
  order.resize(std::min(order.size(), kNamed));
  std::string text;
  for (const std::size_t i : order) {
    if (layers[i].wait_nanoseconds == 0) break;
    text += fmt::format("{}{} ({:.0f} ms)", text.empty() ? "" : ", ",
                        model.catalogue().layers()[i].layer, milliseconds(layers[i]));
  }
  return text;
}

/// A line for every layer or, of a deep model, for every few neighbours.
void print_layers(const Model& model) {
  constexpr std::size_t kMostLines = 16, kGroups = 8;
  const auto statistics = model.layer_statistics();
  const auto& layers = model.catalogue().layers();
  const std::size_t lines = layers.size() <= kMostLines ? layers.size() : kGroups;
  if (lines == 0) return;
  print_statistic(
      "by layer; what was read before it was asked for came in time, late (was still being read) "
      "or in vain");
  print_statistic(fmt::format("{:>9} {:>9} {:>10} {:>8} {:>8} {:>6} {:>8} {:>10}", "layer",
                              "wanted", "in memory", "read", "in time", "late", "in vain",
                              "waited"));
  for (std::size_t line = 0; line < lines; ++line) {
    const std::size_t first = line * layers.size() / lines;
    const std::size_t last = (line + 1) * layers.size() / lines - 1;
    ExpertStatistics sum;
    for (std::size_t i = first; i <= last; ++i) sum += statistics[i];
    const std::string name = first == last
                                 ? fmt::format("{}", layers[first].layer)
                                 : fmt::format("{}-{}", layers[first].layer, layers[last].layer);
    print_statistic(fmt::format("{:>9} {:>9} {:>8.1f} % {:>8} {:>8} {:>6} {:>8} {:>7.0f} ms", name,
                                sum.requests, 100 * hit_rate(sum), sum.loads,
                                sum.expected_rightly - sum.late, sum.late, sum.wasted,
                                milliseconds(sum)));
  }
  const std::string longest = longest_waits(model);
  if (lines < layers.size() && !longest.empty())
    print_statistic("the layers that waited longest: " + longest);
}

/// Of the weights that rows met.
double mean_bits(const Model& model) {
  return model.widths() == nullptr ? model.catalogue().mean_bits() : model.widths()->mean_bits();
}

/// As --width has it.
nlohmann::json width_json(unsigned width) {
  if (width == kExactWidth) return "exact";
  if (width == kAutoWidth) return "auto";
  return width;
}

nlohmann::json widths_json(const WidthChoice& widths) {
  nlohmann::json uses = nlohmann::json::array();
  for (const WidthChoice::Use& use : widths.uses()) {
    uses.push_back({{"width", width_json(use.bits)}, {"rows", use.rows}});
  }
  return uses;
}

std::string words_of(const WidthChoice& widths) {
  std::uint64_t all = 0;
  for (const WidthChoice::Use& use : widths.uses()) all += use.rows;
  std::string words;
  for (const WidthChoice::Use& use : widths.uses()) {
    const double percent = 100 * static_cast<double>(use.rows) / static_cast<double>(all);
    const std::string name =
        use.bits == kExactWidth ? "as they are" : fmt::format("{} bits", use.bits);
    words += fmt::format("{}{:.1f} % {}", words.empty() ? "" : ", ", percent, name);
  }
  return fmt::format("approximate: of experts' weights {:.2f} bits were multiplied on average ({})",
                     widths.mean_bits(), words);
}

nlohmann::json approximations_json(const Model& model) {
  const RelaxationStatistics& statistics = model.relaxation()->statistics();
  return {{"calibrated", model.knows_sensitivities()},
          {"chosen", statistics.chosen},
          {"skipped", statistics.skipped},
          {"replaced", statistics.replaced}};
}

std::string words_of(const RelaxationStatistics& statistics) {
  const auto chosen = static_cast<double>(std::max<std::uint64_t>(1, statistics.chosen));
  const auto percent = [&](std::uint64_t count) {
    return 100 * static_cast<double>(count) / chosen;
  };
  return fmt::format("approximate: of {} choices of an expert {:.1f} % skipped, {:.1f} % replaced",
                     statistics.chosen, percent(statistics.skipped), percent(statistics.replaced));
}

}  // namespace

nlohmann::json experts_json(const ExpertStatistics& statistics) {
  return {{"requests", statistics.requests},
          {"hits", statistics.hits},
          {"loads", statistics.loads},
          {"expected", statistics.expected},
          {"expected_rightly", statistics.expected_rightly},
          {"late", statistics.late},
          {"wasted", statistics.wasted},
          {"warmed", statistics.warmed},
          {"hit_rate", hit_rate(statistics)},
          {"bytes_read", statistics.bytes_read},
          {"wait_ms", milliseconds(statistics)}};
}

void add_use(nlohmann::json& json, const Model& model) {
  json["experts"] = experts_json(model.expert_statistics());
  json["experts"]["layers"] = layers_json(model);
  json["experts"]["mean_bits"] = mean_bits(model);
  json["experts"]["width"] = width_json(model.catalogue().width());
  json["experts"]["exact"] = model.catalogue().exact() && model.relaxation() == nullptr;
  if (model.widths() != nullptr) {
    json["experts"]["widths"] = widths_json(*model.widths());
    json["experts"]["narrow"] = model.narrow();
  }
  json["experts"]["policy"] = model.policy();
  json["experts"]["predict"] = model.predict();
  json["dense"] = {{"bytes_read", model.dense_bytes_read()}};
  json["memory"] = memory_json(model);
  if (model.devices().pinning() != nullptr) json["device"] = device_json(model.devices());
  if (model.relaxation() != nullptr) json["approximations"] = approximations_json(model);
}

void print_statistic(const std::string& line) { fmt::print(stderr, "sluice: {}\n", line); }

void print_statistics(const Model& model) {
  const ExpertStatistics statistics = model.expert_statistics();
  const ReaderInfo reader = model.runtime().reader().info();
  print_statistic(
      fmt::format("experts: {} wanted, {:.1f} % in memory, {} read ({}; {} before they were asked "
                  "for, {} of these rightly), waited {:.0f} ms for {}",
                  statistics.requests, 100 * hit_rate(statistics), statistics.loads,
                  format_size(statistics.bytes_read), statistics.expected,
                  statistics.expected_rightly, milliseconds(statistics), reader.name));
  print_statistic(fmt::format("dense weights: {} read", format_size(model.dense_bytes_read())));
  print_statistic(fmt::format("memory: peak {} of {}", format_size(peak_resident_bytes()),
                              format_size(model.runtime().ram())));
  if (!model.runtime().device_set().devices.empty()) print_statistic(device_words(model));
  if (model.relaxation() != nullptr) print_statistic(words_of(model.relaxation()->statistics()));
  if (model.widths() != nullptr && model.widths()->mean_bits() > 0) {
    print_statistic(words_of(*model.widths()));
  }
  print_layers(model);
}

nlohmann::json resting_json(const std::map<unsigned, std::uint64_t>& experts) {
  nlohmann::json resting = nlohmann::json::array();
  for (const auto& [width, count] : experts) {
    resting.push_back({{"width", width}, {"experts", count}});
  }
  return resting;
}

std::string resting_words(const nlohmann::json& resting) {
  std::string words;
  for (const auto& one : resting) {
    words += fmt::format("{}{} at {}", words.empty() ? "experts by bits: " : ", ",
                         one["experts"].dump(), one["width"].dump());
  }
  return words;
}

void print_json(const nlohmann::json& object) {
  const std::string text = object.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace);
  fmt::print("{}\n", text);
  std::fflush(stdout);
}

}  // namespace sluice::apps
