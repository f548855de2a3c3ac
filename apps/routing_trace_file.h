#pragma once
// Recorded routing as it lies on disk: what --trace-routing writes, a folder of packed arrays, or a
// .route.csv, plain or gzipped. Files that nobody vouches for: what is wrong with one is an error
// that names it and the line or the byte.

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "base/status.h"
#include "cache/routing_trace.h"

namespace sluice::apps {

/// What is known before the first visit.
struct TraceShape {
  std::vector<std::uint32_t> experts;       // [layers]
  std::vector<std::uint64_t> expert_bytes;  // [layers], each at least 1
  std::vector<std::uint64_t> slot_bytes;    // as in RoutingTrace
};

/// A layer's turn in one pass.
struct RecordedVisit {
  std::uint32_t layer = 0;  // below TraceShape::experts.size()
  bool decode = true;
  std::span<const RoutedExpert> chosen;     // row after row, each in rank order
  std::span<const std::uint32_t> row_ends;  // [rows]: where a row ends in `chosen`; rising
};

/// Takes a trace as it is read; an error ends the reading and gets the file's name there.
class TraceSink {
 public:
  virtual ~TraceSink() = default;
  virtual Status begin(TraceShape shape) = 0;
  /// The visits of a pass come one after the other. Experts are below what the layer has.
  virtual Status visit(const RecordedVisit& visit) = 0;
};

struct TraceFacts {
  bool knows_bytes = true;  // the file says how large an expert is; else each has one byte
  /// … and how many a layer has; else there are as many as the largest id needs.
  bool knows_experts = true;
  std::string warning;  // what the user ought to know; mostly empty
};

/// `path`: a folder (packed_trace.cc) or a file (recorded_trace.cc, route_csv.cc). kNotFound, kIo,
/// kCorrupt, and kUnsupported for what is no trace.
Result<TraceFacts> read_routing(const std::string& path, TraceSink& sink);

/// The files that `read_routing` reads of it.
std::vector<std::string> routing_files(const std::string& path);

struct RoutingTraceFile {
  RoutingTrace trace;
  TraceFacts facts;
};
/// All of it, each visit's experts once.
Result<RoutingTraceFile> read_routing_trace(const std::string& path);

inline constexpr const char* kPackedExperts = "experts.u8";
inline constexpr const char* kPackedProbabilities = "probs.u16";
inline constexpr const char* kPackedIndex = "index.jsonl";

/// experts.u8: uint8 [token][layer][top_k], in rank order; probs.u16: little-endian uint16 of the
/// same shape, probability × 65535 (optional); index.jsonl: a line a sequence with its "n_tok" and
/// "tok_offset", and "n_expert", the experts of a layer, if it is known: else there are as many as
/// the largest number that occurs needs. Every token is a decode step. No file says how many layers
/// there are: top_k is the longest period in which ranks fall and experts differ everywhere.
Result<TraceFacts> read_packed_trace(const std::string& folder, TraceSink& sink);

/// What routing_recorder.h writes, laid out as recorded_trace.h says. One that ends early, as that
/// of a killed run does, is read as far as it goes, with a warning.
Result<TraceFacts> read_recorded_trace(const std::string& path, TraceSink& sink);

/// Lines "# layer=N expert_bytes=B …", "… n_expert=N …", then rows
/// turn,phase(0 prefill, 1 decode),step,layer,slot,expert,weight,residency,expert_bytes, where
/// expert_bytes are those that were read: the layer's, or 0.
/// All rows of a layer in one turn's prefill are one visit.
Result<TraceFacts> read_route_csv(const std::string& path, TraceSink& sink);

}  // namespace sluice::apps
