// What a config.json means where keys are left out: what Transformers' configuration classes
// (5.23) fill in, key by key, as settings.

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>

#include "formats/checkpoint.h"
#include "formats/settings.h"
#include "tests/formats/temporary_folder.h"

namespace sluice {
namespace {

class Defaults : public ::testing::Test {
 protected:
  /// What comes of a config.json with these members beside its model_type.
  Checkpoint open(const std::string& model_type, const std::string& members = "") {
    folder_.write("config.json", R"({"model_type":")" + model_type + "\"" +
                                     (members.empty() ? "" : ",") + members + "}");
    auto checkpoint = open_checkpoint(folder_.path(), CheckpointParts::kTokenizerOnly);
    EXPECT_TRUE(checkpoint.ok()) << model_type << ": " << checkpoint.status().message();
    return checkpoint.ok() ? std::move(*checkpoint) : Checkpoint();
  }
  static std::string text(const Checkpoint& checkpoint, std::string_view key) {
    const auto found = checkpoint.settings.find(key);
    return found == checkpoint.settings.end() ? "" : setting_text(found->second);
  }
  test::TemporaryFolder folder_;
};

struct Shape {
  const char* model_type;
  const char* layers;
  const char* hidden;
  const char* heads;
  const char* kv_heads;
  const char* key_length;
  const char* rotary;
  const char* experts;
  const char* chosen;  // empty: the class does not say either
  const char* expert_width;
  const char* context;
  const char* rope_base;
  const char* epsilon;
  const char* renormalise;
};
constexpr Shape kShapes[] = {
    {"mixtral", "32", "4096", "32", "8", "128", "128", "8", "2", "14336", "131072", "1e+06",
     "1e-05", "true"},
    {"qwen2_moe", "24", "2048", "16", "16", "128", "128", "60", "4", "1408", "32768", "10000",
     "1e-06", "false"},
    {"qwen3_moe", "24", "2048", "32", "4", "64", "64", "128", "8", "768", "32768", "10000", "1e-06",
     "false"},
    {"olmoe", "16", "2048", "16", "16", "128", "128", "64", "8", "2048", "4096", "10000", "1e-05",
     "false"},
    {"deepseek_v2", "32", "4096", "32", "1", "192", "64", "64", "", "1407", "2048", "10000",
     "1e-06", "false"},
    {"deepseek_v3", "61", "7168", "128", "1", "192", "64", "256", "8", "2048", "4096", "10000",
     "1e-06", "true"},
    {"glm4_moe_lite", "47", "2048", "20", "1", "256", "64", "64", "4", "1536", "202752", "10000",
     "1e-05", "true"},
    {"glm4_moe", "46", "4096", "96", "8", "", "21", "128", "8", "1408", "131072", "10000", "1e-05",
     "true"},
    {"gpt_oss", "36", "2880", "64", "8", "64", "64", "128", "4", "2880", "131072", "150000",
     "1e-05", "true"},
    {"granitemoe", "32", "4096", "32", "32", "128", "128", "8", "2", "11008", "2048", "10000",
     "1e-06", "true"},
    {"granitemoeshared", "32", "4096", "32", "32", "128", "128", "8", "2", "11008", "2048", "10000",
     "1e-06", "true"},
    {"phimoe", "32", "4096", "32", "8", "128", "128", "16", "2", "6400", "131072", "1e+06", "1e-05",
     "false"},
    {"minimax_m2", "62", "3072", "48", "8", "128", "128", "256", "8", "1536", "196608", "5e+06",
     "1e-06", "true"},
    {"ernie4_5_moe", "28", "2560", "20", "4", "128", "128", "64", "6", "1536", "131072", "5e+05",
     "1e-05", "true"},
    {"qwen3_next", "48", "2048", "16", "2", "256", "64", "512", "10", "512", "32768", "10000",
     "1e-06", "true"},
    {"qwen3_5_moe_text", "40", "2048", "16", "2", "256", "64", "256", "8", "512", "32768", "10000",
     "1e-06", "true"},
    {"llama4_text", "48", "5120", "40", "8", "128", "128", "16", "1", "8192", "131072", "5e+05",
     "1e-05", "false"},
    {"dots1", "62", "4608", "32", "32", "144", "144", "", "", "1408", "2048", "10000", "1e-06",
     "false"},
};

TEST_F(Defaults, ShapesOfAnEmptyConfig) {
  for (const Shape& shape : kShapes) {
    SCOPED_TRACE(shape.model_type);
    const Checkpoint model = open(shape.model_type);
    EXPECT_EQ(text(model, "block_count"), shape.layers);
    EXPECT_EQ(text(model, "embedding_length"), shape.hidden);
    EXPECT_EQ(text(model, "attention.head_count"), shape.heads);
    EXPECT_EQ(text(model, "attention.head_count_kv"), shape.kv_heads);
    EXPECT_EQ(text(model, "attention.key_length"), shape.key_length);
    EXPECT_EQ(text(model, "rope.dimension_count"), shape.rotary);
    EXPECT_EQ(text(model, "expert_count"), shape.experts);
    EXPECT_EQ(text(model, "expert_used_count"), shape.chosen);
    EXPECT_EQ(text(model, "expert_feed_forward_length"), shape.expert_width);
    EXPECT_EQ(text(model, "context_length"), shape.context);
    EXPECT_EQ(text(model, "rope.freq_base"), shape.rope_base);
    EXPECT_EQ(text(model, "attention.layer_norm_rms_epsilon"), shape.epsilon);
    EXPECT_EQ(text(model, "router.renormalise"), shape.renormalise);
  }
}

struct Fact {
  const char* model_type;
  const char* members;
  const char* key;
  const char* text;
};
constexpr Fact kFacts[] = {
    {"deepseek_v2", "", "attention.q_lora_rank", "1536"},
    {"deepseek_v2", "", "attention.kv_lora_rank", "512"},
    {"deepseek_v2", "", "attention.value_length", "128"},
    {"deepseek_v2", R"("q_lora_rank":null)", "attention.q_lora_rank", ""},
    {"deepseek_v2", R"("n_group":8,"topk_group":3)", "router.groups", ""},  // "greedy"
    {"deepseek_v3", "", "expert_weights_scale", "2.5"},
    {"deepseek_v3", "", "expert_group_count", "8"},
    {"deepseek_v3", "", "expert_group_used_count", "4"},
    {"deepseek_v3", "", "router.groups", "best_two"},
    {"deepseek_v3", R"("n_group":1,"topk_group":1)", "router.groups", ""},
    {"deepseek_v3", R"("q_lora_rank":null)", "attention.q_lora_rank", ""},
    {"glm4_moe_lite", "", "expert_weights_scale", "1.8"},
    {"glm4_moe_lite", "", "attention.q_lora_rank", "768"},
    {"glm4_moe_lite", "", "attention.value_length", "256"},
    {"gpt_oss", "", "attention.sliding_window", "128"},
    {"gpt_oss", "", "rope.scaling.type", "yarn"},
    {"gpt_oss", "", "rope.scaling.factor", "32"},
    {"gpt_oss", "", "rope.scaling.truncate", "false"},
    {"gpt_oss", "", "rope.scaling.original_context_length", "4096"},
    {"gpt_oss", R"("rope_scaling":null)", "rope.scaling.factor", "32"},
    {"gpt_oss", R"("rope_scaling":{"rope_type":"default"})", "rope.scaling.type", ""},
    {"gpt_oss", R"("rope_parameters":{"rope_type":"yarn","factor":4.0})", "rope.scaling.factor",
     "4"},
    {"gpt_oss", R"("sliding_window":null)", "attention.sliding_window", ""},
    {"granitemoe", "", "attention.scale", "1"},
    {"granitemoe", R"("attention_multiplier":0.5)", "attention.scale", "0.5"},
    {"phimoe", "", "router.jitter", "0.01"},
    {"phimoe", R"("router_jitter_noise":0.0)", "router.jitter", "0"},
    {"minimax_m2", R"("rotary_dim":64)", "rope.dimension_count", "64"},
    {"ernie4_5_moe", R"("num_experts_per_tok":3)", "expert_used_count", "3"},
    {"mixtral", R"("num_experts":4)", "expert_count", "4"},  // the same by another name
    {"qwen2_moe", "", "attention.sliding_window", ""},
    {"qwen2_moe", R"("use_sliding_window":true,"num_hidden_layers":2)", "attention.sliding_window",
     "4096"},
    {"qwen3_moe", R"("use_sliding_window":true)", "attention.sliding_window", "4096"},
    {"qwen3_next", R"("num_hidden_layers":4)", "attention.recurrent_layers", "[1, 1, 1, 0]"},
    {"qwen3_5_moe_text", R"("num_hidden_layers":4)", "attention.recurrent_layers", "[1, 1, 1, 0]"},
    {"qwen3_5_moe_text", "", "ssm.inner_size", "4096"},
    {"qwen3_5_moe_text", "", "ssm.group_count", "16"},
    {"qwen3_5_moe_text", "", "ssm.time_step_rank", "32"},
    {"qwen3_5_moe_text", "", "ssm.conv_kernel", "4"},
    {"llama4_text", "", "feed_forward_length", "16384"},
    {"llama4_text", "", "attention.sliding_window", "8192"},
    {"llama4_text", R"("num_hidden_layers":4)", "rope.layers", "[1, 1, 1, 0]"},
    {"llama4_text", "", "attention.temperature_length", "8192"},
    {"dots1", "", "attention.sliding_window", ""},
    {"dots1", R"("num_hidden_layers":3,"max_window_layers":2)", "attention.sliding_window", "4096"},
    {"dots1", R"("num_hidden_layers":3,"max_window_layers":2)", "attention.sliding_window_layers",
     "[0, 0, 1]"},
    {"gemma4_text", "", "attention.sliding_window", "512"},
    {"gemma4_text", "", "embedding_length_per_layer_input", "256"},
    {"gemma4_text", "", "embedding_scale", "48"},
    {"gemma4_text", R"("num_hidden_layers":6)", "attention.key_length",
     "[256, 256, 256, 256, 256, 512]"},
    {"gemma4_text", R"("num_hidden_layers":6)", "rope.freq_base",
     "[10000, 10000, 10000, 10000, 10000, 1e+06]"},
    // The last layer sees all, whatever the pattern says.
    {"gemma4_text", R"("num_hidden_layers":3)", "attention.sliding_window_layers", "[1, 1, 0]"},
    {"gemma4_text", R"("num_hidden_layers":2,"layer_types":["full_attention","sliding_attention"])",
     "attention.key_length", "512"},
    // Fewer key heads only where they are values, too.
    {"gemma4_text", R"("num_hidden_layers":2,"num_global_key_value_heads":1)",
     "attention.head_count_kv", "4"},
    {"gemma4_text",
     R"("num_hidden_layers":2,"num_global_key_value_heads":1,"attention_k_eq_v":true)",
     "attention.head_count_kv", "[4, 1]"},
    // What layers have of their own replaces the rule for those that see all.
    {"gemma4_text", R"("num_hidden_layers":2,"per_layer_config":{"1":{"head_dim":128}})",
     "attention.key_length", "[256, 128]"},
    {"gemma4_text",
     R"("num_hidden_layers":3,"global_head_dim":64,"attention_k_eq_v":true,)"
     R"("num_global_key_value_heads":1,)"
     R"("per_layer_config":{"0":{"head_dim":32},"2":{"head_dim":128,"num_key_value_heads":2}})",
     "attention.key_length", "[32, 256, 128]"},
    {"gemma4_text",
     R"("num_hidden_layers":3,"global_head_dim":64,"attention_k_eq_v":true,)"
     R"("num_global_key_value_heads":1,"per_layer_config":{"2":{"num_key_value_heads":2}})",
     "attention.head_count_kv", "[4, 4, 2]"},
};

TEST_F(Defaults, FactsOfShortConfigs) {
  for (const Fact& fact : kFacts) {
    EXPECT_EQ(text(open(fact.model_type, fact.members), fact.key), fact.text)
        << fact.model_type << " {" << fact.members << "} " << fact.key;
  }
}

// Their classes are not Transformers'; a guess could be wrong.
TEST_F(Defaults, OthersHaveNone) {
  for (const char* model_type : {"kimi_k2", "smallthinker", "PanguProMoE", "bailing_moe"}) {
    const Checkpoint model = open(model_type);
    EXPECT_EQ(text(model, "expert_used_count"), "") << model_type;
    EXPECT_EQ(text(model, "attention.head_count"), "") << model_type;
  }
}

}  // namespace
}  // namespace sluice
