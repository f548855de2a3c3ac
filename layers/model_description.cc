#include "layers/model_description.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <cmath>

#include "layers/setting_reader.h"

namespace sluice {
namespace {

template <typename T>
using Choice = SettingReader::Choice<T>;

std::uint32_t add_rope(std::vector<RopeDescription>& ropes, const RopeDescription& rope) {
  const auto found = std::find(ropes.begin(), ropes.end(), rope);
  if (found == ropes.end()) {
    ropes.push_back(rope);
    return static_cast<std::uint32_t>(ropes.size() - 1);
  }
  return static_cast<std::uint32_t>(found - ropes.begin());
}

/// What all layers' rotations have in common.
RopeDescription read_rope(SettingReader& settings) {
  RopeDescription rope;
  rope.interleaved = settings.flag("rope.interleaved", false);
  constexpr Choice<RopeScaling> kScalings[] = {{"none", RopeScaling::kNone},
                                               {"default", RopeScaling::kNone},
                                               {"linear", RopeScaling::kLinear},
                                               {"yarn", RopeScaling::kYarn},
                                               {"longrope", RopeScaling::kLongRope}};
  rope.scaling = settings.one_of("rope.scaling.type", kScalings);
  rope.factor = settings.number("rope.scaling.factor", 1.0);
  if (rope.factor <= 0) settings.fail("the setting 'rope.scaling.factor' is not positive");
  rope.original_context = settings.number("rope.scaling.original_context_length", 0);
  rope.beta_fast = settings.number("rope.scaling.yarn_beta_fast", 32.0);
  rope.beta_slow = settings.number("rope.scaling.yarn_beta_slow", 1.0);
  rope.truncate = settings.flag("rope.scaling.truncate", true);
  rope.attention_factor = settings.number("rope.attention_factor", 1.0);
  rope.attention_factor_long = settings.number("rope.attention_factor_long", rope.attention_factor);
  const bool long_rope = rope.scaling == RopeScaling::kLongRope;
  rope.factors = settings.numbers(long_rope ? "rope.factors_short" : "rope.factors");
  if (long_rope) rope.factors_long = settings.numbers("rope.factors_long");
  const bool needs_original = long_rope || rope.scaling == RopeScaling::kYarn;
  if (needs_original && rope.original_context < 1) {
    settings.fail("the scaling of RoPE needs 'rope.scaling.original_context_length'");
  }
  return rope;
}

/// The layers' rotations.
void read_ropes(SettingReader& settings, ModelDescription& model) {
  const std::size_t layers = model.layers.size();
  const RopeDescription common = read_rope(settings);
  const auto turns = settings.by_layer("rope.layers", layers, 1);
  const auto scaled = settings.by_layer("rope.factors_layers", layers, 1);
  const auto bases = settings.reals_by_layer("rope.freq_base", layers, 10000.0);
  const auto dimensions = settings.by_layer("rope.dimension_count", layers, 0, 2);
  for (std::size_t i = 0; i < layers; ++i) {
    AttentionDescription& attention = model.layers[i].attention;
    if (turns[i] == 0 || model.layers[i].recurrent) continue;
    RopeDescription rope = common;
    rope.base = bases[i];
    rope.rotary_dim = dimensions[i] != 0 ? dimensions[i] : attention.head_dim;
    if (scaled[i] == 0) {
      rope.factors.clear();
      rope.factors_long.clear();
    }
    if (rope.rotary_dim > attention.head_dim || rope.rotary_dim % 2 != 0) {
      settings.fail(fmt::format("RoPE over {} of {} dimensions is impossible", rope.rotary_dim,
                                attention.head_dim));
    }
    if (!(rope.base > 0)) settings.fail("the setting 'rope.freq_base' is not positive");
    for (const auto* factors : {&rope.factors, &rope.factors_long}) {
      if (!factors->empty() && factors->size() != rope.rotary_dim / 2) {
        settings.fail(
            fmt::format("{} factors of RoPE for {} dimensions", factors->size(), rope.rotary_dim));
      }
    }
    attention.rope = add_rope(model.ropes, rope);
  }
}

void read_attention(SettingReader& settings, ModelDescription& model) {
  const std::size_t layers = model.layers.size();
  AttentionDescription common;
  constexpr Choice<QkNorm> kNorms[] = {{"none", QkNorm::kNone},
                                       {"head", QkNorm::kHead},
                                       {"projection", QkNorm::kProjection},
                                       {"unweighted", QkNorm::kUnweighted}};
  common.qk_norm = settings.one_of("attention.qk_norm", kNorms);
  if (const auto clamp = settings.optional_number("attention.clamp_kqv"); clamp && *clamp > 0) {
    common.clamp = static_cast<float>(*clamp);
  }
  common.value_norm = settings.flag("attention.value_norm", false);
  common.output_gate = settings.flag("attention.output_gate", false);
  constexpr Choice<bool> kWindows[] = {{"sliding", false}, {"chunked", true}};
  common.window_in_chunks = settings.one_of("attention.window_kind", kWindows);
  common.temperature_scale =
      static_cast<float>(settings.number("attention.temperature_scale", 0.0));
  common.temperature_length = settings.optional("attention.temperature_length", 1, 1);
  const std::uint32_t window = settings.optional("attention.sliding_window", 0);

  const auto heads = settings.by_layer("attention.head_count", layers, 0);
  const auto kv_heads = settings.by_layer("attention.head_count_kv", layers, 0);
  const auto key_length = settings.by_layer("attention.key_length", layers, 0, 1);
  const auto value_length = settings.by_layer("attention.value_length", layers, 0, 1);
  const auto scales = settings.reals_by_layer("attention.scale", layers, 0.0);
  const auto windowed = settings.by_layer("attention.sliding_window_layers", layers, 1);
  const auto value_is_key = settings.by_layer("attention.value_is_key_layers", layers, 0);
  const auto recurrent = settings.by_layer("attention.recurrent_layers", layers, 0);
  for (std::size_t i = 0; i < layers; ++i) {
    model.layers[i].recurrent = recurrent[i] != 0;
    if (model.layers[i].recurrent) continue;
    AttentionDescription& attention = model.layers[i].attention = common;
    attention.heads = heads[i];
    attention.kv_heads = kv_heads[i] != 0 ? kv_heads[i] : heads[i];
    if (heads[i] == 0) return settings.fail("the setting 'attention.head_count' is missing");
    if (attention.heads % attention.kv_heads != 0) {
      settings.fail(fmt::format("{} query heads cannot share {} key/value heads", attention.heads,
                                attention.kv_heads));
    }
    attention.head_dim = key_length[i] != 0 ? key_length[i] : model.hidden / heads[i];
    attention.value_dim = value_length[i] != 0 ? value_length[i] : attention.head_dim;
    if (attention.head_dim == 0) return settings.fail("heads of no width");
    attention.scale = static_cast<float>(
        scales[i] != 0 ? scales[i] : 1.0 / std::sqrt(static_cast<double>(attention.head_dim)));
    attention.window = windowed[i] != 0 ? window : 0;
    attention.value_is_key = value_is_key[i] != 0;
    if (attention.value_is_key && attention.value_dim != attention.head_dim) {
      settings.fail("values that are keys have another length than they");
    }
    if (attention.output_gate && attention.value_dim != attention.head_dim) {
      settings.fail("gates as long as queries are for values of another length");
    }
  }
}

/// After the ropes: what does not turn of a head's key comes from the latent.
void read_latent(SettingReader& settings, ModelDescription& model) {
  LatentDescription latent;
  latent.kv_rank = settings.optional("attention.kv_lora_rank", 0, 1);
  latent.q_rank = settings.optional("attention.q_lora_rank", 0, 1);
  latent.norm_epsilon =
      static_cast<float>(settings.number("attention.latent_norm_epsilon", model.norm_epsilon));
  if (latent.kv_rank == 0) return;
  for (LayerDescription& layer : model.layers) {
    if (layer.recurrent) continue;
    AttentionDescription& attention = layer.attention;
    const std::uint32_t turning = attention.rope ? model.ropes[*attention.rope].rotary_dim : 0;
    if (attention.kv_heads != 1 || turning == 0 || turning >= attention.head_dim ||
        attention.qk_norm != QkNorm::kNone || attention.clamp || attention.value_norm ||
        attention.output_gate || attention.value_is_key) {
      return settings.fail("latent attention of a kind that is not known", ErrorCode::kUnsupported);
    }
    latent.plain_dim = attention.head_dim - turning;
    attention.latent = latent;
  }
}

void read_delta_net(SettingReader& settings, ModelDescription& model) {
  DeltaNetShape& shape = model.delta_net;
  shape.kernel = settings.optional("ssm.conv_kernel", 0, 1);
  shape.key_dim = settings.optional("ssm.state_size", 0, 1);
  shape.key_heads = settings.optional("ssm.group_count", 0, 1);
  shape.value_heads = settings.optional("ssm.time_step_rank", 0, 1);
  const std::uint32_t inner = settings.optional("ssm.inner_size", 0, 1);
  shape.value_heads_tiled = settings.flag("ssm.value_heads_tiled", false);
  const bool present = std::any_of(model.layers.begin(), model.layers.end(),
                                   [](const LayerDescription& layer) { return layer.recurrent; });
  if (!present) return;
  const bool whole = shape.kernel != 0 && shape.key_dim != 0 && shape.key_heads != 0 &&
                     shape.value_heads != 0 && inner != 0 &&
                     shape.value_heads % shape.key_heads == 0 && inner % shape.value_heads == 0;
  if (!whole) return settings.fail("the settings 'ssm.…' of the recurrent layers do not fit");
  shape.value_dim = inner / shape.value_heads;
}

RouterDescription read_router(SettingReader& settings) {
  RouterDescription router;
  router.experts = settings.required("expert_count");
  router.top_k = settings.required("expert_used_count");
  if (router.top_k > router.experts) {
    settings.fail(fmt::format("{} experts a token of {}", router.top_k, router.experts));
  }
  constexpr Choice<RouterScore> kScores[] = {{"softmax", RouterScore::kSoftmax},
                                             {"sigmoid", RouterScore::kSigmoid},
                                             {"sparsemixer", RouterScore::kSparsemixer}};
  router.score = settings.one_of("router.score", kScores);
  constexpr Choice<RouterGroups> kGroups[] = {{"none", RouterGroups::kNone},
                                              {"best", RouterGroups::kBest},
                                              {"best_two", RouterGroups::kBestTwo},
                                              {"one_each", RouterGroups::kOneEach}};
  router.groups = settings.one_of("router.groups", kGroups);
  constexpr Choice<RouterInput> kInputs[] = {{"ffn_norm", RouterInput::kFfnNorm},
                                             {"layer_input", RouterInput::kLayerInput},
                                             {"own_norm", RouterInput::kOwnNorm}};
  router.input = settings.one_of("router.input", kInputs);
  router.selection_bias = settings.flag("router.selection_bias", false);
  router.jitter = static_cast<float>(settings.number("router.jitter", 0.0));
  router.group_count = settings.optional("expert_group_count", 1, 1);
  router.groups_used = settings.optional("expert_group_used_count", router.group_count, 1);
  if (router.groups == RouterGroups::kNone) router.group_count = router.groups_used = 1;
  if (router.score == RouterScore::kSparsemixer &&
      (router.groups != RouterGroups::kNone || router.selection_bias)) {
    settings.fail("sparsemixer among groups, or with a bias for the selection",
                  ErrorCode::kUnsupported);
  }
  const std::uint32_t of_group = router.experts / router.group_count;
  const bool each = router.groups == RouterGroups::kOneEach;
  if (router.experts % router.group_count != 0 || router.groups_used > router.group_count ||
      (each ? router.top_k != router.group_count : router.groups_used * of_group < router.top_k)) {
    settings.fail(fmt::format("{} of {} experts cannot come from {} of {} groups", router.top_k,
                              router.experts, router.groups_used, router.group_count));
  }
  router.renormalise = settings.flag("router.renormalise", false);
  router.scale = static_cast<float>(settings.number("expert_weights_scale", 1.0));
  if (router.scale == 0.0f) router.scale = 1.0f;  // some converters write 0 for "none"
  router.weights_scale_input = settings.flag("router.weights_scale_input", false);
  return router;
}

void read_numbers(SettingReader& settings, ModelDescription& model) {
  constexpr Choice<NormKind> kNorms[] = {{"rms", NormKind::kRms}, {"layer", NormKind::kLayer}};
  model.norm_kind = settings.one_of("norm.kind", kNorms);
  model.norm_epsilon =
      static_cast<float>(settings.number("attention.layer_norm_rms_epsilon", 1e-6));
  model.embedding_scale = static_cast<float>(settings.number("embedding_scale", 1.0));
  model.residual_scale = static_cast<float>(settings.number("residual_scale", 1.0));
  model.logit_scale = static_cast<float>(settings.number("logit_scale", 1.0));
  if (const auto cap = settings.optional_number("final_logit_softcapping")) {
    model.logit_softcap = static_cast<float>(*cap);
  }
  constexpr Choice<Activation> kActivations[] = {{"silu", Activation::kSilu},
                                                 {"gelu_tanh", Activation::kGeluTanh},
                                                 {"gelu", Activation::kGelu},
                                                 {"relu", Activation::kRelu},
                                                 {"clamped_swiglu", Activation::kClampedSwiglu}};
  model.activation = settings.one_of("feed_forward.activation", kActivations);
  model.swiglu_alpha = static_cast<float>(settings.number("feed_forward.swiglu_alpha", 0.0));
  model.swiglu_limit = static_cast<float>(settings.number("feed_forward.swiglu_limit", 0.0));
}

/// A tensor in a format that this build lacks must not pass for one that the model does without:
/// biases, shared experts and the head are optional.
Status check_readable(const Checkpoint& checkpoint, std::size_t layers) {
  for (const auto& [name, format] : checkpoint.unreadable) {
    constexpr std::string_view kLayer = "blk.";
    std::uint32_t layer = 0;
    if (name.starts_with(kLayer)) {
      std::from_chars(name.data() + kLayer.size(), name.data() + name.size(), layer);
    } else if (!name.starts_with("token_embd") && !name.starts_with("output")) {
      continue;
    }
    if (layer < layers) return checkpoint.require(name).status();
  }
  return {};
}

/// Sparse, dense, both, or with a shared expert: the tensors decide.
void read_feed_forward(const Checkpoint& checkpoint, ModelDescription& model) {
  for (std::size_t i = 0; i < model.layers.size(); ++i) {
    const auto width = [&](std::string_view part) -> std::uint32_t {
      const TensorInfo* tensor = checkpoint.find(fmt::format("blk.{}.{}.weight", i, part));
      const bool usable = tensor != nullptr && !tensor->shape.empty() &&
                          tensor->shape[0] <= std::uint64_t{SettingReader::kMaxWidth};
      return usable ? static_cast<std::uint32_t>(tensor->shape[0]) : 0;
    };
    LayerDescription& layer = model.layers[i];
    layer.sparse = checkpoint.find(fmt::format("blk.{}.ffn_gate_inp.weight", i)) != nullptr;
    layer.dense_ffn = width("ffn_gate");
    layer.shared_ffn = layer.sparse ? width("ffn_gate_shexp") : 0;
  }
}

}  // namespace

Result<ModelDescription> ModelDescription::from(const Checkpoint& checkpoint) {
  ModelDescription model;
  model.architecture = checkpoint.architecture;
  SettingReader settings(checkpoint);
  if (const std::string key = settings.word("file.missing_key", ""); !key.empty()) {
    return Status(ErrorCode::kCorrupt,
                  fmt::format("{}: the key '{}' is missing, without which the architecture '{}' is "
                              "not fully described; convert the model again",
                              checkpoint.settings_file, key, checkpoint.architecture));
  }
  // formats/ spells out the router of every architecture that it knows.
  if (checkpoint.settings.find("router.score") == checkpoint.settings.end()) {
    return Status(ErrorCode::kUnsupported,
                  fmt::format("{}: the architecture '{}' is not one that this version runs",
                              checkpoint.settings_file, checkpoint.architecture));
  }
  constexpr std::string_view kCodes = "weights.unread_codes";
  if (const std::string codes = settings.word(kCodes, ""); !codes.empty()) {
    return Status(
        ErrorCode::kUnsupported,
        fmt::format("{}: the weights are quantised by a method that cannot be read ({}); take a "
                    "GGUF of the model, or its original or FP8 checkpoint",
                    checkpoint.source_of(kCodes), codes));
  }
  model.name = settings.word("general.name", checkpoint.architecture);
  model.hidden = settings.required("embedding_length");
  model.layers.resize(settings.required("block_count", SettingReader::kMaxLayers));
  model.context_length = settings.optional("context_length", 2048, 1);
  SLUICE_TRY(settings.status());
  read_numbers(settings, model);
  read_attention(settings, model);
  SLUICE_TRY(settings.status());
  read_ropes(settings, model);
  read_latent(settings, model);
  read_delta_net(settings, model);
  model.router = read_router(settings);
  const auto dense = settings.by_layer("feed_forward_length", model.layers.size(), 0);
  model.expert_ffn = settings.optional("expert_feed_forward_length", dense.front(), 1);

  SLUICE_TRY(check_readable(checkpoint, model.layers.size()));
  SLUICE_ASSIGN(const TensorInfo* embedding, checkpoint.require("token_embd.weight"));
  if (embedding->shape.size() != 2 ||
      embedding->shape[0] > std::uint64_t{SettingReader::kMaxWidth}) {
    SLUICE_TRY(settings.status());
    return Status(
        ErrorCode::kCorrupt,
        fmt::format("{}: the tensor 'token_embd.weight' is not a matrix, or has too many rows",
                    checkpoint.files[embedding->ranges.front().file]));
  }
  model.vocabulary = static_cast<std::uint32_t>(embedding->shape[0]);
  for (const std::string_view said_by_tensors :
       {"expert_layers", "expert_shared_feed_forward_length", "vocab_size"}) {
    settings.asked(said_by_tensors);
  }
  settings.refuse_what_was_not_asked();
  SLUICE_TRY(settings.status());
  read_feed_forward(checkpoint, model);
  return model;
}

AttentionShape attention_shape(const AttentionDescription& attention, KvType kv_type) {
  AttentionShape shape{.heads = attention.heads,
                       .kv_heads = attention.kv_heads,
                       .head_dim = attention.head_dim,
                       .value_dim = attention.value_dim,
                       .kv_type = kv_type,
                       .scale = attention.scale};
  if (attention.latent) {
    const LatentDescription& latent = *attention.latent;
    shape.head_dim = latent.kv_rank + attention.head_dim - latent.plain_dim;
    shape.value_dim = latent.kv_rank;
    shape.value_in_key = true;
  }
  return shape;
}

}  // namespace sluice
