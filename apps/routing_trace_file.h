#pragma once
// Recorded routing as it lies on disk: a folder of packed arrays, or a .route.csv, plain or
// gzipped. Files that nobody vouches for: what is wrong with one is an error that names it and the
// line or the byte.

#include <cstdint>
#include <string>

#include "base/status.h"
#include "cache/routing_trace.h"

namespace sluice::apps {

struct RoutingTraceFile {
  RoutingTrace trace;
  bool knows_bytes = true;  // the file says how large an expert is; else each has one byte
};

/// `path`: a folder (packed_trace.cc) or a file (route_csv.cc). kNotFound, kIo, kCorrupt, and
/// kUnsupported for what is no trace.
Result<RoutingTraceFile> read_routing_trace(const std::string& path);

/// experts.u8: uint8 [token][layer][top_k], in rank order; probs.u16: little-endian uint16 of the
/// same shape, probability × 65535 (optional); index.jsonl: a line a sequence with its "n_tok" and
/// "tok_offset". Every token is a decode step. No file says how many layers there are: top_k is the
/// longest period in which ranks fall and experts differ everywhere, and a layer has as many
/// experts as the largest number that occurs needs.
Result<RoutingTraceFile> read_packed_trace(const std::string& folder);

/// Lines "# layer=N expert_bytes=B …", "… n_expert=N …", then rows
/// turn,phase(0 prefill, 1 decode),step,layer,slot,expert,weight,residency,expert_bytes.
/// All rows of a layer in one turn's prefill are one event.
Result<RoutingTraceFile> read_route_csv(const std::string& path);

}  // namespace sluice::apps
