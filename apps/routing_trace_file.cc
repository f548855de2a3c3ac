#include "apps/routing_trace_file.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <filesystem>
#include <fstream>
#include <utility>

#include "apps/recorded_trace.h"

namespace sluice::apps {
namespace {

constexpr std::size_t kMostRouted = std::size_t{1} << 28;  // 2 GiB of them

/// Rows of a visit become one list in which each expert is once, with the sum of its scores.
class TraceBuilder final : public TraceSink {
 public:
  Status begin(TraceShape shape) override {
    const std::uint32_t widest = *std::max_element(shape.experts.begin(), shape.experts.end());
    trace_.experts = std::move(shape.experts);
    trace_.expert_bytes = std::move(shape.expert_bytes);
    trace_.slot_bytes = std::move(shape.slot_bytes);
    place_.assign(widest, kNone);
    return {};
  }

  Status visit(const RecordedVisit& visit) override {
    const std::size_t first = trace_.routed.size();
    for (const RoutedExpert& chosen : visit.chosen) {
      std::size_t& place = place_[chosen.expert];
      if (place == kNone) {
        place = trace_.routed.size();
        trace_.routed.push_back({chosen.expert, 0});
      }
      trace_.routed[place].score += chosen.score;
    }
    for (std::size_t i = first; i < trace_.routed.size(); ++i) {
      place_[trace_.routed[i].expert] = kNone;
    }
    trace_.events.push_back({.layer = visit.layer,
                             .decode = visit.decode,
                             .count = static_cast<std::uint32_t>(trace_.routed.size() - first),
                             .first = first});
    if (trace_.routed.size() <= kMostRouted) return {};
    return {ErrorCode::kUnsupported, fmt::format("more than {} choices", kMostRouted)};
  }

  RoutingTrace take() { return std::move(trace_); }

 private:
  static constexpr std::size_t kNone = ~std::size_t{0};
  RoutingTrace trace_;
  std::vector<std::size_t> place_;  // [experts]: of the visit, in trace_.routed, or kNone
};

bool is_recorded(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  std::array<char, kTraceMagic.size()> start{};
  file.read(start.data(), start.size());
  return file.gcount() == start.size() &&
         std::string_view(start.data(), start.size()) == kTraceMagic;
}

}  // namespace

Result<TraceFacts> read_routing(const std::string& path, TraceSink& sink) {
  std::error_code error;
  const auto status = std::filesystem::status(path, error);
  if (!std::filesystem::exists(status)) {
    return Status(ErrorCode::kNotFound, path + ": there is no such file or folder");
  }
  if (std::filesystem::is_directory(status)) return read_packed_trace(path, sink);
  if (std::filesystem::is_regular_file(status) && std::filesystem::file_size(path, error) == 0) {
    return Status(ErrorCode::kCorrupt,
                  path +
                      ": is empty, as what --trace-routing names is until the model is loaded: "
                      "that run may have been killed before");
  }
  return is_recorded(path) ? read_recorded_trace(path, sink) : read_route_csv(path, sink);
}

std::vector<std::string> routing_files(const std::string& path) {
  const std::filesystem::path root(path);
  std::error_code ignored;
  if (!std::filesystem::is_directory(root, ignored)) return {path};
  return {root / kPackedExperts, root / kPackedProbabilities, root / kPackedIndex};
}

Result<RoutingTraceFile> read_routing_trace(const std::string& path) {
  TraceBuilder builder;
  SLUICE_ASSIGN(TraceFacts facts, read_routing(path, builder));
  return RoutingTraceFile{builder.take(), std::move(facts)};
}

}  // namespace sluice::apps
