#pragma once
// `simulate --machines`: recorded routing on machines with a GPU in virtual time, as a table or
// JSON.

#include <CLI/CLI.hpp>
#include <string>
#include <vector>

#include "base/status.h"

namespace sluice::apps {

struct HybridOptions {
  std::string machines;  // a file; empty: none of this is asked for
  std::vector<std::string> vram{"10%", "25%", "50%", "100%"};
};

/// Returns the option --machines, which the other needs.
CLI::Option* add_hybrid_options(CLI::App& app, HybridOptions& options);

/// `expert_bytes` 0: as the trace says. `threads`: runs at a time; 0: as many as there are
/// processors.
Status simulate_hybrid(const HybridOptions& options, const std::string& trace,
                       std::uint64_t expert_bytes, unsigned threads, bool json);

}  // namespace sluice::apps
