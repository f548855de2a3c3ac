#include "formats/settings.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <cmath>
#include <limits>
#include <type_traits>
#include <utility>

namespace sluice {
namespace {

using enum SettingKind;

constexpr double kAny = std::numeric_limits<double>::max();
constexpr double kTiny = 1e-9;
constexpr double kLongest = 2147483648.0;  // positions
// Wide enough for any model to come, narrow enough that products of a few of them stay inside 63
// bits.
constexpr double kWidth = 1 << 24;
constexpr double kCount = 1 << 16;

constexpr auto kRules = std::to_array<SettingRule>({
    // The model as a whole.
    {"block_count", kInteger, 1, kCount, "", "layers, without those that only predict ahead (MTP)"},
    {"context_length", kInteger, 1, kLongest, "", "positions that the model was made for"},
    {"embedding_length", kInteger, 1, kWidth, "", "hidden width"},
    {"vocab_size", kInteger, 1, 1 << 28, "", "rows of the embedding"},
    {"file.missing_key", kText, 0, 0, "",
     "the file's own name for a setting that its architecture must have, and that it lacks"},
    {"weights.unread_codes", kText, 0, 0, "",
     "the method that quantised the weights, where nothing here reads what it writes"},
    {"embedding_scale", kReal, -kAny, kAny, "1", "multiplies the embeddings"},
    {"residual_scale", kReal, -kAny, kAny, "1",
     "multiplies what attention and what the feed-forward part add to the residual"},
    {"logit_scale", kReal, -kAny, kAny, "1", "multiplies the logits"},
    {"final_logit_softcapping", kReal, kTiny, kAny, "", "c: logits become c tanh(logit / c)"},
    {"output.normalised", kBoolean, 0, 0, "false",
     "the head's columns are divided by their lengths"},
    {"embedding_length_per_layer_input", kInteger, 0, kWidth, "0",
     "width of embeddings that every layer adds for itself"},

    // Norms. Whether they have a bias is for the tensors to say.
    {"norm.kind", kText, 0, 0, "rms", "\"rms\"; \"layer\": LayerNorm with mean and bias"},
    {"attention.layer_norm_rms_epsilon", kReal, 0, 1, "", "of every norm, whichever its kind"},

    // Attention. Biases (attn_q.bias …), sinks (attn_sinks.weight, a logit a head that takes part
    // in
    // the softmax and in nothing else) and norms after the attention (post_attention_norm) are for
    // the tensors to say.
    {"attention.head_count", kLayerIntegers, 0, kCount, "", "query heads"},
    {"attention.head_count_kv", kLayerIntegers, 0, kCount, "",
     "key and value heads; 1 with attention.kv_lora_rank: all heads share one compressed row"},
    {"attention.key_length", kLayerIntegers, 1, 1 << 20, "", "of a head's query and key"},
    {"attention.value_length", kLayerIntegers, 1, 1 << 20, "", "of a head's value"},
    {"attention.scale", kLayerReals, -kAny, kAny, "", "multiplies q·k"},
    {"attention.clamp_kqv", kReal, 0, kAny, "",
     "q, k and v are clamped to plus or minus this, after the norms before RoPE"},
    {"attention.qk_norm", kText, 0, 0, "none",
     "norm of q and k: \"none\"; before RoPE, with weights, \"head\" (each head for itself) or "
     "\"projection\" (all heads as one vector); \"unweighted\": each head for itself, without "
     "weights, after RoPE, and only in layers that have it"},
    {"attention.value_norm", kBoolean, 0, 0, "false",
     "each head's value is RMS-normalised, without weights"},
    {"attention.value_is_key_layers", kLayerFlags, 0, 1, "",
     "1: the layer has no attn_v; its values are what attn_k gives, before norm and RoPE"},
    {"attention.output_gate", kBoolean, 0, 0, "false",
     "attn_q has, for every head, a query and then a gate as long as it; what the head gives is "
     "multiplied by the gate's sigmoid before attn_output"},
    {"attention.sliding_window", kInteger, 0, kLongest, "0",
     "positions that a row sees, itself and those before it; 0: all"},
    {"attention.sliding_window_layers", kLayerFlags, 0, 1, "", "1: has the window; absent: all do"},
    {"attention.window_kind", kText, 0, 0, "sliding",
     "\"sliding\"; \"chunked\": a row sees those of its own run of so many positions, counted from "
     "position 0"},
    {"attention.temperature_scale", kReal, 0, kAny, "0",
     "s: in layers without RoPE the query at position p is multiplied by "
     "1 + s ln(floor((p + 1) / attention.temperature_length) + 1)"},
    {"attention.temperature_length", kInteger, 1, kLongest, "", "see attention.temperature_scale"},
    {"attention.shared_kv_layers", kInteger, 0, kCount, "0",
     "so many last layers use the keys and values of earlier ones"},
    {"attention.q_lora_rank", kInteger, 1, kWidth, "",
     "the query is attn_q_b (attn_q_a_norm (attn_q_a x)) through so narrow a middle; absent: "
     "attn_q"},
    {"attention.latent_norm_epsilon", kReal, 0, 1, "", "of attn_q_a_norm and attn_kv_a_norm"},
    {"attention.kv_lora_rank", kInteger, 1, kWidth, "",
     "multi-head latent attention: attn_kv_a_mqa gives a latent so wide (to be normalised by "
     "attn_kv_a_norm) and one rotary key after it; a head's key is attn_k_b^T latent (attn_k_b: "
     "[heads, rank, key_length - rotary]) and then the rotary key, its value attn_v_b latent "
     "(attn_v_b: [heads, value_length, rank]); a query's rotary part comes last, too"},

    // Layers whose attention is recurrent: tensors attn_qkv, attn_gate, ssm_*.
    {"attention.recurrent_layers", kLayerFlags, 0, 1, "",
     "1: a gated delta net instead of attention: q, k, v = attn_qkv x go through the convolution "
     "ssm_conv1d and SiLU; q and k are L2-normalised (1e-6 added under the root), q times "
     "1/sqrt(state_size); decay = exp(ssm_a softplus(ssm_alpha x + ssm_dt.bias)), beta = "
     "sigmoid(ssm_beta x); the output "
     "is RMS-normalised with ssm_norm, multiplied by SiLU(attn_gate x), and goes through ssm_out"},
    {"ssm.conv_kernel", kInteger, 1, 1 << 10, "", "positions that the convolution sees"},
    {"ssm.state_size", kInteger, 1, 1 << 20, "", "of a key head"},
    {"ssm.group_count", kInteger, 1, kCount, "", "key heads"},
    {"ssm.time_step_rank", kInteger, 1, kCount, "", "value heads"},
    {"ssm.inner_size", kInteger, 1, kWidth, "", "of all value heads together"},
    {"ssm.value_heads_tiled", kBoolean, 0, 0, "false",
     "value head v uses key head v mod (key heads); else v / (value heads per key head)"},

    // RoPE.
    {"rope.layers", kLayerFlags, 0, 1, "", "1: the layer has RoPE; absent: all have"},
    {"rope.dimension_count", kLayerIntegers, 2, 1 << 20, "",
     "dimensions of a head that turn: the first ones, with attention.kv_lora_rank the last ones"},
    {"rope.freq_base", kLayerReals, 1e-6, 1e15, "",
     "pair i turns base^(-2i / dimensions) a position"},
    {"rope.interleaved", kBoolean, 0, 0, "false",
     "pairs are (2i, 2i + 1), else (i, i + dimensions / 2)"},
    {"rope.scaling.type", kText, 0, 0, "none",
     "\"linear\": frequencies / factor; \"yarn\"; \"longrope\": see rope.factors_long"},
    {"rope.scaling.factor", kReal, 1e-6, 1e9, "", "how much longer than the original context"},
    {"rope.scaling.original_context_length", kInteger, 1, kLongest, "",
     "of YaRN's ramp, and beyond which LongRoPE's long factors hold"},
    {"rope.scaling.yarn_beta_fast", kReal, kTiny, kAny, "32", "turns at the ramp's fast end"},
    {"rope.scaling.yarn_beta_slow", kReal, kTiny, kAny, "1", "turns at the ramp's slow end"},
    {"rope.scaling.truncate", kBoolean, 0, 0, "true",
     "the ramp's ends are rounded outwards to whole pairs"},
    {"rope.attention_factor", kReal, kTiny, kAny, "1",
     "multiplies cosine and sine; of LongRoPE, with the short factors"},
    {"rope.attention_factor_long", kReal, kTiny, kAny, "", "the same with the long factors"},
    {"rope.factors", kReals, kTiny, kAny, "", "pair i's frequency is divided by the i-th of these"},
    {"rope.factors_layers", kLayerFlags, 0, 1, "",
     "1: rope.factors, or the short and the long ones, hold; absent: everywhere"},
    {"rope.factors_short", kReals, kTiny, kAny, "",
     "rope.factors of a context opened for no more than the original length"},
    {"rope.factors_long", kReals, kTiny, kAny, "", "and of a longer one"},

    // Feed-forward networks.
    {"feed_forward_length", kLayerIntegers, 0, kWidth, "", "width of dense ones"},
    {"feed_forward.activation", kText, 0, 0, "silu",
     "\"silu\", \"gelu_tanh\", \"gelu\", \"relu\": f(gate) up; \"clamped_swiglu\": with gate "
     "limited from above and up both ways to swiglu_limit, gate sigmoid(swiglu_alpha gate) (up + "
     "1)"},
    {"feed_forward.swiglu_alpha", kReal, -kAny, kAny, "", "see feed_forward.activation"},
    {"feed_forward.swiglu_limit", kReal, 0, kAny, "", "see feed_forward.activation"},
    {"expert_layers", kLayerFlags, 0, 1, "",
     "1: the layer has routed experts, else a dense network; absent: all have. A layer with both "
     "(ffn_gate beside ffn_gate_inp) adds both: ffn_norm, network, post_ffw_norm_1 and "
     "pre_ffw_norm_2, experts, post_ffw_norm_2, and post_ffw_norm of the sum"},
    {"expert_count", kInteger, 0, kCount, "", "of a layer"},
    {"expert_used_count", kInteger, 0, kCount, "", "of a layer, for a token"},
    {"expert_feed_forward_length", kInteger, 0, kWidth, "", "width of an expert"},
    {"expert_shared_feed_forward_length", kInteger, 0, kWidth, "0",
     "of all experts together that every token uses (ffn_*_shexp; with ffn_gate_inp_shexp "
     "multiplied by its sigmoid)"},

    // Routers. A bias (ffn_gate_inp.bias) and a scale of every expert's output
    // (ffn_down_exps.scale)
    // are for the tensors to say.
    {"router.score", kText, 0, 0, "",
     "an expert's score: \"softmax\" over all (softmax over the chosen alone is the same and "
     "renormalised), \"sigmoid\"; \"sparsemixer\": the best, weighed by the softmax of all logits "
     "that are within 2 jitter of it, relative to the larger magnitude; then the best of the "
     "others "
     "likewise"},
    {"router.jitter", kReal, 0, 1, "", "of sparsemixer"},
    {"router.selection_bias", kBoolean, 0, 0, "false",
     "exp_probs_b.bias is added to the scores for the choice, not for the weights"},
    {"router.groups", kText, 0, 0, "none",
     "\"none\"; only the best groups are chosen from, by their best score (\"best\") or by the sum "
     "of their two best (\"best_two\"); \"one_each\": each group's best is chosen"},
    {"expert_group_count", kInteger, 1, kCount, "", "equal groups of neighbouring experts"},
    {"expert_group_used_count", kInteger, 1, kCount, "", "groups that are chosen from"},
    {"router.renormalise", kBoolean, 0, 0, "", "the chosen weights are made to sum to 1"},
    {"expert_weights_scale", kReal, -kAny, kAny, "1", "multiplies the weights after that"},
    {"router.weights_scale_input", kBoolean, 0, 0, "false",
     "the weight multiplies the expert's input, not its output"},
    {"router.input", kText, 0, 0, "ffn_norm",
     "what the router reads: \"ffn_norm\": what the experts read; \"layer_input\": the residual "
     "before attention; \"own_norm\": the residual after attention, RMS-normalised without "
     "weights, times ffn_gate_inp.scale / sqrt(hidden width)"},

    // Recommended by the model's makers.
    {"sampling.temperature", kReal, 0, kAny, "", ""},
    {"sampling.top_k", kInteger, -1, kLongest, "", ""},
    {"sampling.top_p", kReal, 0, kAny, "", ""},
    {"sampling.min_p", kReal, 0, kAny, "", ""},
    {"sampling.repeat_penalty", kReal, 0, kAny, "", ""},
});

std::string number_text(double value) {
  std::array<char, 32> text{};
  const auto end = std::to_chars(text.data(), text.data() + text.size(), value).ptr;
  return {text.data(), end};
}

template <typename T>
std::string list_text(const std::vector<T>& values) {
  std::string text = "[";
  for (const T& value : values) {
    if (text.size() > 1) text += ", ";
    text += setting_text(Setting(value));
  }
  return text + "]";
}

/// The numbers of a setting that has any; empty for a text or a boolean.
std::vector<double> numbers_of(const Setting& setting) {
  if (const auto* integer = std::get_if<std::int64_t>(&setting)) {
    return {static_cast<double>(*integer)};
  }
  if (const auto* real = std::get_if<double>(&setting)) return {*real};
  if (const auto* integers = std::get_if<std::vector<std::int64_t>>(&setting)) {
    return {integers->begin(), integers->end()};
  }
  if (const auto* reals = std::get_if<std::vector<double>>(&setting)) return *reals;
  return {};
}

bool is_kind(const Setting& setting, SettingKind kind) {
  const bool integer = std::holds_alternative<std::int64_t>(setting);
  const bool integers = std::holds_alternative<std::vector<std::int64_t>>(setting);
  const bool real = integer || std::holds_alternative<double>(setting);
  const bool reals = integers || std::holds_alternative<std::vector<double>>(setting);
  switch (kind) {
    case kInteger:
      return integer;
    case kReal:
      return real;
    case kBoolean:
      return std::holds_alternative<bool>(setting);
    case kText:
      return std::holds_alternative<std::string>(setting);
    case kReals:
      return reals;
    case kLayerIntegers:
      return integer || integers;
    case kLayerReals:
      return real || reals;
    case kLayerFlags:
      return integers;
  }
  return false;
}

std::string_view kind_text(SettingKind kind) {
  switch (kind) {
    case kInteger:
      return "an integer";
    case kReal:
      return "a number";
    case kBoolean:
      return "true or false";
    case kText:
      return "a text";
    case kReals:
      return "a list of numbers";
    case kLayerIntegers:
      return "an integer or one for each layer";
    case kLayerReals:
      return "a number or one for each layer";
    case kLayerFlags:
      return "a list of 0 and 1 for each layer";
  }
  return {};
}

Status wrong(std::string_view key, const std::string& what) {
  return Status(ErrorCode::kCorrupt, "setting '" + std::string(key) + "' " + what);
}

template <typename T>
Result<std::vector<T>> spread(std::string_view key, Result<std::optional<std::vector<T>>> list,
                              Result<std::optional<T>> single, std::size_t layers, T otherwise) {
  if (list.ok() && list->has_value()) {
    if ((*list)->size() != layers) return wrong(key, "does not have one for each layer");
    return **std::move(list);
  }
  SLUICE_ASSIGN(const auto value, std::move(single));
  return std::vector<T>(layers, value.value_or(otherwise));
}

}  // namespace

std::span<const SettingRule> setting_rules() { return kRules; }

const SettingRule* find_setting_rule(std::string_view key) {
  const auto found = std::ranges::find(kRules, key, &SettingRule::key);
  return found == kRules.end() ? nullptr : &*found;
}

Status check_settings(const Checkpoint& checkpoint) {
  for (const SettingRule& rule : kRules) {
    const auto found = checkpoint.settings.find(rule.key);
    if (found == checkpoint.settings.end()) continue;
    // Advice, to be passed over where it is nonsense by whoever samples.
    if (rule.key.starts_with("sampling.")) continue;
    const Setting& setting = found->second;
    if (!is_kind(setting, rule.kind)) {
      return wrong(rule.key, "is not " + std::string(kind_text(rule.kind)));
    }
    const std::vector<double> numbers = numbers_of(setting);
    for (const double number : numbers) {
      if (!(number >= rule.least && number <= rule.most)) {
        return wrong(rule.key, "is " + number_text(number) + ", which is out of range");
      }
    }
    const bool by_layer =
        rule.kind == kLayerIntegers || rule.kind == kLayerReals || rule.kind == kLayerFlags;
    const bool list = std::holds_alternative<std::vector<std::int64_t>>(setting) ||
                      std::holds_alternative<std::vector<double>>(setting);
    const auto layers = checkpoint.integer("block_count");
    if (by_layer && list && layers.ok() && *layers &&
        numbers.size() != static_cast<std::size_t>(**layers)) {
      return wrong(rule.key, "has " + std::to_string(numbers.size()) + " entries for " +
                                 std::to_string(**layers) + " layers");
    }
  }
  return {};
}

Result<std::vector<std::int64_t>> layer_integers(const Checkpoint& checkpoint, std::string_view key,
                                                 std::size_t layers, std::int64_t otherwise) {
  return spread(key, checkpoint.integers(key), checkpoint.integer(key), layers, otherwise);
}

Result<std::vector<double>> layer_reals(const Checkpoint& checkpoint, std::string_view key,
                                        std::size_t layers, double otherwise) {
  return spread(key, checkpoint.reals(key), checkpoint.real(key), layers, otherwise);
}

std::string setting_text(const Setting& setting) {
  return std::visit(
      [](const auto& value) -> std::string {
        using Value = std::decay_t<decltype(value)>;
        if constexpr (std::is_same_v<Value, bool>) {
          return value ? "true" : "false";
        } else if constexpr (std::is_same_v<Value, std::int64_t>) {
          return std::to_string(value);
        } else if constexpr (std::is_same_v<Value, double>) {
          return number_text(value);
        } else if constexpr (std::is_same_v<Value, std::string>) {
          return value;
        } else {
          return list_text(value);
        }
      },
      setting);
}

}  // namespace sluice
