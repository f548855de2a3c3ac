#include "tests/engine/random_description.h"

#include <algorithm>
#include <cmath>
#include <optional>
#include <vector>

namespace sluice::test {
namespace {

/// What all layers' attention has in common, besides the fields of `attention`.
struct Common {
  AttentionDescription attention;
  RopeDescription rope;
  bool same_shapes = false;
  std::uint32_t rotary_dim = 0;  // where there are factors for it; else each layer has its own
};

RopeDescription random_rope(Random& random, std::uint32_t positions, std::uint32_t rotary_dim) {
  RopeDescription rope;
  rope.interleaved = random.chance(0.5);
  rope.scaling = random.one_of(std::array{RopeScaling::kNone, RopeScaling::kLinear,
                                          RopeScaling::kYarn, RopeScaling::kLongRope});
  if (rope.scaling != RopeScaling::kNone) rope.factor = random.real(1.5, 8);
  if (rope.scaling == RopeScaling::kYarn) {
    // The ramp begins before the last pair, as in every model: what is usually computed where it
    // does not is no interpolation.
    rope.original_context = random.whole(16, 300);
    rope.beta_fast = random.real(4, 32);
    rope.beta_slow = random.real(0.5, 1.5);
    rope.truncate = random.chance(0.5);
  }
  const auto factors = [&] {
    std::vector<double> all;
    for (std::uint32_t i = 0; i < rotary_dim / 2; ++i) all.push_back(random.real(0.5, 4));
    return all;
  };
  if (rotary_dim != 0) rope.factors = factors();
  if (random.chance(0.4)) rope.attention_factor = random.real(0.6, 1.5);
  rope.attention_factor_long = rope.attention_factor;
  if (rope.scaling == RopeScaling::kLongRope) {
    // Either side of it, and the very border.
    rope.original_context = std::max(positions - 1 + random.whole(0, 2), 1u);
    if (rotary_dim != 0) rope.factors_long = factors();
    if (random.chance(0.5)) rope.attention_factor_long = random.real(0.6, 1.5);
  }
  return rope;
}

Common random_common(Random& random, std::uint32_t positions, bool latent) {
  Common common;
  common.same_shapes = random.chance(0.5);
  if (random.chance(0.4)) common.rotary_dim = random.one_of(std::array{4u, 8u});
  common.rope = random_rope(random, positions, common.rotary_dim);

  AttentionDescription& attention = common.attention;
  if (random.chance(0.6)) {
    attention.window = random.whole(1, random.chance(0.5) ? 5 : positions);
    attention.window_in_chunks = random.chance(0.4);
  }
  if (random.chance(0.4)) {
    attention.temperature_scale = random.single(0.1, 0.8);
    attention.temperature_length = random.whole(1, 9);
  }
  if (latent) {
    attention.latent = LatentDescription{.kv_rank = random.whole(3, 20),
                                         .q_rank = random.chance(0.5) ? random.whole(3, 20) : 0,
                                         .norm_epsilon = random.single(1e-6, 0.05)};
    return common;
  }
  attention.qk_norm = random.one_of(
      std::array{QkNorm::kNone, QkNorm::kHead, QkNorm::kProjection, QkNorm::kUnweighted});
  if (random.chance(0.25)) attention.clamp = random.single(0.4, 1.5);
  attention.value_norm = random.chance(0.25);
  attention.output_gate = random.chance(0.3);
  return common;
}

AttentionDescription random_attention(Random& random, const Common& common,
                                      std::vector<RopeDescription>& ropes) {
  AttentionDescription attention = common.attention;
  const bool latent = attention.latent.has_value();
  attention.kv_heads = random.whole(1, 3);
  attention.heads = attention.kv_heads * random.whole(1, 4);
  if (latent) attention.kv_heads = 1;

  const bool turns = latent || random.chance(0.7);
  const std::uint32_t rotary = common.rotary_dim != 0 ? common.rotary_dim : 2 * random.whole(1, 8);
  // Odd where it may be; with latents something is left that does not turn.
  attention.head_dim = random.whole(3, 20);
  if (turns) attention.head_dim = rotary + random.whole(latent ? 1 : 0, 6);
  if (latent) attention.latent->plain_dim = attention.head_dim - rotary;
  if (!latent) attention.value_is_key = random.chance(0.2);
  const bool as_key = attention.value_is_key || attention.output_gate || random.chance(0.4);
  attention.value_dim = as_key ? attention.head_dim : random.whole(1, 24);
  attention.scale = static_cast<float>(1 / std::sqrt(static_cast<double>(attention.head_dim)));
  if (random.chance(0.4)) attention.scale = random.single(0.1, 0.6);
  if (random.chance(0.4)) attention.window = 0;
  if (!turns) return attention;

  RopeDescription rope = common.rope;
  rope.rotary_dim = rotary;
  rope.base = random.chance(0.5) ? random.real(20, 200) : random.real(200, 20000);
  if (random.chance(0.3)) {
    rope.factors.clear();
    rope.factors_long.clear();
  }
  attention.rope = static_cast<std::uint32_t>(ropes.size());
  ropes.push_back(rope);
  return attention;
}

DeltaNetShape random_delta_net(Random& random) {
  DeltaNetShape shape;
  shape.key_heads = random.whole(1, 3);
  shape.value_heads = shape.key_heads * random.whole(1, 3);
  shape.key_dim = random.whole(3, 18);
  shape.value_dim = random.whole(2, 36);
  shape.kernel = random.whole(1, 5);
  shape.value_heads_tiled = random.chance(0.5);
  return shape;
}

RouterDescription random_router(Random& random) {
  RouterDescription router;
  router.score = random.one_of(
      std::array{RouterScore::kSoftmax, RouterScore::kSigmoid, RouterScore::kSparsemixer});
  router.experts = random.whole(2, 17);
  router.top_k = random.whole(1, std::min(router.experts, 5u));
  if (router.score == RouterScore::kSparsemixer) {
    router.jitter = random.single(0.01, 0.5);
  } else {
    router.selection_bias = random.chance(0.4);
    router.groups =
        random.one_of(std::array{RouterGroups::kNone, RouterGroups::kNone, RouterGroups::kBest,
                                 RouterGroups::kBestTwo, RouterGroups::kOneEach});
  }
  if (router.groups != RouterGroups::kNone) {
    const std::uint32_t size = random.whole(1, 5);
    router.group_count = random.whole(1, 6);
    router.groups_used = random.whole(1, router.group_count);
    router.experts = size * router.group_count;
    router.top_k = random.whole(1, std::min(size * router.groups_used, 6u));
    if (router.groups == RouterGroups::kOneEach) router.top_k = router.group_count;
  }
  router.renormalise = random.chance(0.5);
  if (random.chance(0.4)) router.scale = random.single(0.5, 2.5);
  router.weights_scale_input = random.chance(0.2);
  router.input = random.one_of(std::array{RouterInput::kFfnNorm, RouterInput::kFfnNorm,
                                          RouterInput::kLayerInput, RouterInput::kOwnNorm});
  return router;
}

void random_numbers(Random& random, ModelDescription& model) {
  model.vocabulary = random.whole(2, 70);
  model.hidden = random.one_of(std::array{8u, 13u, 16u, 24u, 32u, 40u, 64u});
  model.expert_ffn = random.whole(1, 40);
  model.norm_kind = random.chance(0.3) ? NormKind::kLayer : NormKind::kRms;
  model.norm_epsilon = random.chance(0.5) ? 1e-6f : random.single(1e-5, 0.05);
  if (random.chance(0.3)) model.embedding_scale = random.single(0.3, 4);
  if (random.chance(0.3)) model.residual_scale = random.single(0.2, 1.5);
  if (random.chance(0.3)) model.logit_scale = random.single(0.1, 2);
  if (random.chance(0.3)) model.logit_softcap = random.single(0.5, 4);
  model.activation =
      random.one_of(std::array{Activation::kSilu, Activation::kGeluTanh, Activation::kGelu,
                               Activation::kRelu, Activation::kClampedSwiglu});
  if (model.activation == Activation::kClampedSwiglu) {
    model.swiglu_alpha = random.single(0.8, 2);
    model.swiglu_limit = random.single(0.3, 2);
  }
}

/// Dense, sparse with or without a shared expert, or a dense network beside the experts.
void random_feed_forward(Random& random, LayerDescription& layer) {
  layer.sparse = random.chance(0.75);
  const bool dense = !layer.sparse || random.chance(0.25);
  if (dense) layer.dense_ffn = random.whole(1, 40);
  if (layer.sparse && random.chance(0.4)) layer.shared_ffn = random.whole(1, 40);
}

}  // namespace

ModelDescription random_description(Random& random, std::uint32_t positions) {
  ModelDescription model;
  random_numbers(random, model);
  model.context_length = positions;
  model.router = random_router(random);
  model.layers.resize(random.whole(1, 4));
  const double recurrent = random.chance(0.3) ? 0.6 : 0.0;
  const Common common = random_common(random, positions, /*latent=*/random.chance(0.25));
  std::optional<AttentionDescription> first;
  for (LayerDescription& layer : model.layers) {
    random_feed_forward(random, layer);
    layer.recurrent = random.chance(recurrent);
    if (layer.recurrent) {
      if (model.delta_net.kernel == 0) model.delta_net = random_delta_net(random);
      continue;
    }
    layer.attention =
        common.same_shapes && first ? *first : random_attention(random, common, model.ropes);
    if (!first) first = layer.attention;
  }
  return model;
}

}  // namespace sluice::test
