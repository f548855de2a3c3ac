#pragma once
// Hit rates over capacity as one page that needs nothing else: inline SVG and a table, no script.

#include <string>
#include <vector>

#include "apps/run_files.h"
#include "base/status.h"

namespace sluice::apps {

struct SimulatedCurve {
  std::string policy;
  std::vector<double> hit_rates;  // [capacities] of decode, 0 to 1
};

struct SimulatedCurves {
  std::string trace;                    // what was replayed, as a title
  bool decode = true;                   // rates are those of decode steps; else of all
  std::vector<std::string> capacities;  // as they were written
  std::vector<double> shares;           // [capacities] of all experts' bytes, 0 to 1
  std::vector<SimulatedCurve> curves;
};

std::string chart_html(const SimulatedCurves& curves);
/// Errors are those of OutputFile.
Status write_chart(const std::string& path, const RunFiles& files, const SimulatedCurves& curves);

}  // namespace sluice::apps
