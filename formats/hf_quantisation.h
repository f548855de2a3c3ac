#pragma once
// How the weights of a Hugging Face folder are coded, as its config.json says it.

#include <nlohmann/json.hpp>
#include <string>

#include "base/status.h"
#include "formats/coded_tensors.h"

namespace sluice {

struct Quantisation {
  std::string unread;     // the method, where its codes are none that are read; else empty
  std::string key;        // of config.json, that says so
  ScaleBlock block = {};  // codes that share a scale; absent where the config does not say
};

/// Floats, FP8 with scales, and MXFP4 are read, whoever wrote them. kCorrupt names the key whose
/// value is of the wrong kind.
Result<Quantisation> read_quantisation(const nlohmann::json& config);

}  // namespace sluice
