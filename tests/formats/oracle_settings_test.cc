// Each published architecture, as its config.json says it and as it must come out.

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <fstream>
#include <map>
#include <nlohmann/json.hpp>
#include <set>

#include "formats/checkpoint.h"
#include "formats/settings.h"
#include "tests/support/test_data.h"

namespace sluice {
namespace {

using nlohmann::json;

constexpr const char* kOracles[] = {
    "bailing_moe", "deepseek_v2",   "deepseek_v2_lite", "deepseek_v3",     "deepseek_v3_fp8",
    "dots1",       "ernie4_5_moe",  "gemma4_moe",       "glm4_moe",        "glm4_moe_lite",
    "gpt_oss",     "granitemoe",    "llama4",           "minimax_m2",      "mixtral",
    "olmoe",       "pangu_pro_moe", "phimoe",           "phimoe_longrope", "qwen2_moe",
    "qwen3_5_moe", "qwen3_moe",     "qwen3_next",       "smallthinker",    "qwen3_moe_tied_dense"};

class Oracle : public ::testing::TestWithParam<const char*> {
 protected:
  void SetUp() override {
    const auto path = test::test_data(std::string("oracle/") + GetParam() + "/config.json");
    if (path.empty()) GTEST_SKIP() << "not in the bundled data";
    auto opened = open_checkpoint(path.parent_path().string());
    ASSERT_TRUE(opened.ok()) << opened.status().message();
    checkpoint_ = std::move(*opened);
    std::ifstream stream(path);
    config_ = json::parse(stream);
    if (config_.contains("text_config")) config_ = config_["text_config"];
  }
  std::string text(std::string_view key) const {
    const auto found = checkpoint_.settings.find(key);
    return found == checkpoint_.settings.end() ? "" : setting_text(found->second);
  }
  /// The first of these keys that the config has, as text.
  std::string config(std::initializer_list<const char*> keys) const {
    for (const char* key : keys) {
      if (config_.contains(key) && !config_[key].is_null()) return config_[key].dump();
    }
    return "";
  }
  Checkpoint checkpoint_;
  json config_;
};

TEST_P(Oracle, CountsAreTheConfigs) {
  EXPECT_EQ(text("block_count"), config({"num_hidden_layers"}));
  EXPECT_EQ(text("embedding_length"), config({"hidden_size"}));
  EXPECT_EQ(text("context_length"), config({"max_position_embeddings"}));
  EXPECT_EQ(text("vocab_size"), config({"vocab_size"}));
  EXPECT_EQ(text("attention.head_count"), config({"num_attention_heads"}));
  EXPECT_EQ(text("expert_count"), config({"num_experts", "num_local_experts", "n_routed_experts",
                                          "moe_num_experts", "moe_num_primary_experts"}));
  EXPECT_EQ(text("expert_used_count"), config({"num_experts_per_tok", "moe_k", "top_k_experts",
                                               "moe_num_active_primary_experts"}));
  const bool llama4 = config_["model_type"] == "llama4_text";
  EXPECT_EQ(text("expert_feed_forward_length"),
            llama4 ? config({"intermediate_size"})
                   : config({"moe_intermediate_size", "moe_ffn_hidden_size", "intermediate_size"}));
  EXPECT_EQ(**checkpoint_.real("attention.layer_norm_rms_epsilon"),
            config_["rms_norm_eps"].get<double>());
}

TEST_P(Oracle, EveryTensorHasItsName) {
  EXPECT_TRUE(checkpoint_.unreadable.empty());
  const auto layers = **checkpoint_.integer("block_count");
  std::set<std::string> outside;
  for (const auto& [name, tensor] : checkpoint_.tensors) {
    if (!name.starts_with("blk.")) {
      outside.insert(name);
      continue;
    }
    EXPECT_LT(std::stoi(name.substr(4)), layers) << name;
    EXPECT_EQ(name.find("gate_up"), name.npos) << name;
    EXPECT_EQ(name.find("proj"), name.npos) << name;
  }
  outside.erase("output.weight");  // not where the head is tied
  outside.erase("output.bias");
  outside.erase("output_norm.bias");
  EXPECT_THAT(outside, ::testing::ElementsAre("output_norm.weight", "token_embd.weight"));
}

TEST_P(Oracle, EverySettingIsDefined) {
  for (const auto& [key, value] : checkpoint_.settings) {
    if (key.starts_with("general.")) continue;
    EXPECT_NE(find_setting_rule(key), nullptr) << key;
  }
}

struct Expected {
  const char* oracle;
  const char* key;
  const char* text;  // empty: not there
};
constexpr Expected kExpected[] = {
    {"bailing_moe", "router.groups", "best_two"},
    {"bailing_moe", "router.score", "sigmoid"},
    {"bailing_moe", "router.selection_bias", "true"},
    {"bailing_moe", "attention.qk_norm", "head"},
    {"bailing_moe", "rope.dimension_count", "4"},
    // Group-limited greedy choice; YaRN whose mscale and mscale_all_dim are alike.
    {"deepseek_v2", "router.groups", "best"},
    {"deepseek_v2", "router.score", "softmax"},
    {"deepseek_v2", "router.renormalise", "false"},
    {"deepseek_v2", "expert_weights_scale", "2"},
    {"deepseek_v2", "attention.q_lora_rank", "48"},
    {"deepseek_v2", "attention.key_length", "32"},
    {"deepseek_v2", "rope.dimension_count", "16"},
    {"deepseek_v2", "rope.interleaved", "true"},
    {"deepseek_v2", "expert_layers", "[0, 1, 1, 1]"},
    {"deepseek_v2_lite", "attention.q_lora_rank", ""},
    {"deepseek_v2_lite", "router.groups", ""},
    {"deepseek_v2_lite", "rope.scaling.type", "yarn"},
    {"deepseek_v2_lite", "rope.attention_factor", "1"},
    {"deepseek_v2_lite", "expert_shared_feed_forward_length", "64"},
    {"deepseek_v3", "router.groups", "best_two"},
    {"deepseek_v3", "expert_group_count", "4"},
    {"deepseek_v3", "expert_group_used_count", "2"},
    {"deepseek_v3", "router.score", "sigmoid"},
    {"deepseek_v3", "router.selection_bias", "true"},
    {"deepseek_v3", "router.renormalise", "true"},
    {"deepseek_v3", "expert_weights_scale", "2.5"},
    {"deepseek_v3", "attention.head_count_kv", "1"},
    {"deepseek_v3", "attention.value_length", "16"},
    {"deepseek_v3_fp8", "attention.q_lora_rank", "160"},
    {"dots1", "router.groups", "best_two"},
    {"dots1", "router.score", "sigmoid"},
    {"dots1", "router.renormalise", "true"},
    {"dots1", "router.selection_bias", "true"},
    {"dots1", "expert_weights_scale", "2.5"},
    {"dots1", "expert_layers", "[0, 1, 1]"},
    {"dots1", "expert_shared_feed_forward_length", "32"},
    {"dots1", "attention.qk_norm", "head"},
    {"dots1", "attention.sliding_window", ""},
    {"glm4_moe_lite", "attention.latent_norm_epsilon", "1e-06"},
    {"glm4_moe_lite", "attention.kv_lora_rank", "32"},
    {"glm4_moe_lite", "expert_weights_scale", "1.8"},
    {"glm4_moe", "rope.dimension_count", "16"},
    {"glm4_moe", "attention.qk_norm", "head"},
    {"glm4_moe", "router.selection_bias", "true"},
    {"glm4_moe", "rope.interleaved", "false"},
    {"gpt_oss", "feed_forward.activation", "clamped_swiglu"},
    {"gpt_oss", "feed_forward.swiglu_alpha", "1.702"},
    {"gpt_oss", "feed_forward.swiglu_limit", "7"},
    {"gpt_oss", "attention.sliding_window", "16"},
    {"gpt_oss", "attention.sliding_window_layers", "[1, 0, 1, 0]"},
    {"gpt_oss", "rope.scaling.truncate", "false"},
    {"gpt_oss", "router.score", "softmax"},
    {"gpt_oss", "router.renormalise", "true"},
    {"granitemoe", "attention.scale", "0.2"},
    {"granitemoe", "embedding_scale", "3"},
    {"granitemoe", "residual_scale", "0.4"},
    {"granitemoe", "logit_scale", "0.5"},
    {"granitemoe", "router.renormalise", "true"},
    {"phimoe", "norm.kind", "layer"},
    {"phimoe", "router.score", "sparsemixer"},
    {"phimoe", "router.jitter", "0.01"},
    {"phimoe", "router.renormalise", "false"},
    {"phimoe_longrope", "rope.scaling.type", "longrope"},
    {"phimoe_longrope", "rope.scaling.original_context_length", "32"},
    {"phimoe_longrope", "rope.factors_long", "[1, 1.5, 2, 2.5, 3, 3.5, 4, 4.5]"},
    {"phimoe_longrope", "rope.attention_factor_long", "1.3416407864998738"},
    {"qwen3_next", "attention.recurrent_layers", "[1, 1, 1, 0]"},
    {"qwen3_next", "attention.output_gate", "true"},
    {"qwen3_next", "ssm.state_size", "16"},
    {"qwen3_next", "ssm.group_count", "2"},
    {"qwen3_next", "ssm.time_step_rank", "4"},
    {"qwen3_next", "ssm.inner_size", "64"},
    {"qwen3_next", "ssm.conv_kernel", "4"},
    {"qwen3_next", "rope.dimension_count", "8"},
    {"qwen3_next", "expert_shared_feed_forward_length", "32"},
    {"qwen3_5_moe", "attention.recurrent_layers", "[1, 1, 1, 0]"},
    {"qwen3_5_moe", "rope.dimension_count", "16"},
    {"qwen3_5_moe", "rope.freq_base", "1e+06"},
    {"qwen3_5_moe", "ssm.value_heads_tiled", ""},
    {"minimax_m2", "attention.qk_norm", "projection"},
    {"minimax_m2", "rope.dimension_count", "16"},
    {"minimax_m2", "router.score", "sigmoid"},
    {"minimax_m2", "router.selection_bias", "true"},
    {"llama4", "attention.window_kind", "chunked"},
    {"llama4", "attention.sliding_window", "16"},
    {"llama4", "attention.sliding_window_layers", "[1, 1, 1, 0]"},
    {"llama4", "rope.layers", "[1, 1, 1, 0]"},
    {"llama4", "attention.temperature_scale", "0.1"},
    {"llama4", "attention.temperature_length", "16"},
    {"llama4", "attention.qk_norm", "unweighted"},
    {"llama4", "router.weights_scale_input", "true"},
    {"llama4", "router.score", "sigmoid"},
    {"llama4", "rope.interleaved", "true"},
    {"ernie4_5_moe", "router.selection_bias", "true"},
    {"ernie4_5_moe", "router.score", "softmax"},
    {"ernie4_5_moe", "rope.interleaved", "true"},
    {"ernie4_5_moe", "expert_layers", "[0, 1, 1, 1]"},
    {"ernie4_5_moe", "expert_shared_feed_forward_length", "32"},
    {"gemma4_moe", "attention.key_length", "[16, 16, 16, 32]"},
    {"gemma4_moe", "attention.head_count_kv", "[2, 2, 2, 1]"},
    {"gemma4_moe", "attention.value_is_key_layers", "[0, 0, 0, 1]"},
    {"gemma4_moe", "attention.value_norm", "true"},
    {"gemma4_moe", "attention.scale", "1"},
    {"gemma4_moe", "embedding_scale", "8"},
    {"gemma4_moe", "feed_forward.activation", "gelu_tanh"},
    {"gemma4_moe", "final_logit_softcapping", "30"},
    {"gemma4_moe", "rope.freq_base", "[10000, 10000, 10000, 1e+06]"},
    {"gemma4_moe", "rope.factors_layers", "[0, 0, 0, 1]"},
    {"gemma4_moe", "router.input", "own_norm"},
    {"smallthinker", "router.input", "layer_input"},
    {"smallthinker", "router.score", "sigmoid"},
    {"smallthinker", "feed_forward.activation", "relu"},
    {"smallthinker", "rope.layers", "[0, 1, 1, 1, 0]"},
    {"smallthinker", "attention.sliding_window_layers", "[0, 1, 1, 1, 0]"},
    {"pangu_pro_moe", "router.groups", "one_each"},
    {"pangu_pro_moe", "expert_group_count", "4"},
    {"pangu_pro_moe", "router.renormalise", "false"},
    {"olmoe", "attention.qk_norm", "projection"},
    {"qwen2_moe", "attention.qk_norm", "none"},
    {"qwen3_moe", "attention.qk_norm", "head"},
    {"qwen3_moe_tied_dense", "expert_layers", "[0, 1, 1, 1]"},
};

TEST_P(Oracle, FactsThatTheNameImplies) {
  int checked = 0;
  for (const Expected& expected : kExpected) {
    if (std::string_view(expected.oracle) != GetParam()) continue;
    ++checked;
    EXPECT_EQ(text(expected.key), expected.text) << expected.key;
  }
  EXPECT_TRUE(checked > 0 || std::string_view(GetParam()) == "mixtral");
}

TEST_P(Oracle, AttentionIsScaled) {
  const auto layers = static_cast<std::size_t>(**checkpoint_.integer("block_count"));
  const auto scales = layer_reals(checkpoint_, "attention.scale", layers, 0);
  const auto lengths = layer_integers(checkpoint_, "attention.key_length", layers, 0);
  ASSERT_TRUE(scales.ok() && lengths.ok());
  const std::string_view oracle = GetParam();
  for (std::size_t i = 0; i < layers; ++i) {
    double expected = 1 / std::sqrt(static_cast<double>((*lengths)[i]));
    if (oracle == "deepseek_v2_lite") expected *= std::pow(0.1 * 0.707 * std::log(4.0) + 1, 2);
    if (oracle == "granitemoe") expected = 0.2;
    if (oracle == "gemma4_moe") expected = 1;
    EXPECT_NEAR((*scales)[i], expected, 1e-12);
  }
}

INSTANTIATE_TEST_SUITE_P(Published, Oracle, ::testing::ValuesIn(kOracles),
                         [](const auto& instance) { return std::string(instance.param); });

}  // namespace
}  // namespace sluice
