#pragma once
// What an architecture's name implies. A GGUF file says how many heads there are, but not whether
// the router's weights are renormalised or which elements RoPE pairs: the reader is to know that
// from the name. Here it is spelled out as settings, so that nobody above asks for the name.

#include <span>
#include <string_view>

#include "base/status.h"
#include "formats/checkpoint.h"

namespace sluice {

enum class Container { kGguf, kHuggingFace };

/// One row of the table. `hf_model_type` is the model_type of config.json.
struct Architecture {
  std::string_view name;  // GGUF's
  std::string_view hf_model_type;
  bool interleaved_in_gguf;  // the converter reorders q and k so that pairs are neighbours
  std::string_view
      qk_norm;  // "none", "head": over each head, "projection": over all heads together
  std::string_view router_score;  // "softmax" over all experts, before the choice
  bool renormalise;  // the chosen weights are made to sum to 1, where the checkpoint does not say
  bool hf_renormalise;  // the same for a config.json without norm_topk_prob
  double rope_base;     // where the checkpoint does not say
  double rms_epsilon;
};

std::span<const Architecture> architectures();
/// Null for a name that is not in the table.
const Architecture* find_architecture(std::string_view name);
const Architecture* find_architecture_of_model_type(std::string_view hf_model_type);

/// Adds every setting that the architecture implies or that follows from others or from tensors'
/// shapes, and checks the plain numbers among them for range. What the file says wins. An unknown
/// architecture gets only what follows.
Status complete_settings(Checkpoint& checkpoint, Container container);

}  // namespace sluice
