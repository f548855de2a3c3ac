#pragma once
// What an architecture's name implies. A GGUF file says how many heads there are, but not whether
// the router's weights are renormalised or which elements RoPE pairs: the reader is to know that
// from the name. Here it is a table, so that nobody above asks for the name: completion.cc spells
// it out as settings (settings.cc says what they mean).
//
// A new architecture is a row of kArchitectures, rows of kImplied for what few others have, and,
// for Hugging Face folders, rows of hf_settings.cc and hf_names.cc where it has words of its own.

#include <cstdint>
#include <span>
#include <string_view>
#include <variant>

namespace sluice {

enum class Container : std::uint8_t { kGguf, kHuggingFace };

/// Which elements of a head RoPE turns together.
enum class RopePairs : std::uint8_t {
  kHalves,             // i and i + dimensions / 2
  kInterleaved,        // 2i and 2i + 1
  kInterleavedInGguf,  // halves, but GGUF's converter reorders q and k so that pairs are neighbours
};

/// How a Hugging Face folder of today keeps an expert's gate and up, where it keeps them as one.
enum class FusedExperts : std::uint8_t {
  kGateThenUp,        // [experts, 2 * ffn, hidden], gate's rows first
  kInputMajor,        // the same with the last two dimensions swapped; down is swapped, too
  kInputMajorInTurn,  // [experts, hidden, 2 * ffn], gate and up in turn; down is swapped, too.
                      // In MXFP4 only the rows' turns remain.
};

/// Which layers of a Hugging Face folder see a window only.
enum class WindowRule : std::uint8_t {
  kNever,
  kWhereSet,              // all, where sliding_window is set
  kOnRequest,             // all, where use_sliding_window is true too
  kOnRequestAlternating,  // the same, but only layers by layer_types, or else every second one
                          // below max_window_layers
  kByLayer,               // by layer_types, or else `window_period`
  kLastLayers,            // by layer_types, or else the layers from max_window_layers on
};

/// One row of the table. Several rows of one GGUF name differ in what config.json leaves open; the
/// first of them is what a GGUF file leaves open.
struct Architecture {
  std::string_view name;           // GGUF's
  std::string_view hf_model_type;  // model_type of config.json, without a trailing "_text"
  RopePairs pairs = RopePairs::kHalves;
  std::string_view qk_norm = "none";  // as the setting
  bool qk_norm_by_tensors = false;    // some models of that name do without, where nothing says so
  std::string_view router_score = "softmax";
  bool renormalise = true;     // the chosen weights sum to 1, where the checkpoint does not say
  bool hf_renormalise = true;  // the same for a config.json without norm_topk_prob
  double rope_base = 1e4;      // where config.json does not say
  double epsilon = 1e-6;
  double hf_partial_rotary =
      1;  // share of the head that RoPE turns, where config.json does not say
  WindowRule windows = WindowRule::kNever;
  std::int64_t window_period = 0;  // every so many layers one sees all, and the others a window
  bool window_period_starts_full = false;  // that layer is the first of each group, else the last
  bool last_layer_sees_all = false;        // whatever config.json says
  FusedExperts fused = FusedExperts::kGateThenUp;
  bool hf_norms_are_offsets = false;  // a norm's weight is 1 + what the folder has
  bool dense_too = false;             // GGUF has models of that name without experts
};

std::span<const Architecture> architectures();
/// Null for a name that is not in the table.
const Architecture* find_architecture(std::string_view name);
const Architecture* find_architecture_of_model_type(std::string_view hf_model_type);

/// A setting that goes without saying for an architecture.
struct ImpliedSetting {
  std::string_view architecture;
  std::string_view key;
  std::variant<bool, double, std::string_view> value;
  bool always = false;  // whatever the checkpoint seems to say
};
std::span<const ImpliedSetting> implied_settings();

/// A key that a GGUF file of an architecture must have, since its absence would pass for another
/// model: what llama.cpp requires, where the tensors do not say it better.
struct RequiredKey {
  std::string_view architecture;  // empty: any; with `of_experts`: any that always has experts
  std::string_view key;
  bool of_experts = false;
};
std::span<const RequiredKey> required_in_gguf();

}  // namespace sluice
