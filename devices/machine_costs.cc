#include "devices/machine_costs.h"

#include <unistd.h>

#include <array>
#include <cmath>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>

#include "formats/header_reader.h"

namespace sluice {
namespace {

namespace fs = std::filesystem;
using Json = nlohmann::ordered_json;

constexpr std::string_view kMark = "sluice_machine_costs";
constexpr std::size_t kMostPrefix = 32;  // that the mark is within
constexpr int kVersion = 1;
constexpr std::size_t kMostBytes = std::size_t{1} << 20;
constexpr std::size_t kMostKeys = 256;
/// Beyond what any machine takes, for a byte or for a start.
constexpr double kMostSeconds = 1;

struct Number {
  const char* name;
  double HybridCosts::*number;
  bool share;  // of 1, and above 0
};
constexpr std::array<Number, 7> kNumbers{
    {{"cpu_start", &HybridCosts::cpu_start, false},
     {"gpu_start", &HybridCosts::gpu_start, false},
     {"upload_start", &HybridCosts::upload_start, false},
     {"staging_byte", &HybridCosts::staging_byte, false},
     {"upload_byte", &HybridCosts::upload_byte, false},
     {"cpu_beside_upload", &HybridCosts::cpu_beside_upload, true},
     {"upload_beside_cpu", &HybridCosts::upload_beside_cpu, true}}};

Json to_json(const CostCurve& curve) {
  Json knots = Json::array();
  for (std::size_t knot = 0; knot < CostCurve::kKnots; ++knot) {
    knots.push_back(curve.seconds(1, 1u << knot));
  }
  return knots;
}

Json to_json(const HybridCosts& costs) {
  Json made{{"cpu", to_json(costs.cpu)}, {"gpu", to_json(costs.gpu)}};
  for (const Number& one : kNumbers) made[one.name] = costs.*one.number;
  return made;
}

/// None where there is no such number, or none from `least` to `most`.
std::optional<double> number_of(const Json& json, double least, double most) {
  if (!json.is_number()) return std::nullopt;
  const auto number = json.get<double>();
  if (!(number >= least && number <= most)) return std::nullopt;
  return number;
}

const Json& member(const Json& json, std::string_view name) {
  static const Json kNone;
  const auto found = json.is_object() ? json.find(name) : json.end();
  return json.is_object() && found != json.end() ? *found : kNone;
}

std::optional<CostCurve> curve_of(const Json& json) {
  std::array<double, CostCurve::kKnots> knots{};
  if (!json.is_array() || json.size() != knots.size()) return std::nullopt;
  for (std::size_t knot = 0; knot < knots.size(); ++knot) {
    const auto number = number_of(json[knot], 1e-18, kMostSeconds);
    if (!number) return std::nullopt;
    knots[knot] = *number;
  }
  return CostCurve(knots);
}

std::optional<HybridCosts> costs_of(const Json& json) {
  HybridCosts costs;
  const auto cpu = curve_of(member(json, "cpu")), gpu = curve_of(member(json, "gpu"));
  if (!cpu || !gpu) return std::nullopt;
  costs.cpu = *cpu;
  costs.gpu = *gpu;
  for (const Number& one : kNumbers) {
    const auto number = number_of(member(json, one.name), one.share ? 0.01 : 0.0, kMostSeconds);
    if (!number) return std::nullopt;
    costs.*one.number = *number;
  }
  return costs.upload_byte > 0 ? std::optional(costs) : std::nullopt;
}

struct CostsFile {
  Json json;         // null: there are no costs in it
  bool own = false;  // it is none of somebody else's, nor of a later program's
};

/// What is damaged has kept its beginning.
CostsFile read(const std::string& path) {
  std::size_t size = 0;
  const auto bytes = read_whole_file(path, kMostBytes, &size);
  if (!bytes.ok()) return {nullptr, bytes.status().code() == ErrorCode::kNotFound};
  const std::string_view text(reinterpret_cast<const char*>(bytes->data()), size);
  CostsFile file{Json::parse(text, nullptr, /*allow_exceptions=*/false)};
  if (file.json.is_discarded()) {
    file.own = text.empty() || text.substr(0, kMostPrefix).find(kMark) != text.npos;
  } else {
    file.own = member(file.json, kMark) == kVersion;
  }
  if (!file.own || !member(file.json, "costs").is_object()) file.json = nullptr;
  return file;
}

bool write(const std::string& path, const std::string& text) {
  std::ofstream out(path, std::ios::binary | std::ios::trunc);
  out << text << '\n';
  out.close();
  return out.good();
}

}  // namespace

std::string MachineCosts::processor() {
  std::ifstream info("/proc/cpuinfo");
  for (std::string line; std::getline(info, line);) {
    const std::size_t colon = line.find(": ");
    if (line.starts_with("model name") && colon != std::string::npos) return line.substr(colon + 2);
  }
  return {};
}

std::optional<HybridCosts> MachineCosts::find(std::string_view key) const {
  if (path_.empty()) return std::nullopt;
  return costs_of(member(member(read(path_).json, "costs"), key));
}

void MachineCosts::keep(std::string_view key, const HybridCosts& costs) const {
  if (path_.empty()) return;
  std::error_code error;
  auto [file, own] = read(path_);
  if (!own) return;
  if (file.is_null()) file = {{kMark, kVersion}, {"costs", Json::object()}};
  Json& all = file["costs"];
  // The one that was kept last stands last.
  all.erase(std::string(key));
  while (all.size() >= kMostKeys) all.erase(all.begin());
  all[std::string(key)] = to_json(costs);
  const fs::path target(path_);
  if (target.has_parent_path()) fs::create_directories(target.parent_path(), error);
  const std::string beside = path_ + "." + std::to_string(::getpid()) + ".part";
  // Processors' and devices' names may be anything.
  const std::string text = file.dump(1, ' ', false, Json::error_handler_t::replace);
  if (write(beside, text)) fs::rename(beside, target, error);
  fs::remove(beside, error);
}

}  // namespace sluice
