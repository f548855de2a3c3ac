// The settings of a description: what formats/settings.cc says, the other way round.

#include <algorithm>

#include "tests/engine/random_model.h"

namespace sluice::test {
namespace {

using Settings = std::map<std::string, Setting, std::less<>>;

/// One number for each layer.
template <typename Number, typename Field>
std::vector<Number> by_layer(const ModelDescription& model, const Field& field) {
  std::vector<Number> all;
  for (const LayerDescription& layer : model.layers) {
    all.push_back(static_cast<Number>(field(layer)));
  }
  return all;
}

template <typename Field>
std::vector<std::int64_t> integers(const ModelDescription& model, const Field& field) {
  return by_layer<std::int64_t>(model, field);
}

const RopeDescription* rope_of(const ModelDescription& model, const LayerDescription& layer) {
  return layer.attention.rope ? &model.ropes[*layer.attention.rope] : nullptr;
}

std::int64_t whole(double value) { return static_cast<std::int64_t>(value); }

void say_ropes(const ModelDescription& model, Settings& settings) {
  settings["rope.layers"] =
      integers(model, [&](const auto& layer) { return rope_of(model, layer) != nullptr; });
  if (model.ropes.empty()) return;
  settings["rope.dimension_count"] = integers(model, [&](const auto& layer) {
    const RopeDescription* rope = rope_of(model, layer);
    return rope != nullptr ? rope->rotary_dim : 2;
  });
  settings["rope.freq_base"] = by_layer<double>(model, [&](const auto& layer) {
    const RopeDescription* rope = rope_of(model, layer);
    return rope != nullptr ? rope->base : 1.0;
  });
  // They differ in which of them have the factors.
  const auto scaled = std::find_if(model.ropes.begin(), model.ropes.end(),
                                   [](const auto& rope) { return !rope.factors.empty(); });
  const RopeDescription& rope = scaled != model.ropes.end() ? *scaled : model.ropes.front();
  settings["rope.interleaved"] = rope.interleaved;
  settings["rope.attention_factor"] = rope.attention_factor;
  const bool is_long = rope.scaling == RopeScaling::kLongRope;
  if (!rope.factors.empty()) {
    settings[is_long ? "rope.factors_short" : "rope.factors"] = rope.factors;
    if (is_long) settings["rope.factors_long"] = rope.factors_long;
    settings["rope.factors_layers"] = integers(model, [&](const auto& layer) {
      return rope_of(model, layer) != nullptr && !rope_of(model, layer)->factors.empty();
    });
  }
  switch (rope.scaling) {
    case RopeScaling::kNone:
      return;
    case RopeScaling::kLinear:
      settings["rope.scaling.type"] = std::string("linear");
      break;
    case RopeScaling::kYarn:
      settings["rope.scaling.type"] = std::string("yarn");
      settings["rope.scaling.original_context_length"] = whole(rope.original_context);
      settings["rope.scaling.yarn_beta_fast"] = rope.beta_fast;
      settings["rope.scaling.yarn_beta_slow"] = rope.beta_slow;
      settings["rope.scaling.truncate"] = rope.truncate;
      break;
    case RopeScaling::kLongRope:
      settings["rope.scaling.type"] = std::string("longrope");
      settings["rope.scaling.original_context_length"] = whole(rope.original_context);
      settings["rope.attention_factor_long"] = rope.attention_factor_long;
      break;
  }
  settings["rope.scaling.factor"] = rope.factor;
}

void say_attention(const ModelDescription& model, Settings& settings) {
  const auto any = [&](const auto& field) {
    return std::any_of(model.layers.begin(), model.layers.end(), field);
  };
  settings["attention.recurrent_layers"] =
      integers(model, [](const auto& layer) { return layer.recurrent; });
  const auto attends = std::find_if(model.layers.begin(), model.layers.end(),
                                    [](const auto& layer) { return !layer.recurrent; });
  if (attends == model.layers.end()) return;
  const AttentionDescription& common = attends->attention;
  settings["attention.head_count"] =
      integers(model, [](const auto& layer) { return layer.attention.heads; });
  settings["attention.head_count_kv"] =
      integers(model, [](const auto& layer) { return layer.attention.kv_heads; });
  settings["attention.key_length"] =
      integers(model, [](const auto& layer) { return std::max(layer.attention.head_dim, 1u); });
  settings["attention.value_length"] =
      integers(model, [](const auto& layer) { return std::max(layer.attention.value_dim, 1u); });
  settings["attention.scale"] =
      by_layer<double>(model, [](const auto& layer) { return layer.attention.scale; });
  constexpr const char* kNorms[] = {"none", "head", "projection", "unweighted"};
  settings["attention.qk_norm"] = std::string(kNorms[static_cast<int>(common.qk_norm)]);
  if (common.clamp) settings["attention.clamp_kqv"] = double{*common.clamp};
  settings["attention.value_norm"] = common.value_norm;
  settings["attention.output_gate"] = common.output_gate;
  if (any([](const auto& layer) { return layer.attention.value_is_key; })) {
    settings["attention.value_is_key_layers"] =
        integers(model, [](const auto& layer) { return layer.attention.value_is_key; });
  }
  const auto windowed = std::find_if(model.layers.begin(), model.layers.end(),
                                     [](const auto& layer) { return layer.attention.window != 0; });
  if (windowed != model.layers.end()) {
    settings["attention.sliding_window"] = std::int64_t{windowed->attention.window};
    settings["attention.sliding_window_layers"] =
        integers(model, [](const auto& layer) { return layer.attention.window != 0; });
    settings["attention.window_kind"] =
        std::string(common.window_in_chunks ? "chunked" : "sliding");
  }
  if (common.temperature_scale != 0) {
    settings["attention.temperature_scale"] = double{common.temperature_scale};
    settings["attention.temperature_length"] = std::int64_t{common.temperature_length};
  }
  if (!common.latent) return;
  settings["attention.kv_lora_rank"] = std::int64_t{common.latent->kv_rank};
  if (common.latent->q_rank != 0) {
    settings["attention.q_lora_rank"] = std::int64_t{common.latent->q_rank};
  }
  settings["attention.latent_norm_epsilon"] = double{common.latent->norm_epsilon};
}

void say_delta_net(const DeltaNetShape& shape, Settings& settings) {
  if (shape.kernel == 0) return;
  settings["ssm.conv_kernel"] = std::int64_t{shape.kernel};
  settings["ssm.state_size"] = std::int64_t{shape.key_dim};
  settings["ssm.group_count"] = std::int64_t{shape.key_heads};
  settings["ssm.time_step_rank"] = std::int64_t{shape.value_heads};
  settings["ssm.inner_size"] = std::int64_t{shape.value_heads} * shape.value_dim;
  settings["ssm.value_heads_tiled"] = shape.value_heads_tiled;
}

void say_router(const RouterDescription& router, Settings& settings) {
  constexpr const char* kScores[] = {"softmax", "sigmoid", "sparsemixer"};
  constexpr const char* kGroups[] = {"none", "best", "best_two", "one_each"};
  constexpr const char* kInputs[] = {"ffn_norm", "layer_input", "own_norm"};
  settings["expert_count"] = std::int64_t{router.experts};
  settings["expert_used_count"] = std::int64_t{router.top_k};
  settings["router.score"] = std::string(kScores[static_cast<int>(router.score)]);
  settings["router.selection_bias"] = router.selection_bias;
  settings["router.groups"] = std::string(kGroups[static_cast<int>(router.groups)]);
  settings["router.input"] = std::string(kInputs[static_cast<int>(router.input)]);
  if (router.groups != RouterGroups::kNone) {
    settings["expert_group_count"] = std::int64_t{router.group_count};
    settings["expert_group_used_count"] = std::int64_t{router.groups_used};
  }
  if (router.score == RouterScore::kSparsemixer) settings["router.jitter"] = double{router.jitter};
  settings["router.renormalise"] = router.renormalise;
  settings["expert_weights_scale"] = double{router.scale};
  settings["router.weights_scale_input"] = router.weights_scale_input;
}

}  // namespace

Settings settings_of(const ModelDescription& model) {
  constexpr const char* kActivations[] = {"silu", "gelu_tanh", "gelu", "relu", "clamped_swiglu"};
  Settings settings;
  settings["block_count"] = static_cast<std::int64_t>(model.layers.size());
  settings["context_length"] = std::int64_t{model.context_length};
  settings["embedding_length"] = std::int64_t{model.hidden};
  settings["vocab_size"] = std::int64_t{model.vocabulary};
  settings["embedding_scale"] = double{model.embedding_scale};
  settings["residual_scale"] = double{model.residual_scale};
  settings["logit_scale"] = double{model.logit_scale};
  if (model.logit_softcap) settings["final_logit_softcapping"] = double{*model.logit_softcap};
  settings["norm.kind"] = std::string(model.norm_kind == NormKind::kLayer ? "layer" : "rms");
  settings["attention.layer_norm_rms_epsilon"] = double{model.norm_epsilon};
  settings["feed_forward_length"] =
      integers(model, [](const auto& layer) { return layer.dense_ffn; });
  settings["feed_forward.activation"] =
      std::string(kActivations[static_cast<int>(model.activation)]);
  if (model.activation == Activation::kClampedSwiglu) {
    settings["feed_forward.swiglu_alpha"] = double{model.swiglu_alpha};
    settings["feed_forward.swiglu_limit"] = double{model.swiglu_limit};
  }
  settings["expert_layers"] = integers(model, [](const auto& layer) { return layer.sparse; });
  settings["expert_feed_forward_length"] = std::int64_t{model.expert_ffn};
  say_attention(model, settings);
  say_ropes(model, settings);
  say_delta_net(model.delta_net, settings);
  say_router(model.router, settings);
  return settings;
}

}  // namespace sluice::test
