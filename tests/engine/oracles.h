#pragma once
// The tiny checkpoints of real architectures that have golden logits.

#include <string>
#include <vector>

namespace sluice::test {

/// Models that have a GGUF file beside their folder's tensors.
inline constexpr const char* kOraclesInBoth[] = {"bailing_moe", "deepseek_v2",   "deepseek_v2_lite",
                                                 "deepseek_v3", "dots1",         "gemma4_moe",
                                                 "glm4_moe",    "glm4_moe_lite", "gpt_oss",
                                                 "granitemoe",  "minimax_m2",    "mixtral",
                                                 "olmoe",       "qwen2_moe",     "qwen3_5_moe",
                                                 "qwen3_moe",   "qwen3_next",    "smallthinker"};
inline constexpr const char* kOraclesInFolders[] = {
    "deepseek_v3_fp8", "ernie4_5_moe",        "llama4", "pangu_pro_moe", "phimoe",
    "phimoe_longrope", "qwen3_moe_tied_dense"};

/// Paths below "oracle/": folders, and files in them.
inline std::vector<std::string> oracle_models() {
  std::vector<std::string> all;
  for (const std::string name : kOraclesInFolders) all.push_back(name);
  for (const std::string name : kOraclesInBoth) {
    all.push_back(name);
    all.push_back(name + "/model.gguf");
  }
  return all;
}

}  // namespace sluice::test
