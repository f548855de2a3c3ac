// config.json in its variants, and what a folder may lack.

#include "formats/hugging_face.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <numbers>

#include "formats/hf_names.h"
#include "tests/formats/gguf_builder.h"
#include "tests/formats/safetensors_builder.h"
#include "tests/formats/temporary_folder.h"

namespace sluice {
namespace {

using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

class ConfigTest : public ::testing::Test {
 protected:
  Result<Checkpoint> open(const std::string& model_type, const std::string& members,
                          const std::string& generation = "{}") {
    folder_.write("config.json", R"({"model_type":")" + model_type +
                                     R"(","num_hidden_layers":4,"hidden_size":64,)" +
                                     R"("num_attention_heads":4,"max_position_embeddings":4096)" +
                                     (members.empty() ? "" : ",") + members + "}");
    folder_.write("generation_config.json", generation);
    return open_checkpoint(folder_.path(), CheckpointParts::kTokenizerOnly);
  }
  Checkpoint good(const std::string& model_type, const std::string& members,
                  const std::string& generation = "{}") {
    auto checkpoint = open(model_type, members, generation);
    EXPECT_TRUE(checkpoint.ok()) << checkpoint.status().message();
    return checkpoint.ok() ? std::move(*checkpoint) : Checkpoint();
  }
  test::TemporaryFolder folder_;
};

TEST_F(ConfigTest, RenormalisationByModelAndKey) {
  EXPECT_EQ(*good("mixtral", "").boolean("router.renormalise"), true);
  EXPECT_EQ(*good("qwen3_moe", "").boolean("router.renormalise"), false);
  EXPECT_EQ(*good("qwen3_moe", R"("norm_topk_prob":true)").boolean("router.renormalise"), true);
  EXPECT_EQ(*good("qwen2_moe", R"("norm_topk_prob":true)").boolean("router.renormalise"), true);
  EXPECT_EQ(*good("olmoe", R"("norm_topk_prob":false)").boolean("router.renormalise"), false);
}

TEST_F(ConfigTest, WhatTheModelImplies) {
  EXPECT_EQ(*good("mixtral", "").text("attention.qk_norm"), "none");
  EXPECT_EQ(*good("mixtral", "").real("rope.freq_base"), 1e6);
  EXPECT_EQ(*good("mixtral", "").boolean("rope.interleaved"), false);
  EXPECT_EQ(*good("olmoe", "").text("attention.qk_norm"), "projection");
  EXPECT_EQ(*good("qwen3_moe", "").text("attention.qk_norm"), "head");
  EXPECT_EQ(*good("qwen3_moe", "").integer("attention.key_length"), 16);
  EXPECT_EQ(*good("qwen3_moe", R"("head_dim":32)").integer("attention.value_length"), 32);
  EXPECT_EQ(*good("olmoe", R"("clip_qkv":8)").real("attention.clamp_kqv"), 8.0);
  EXPECT_EQ(*good("olmoe", R"("clip_qkv":null)").real("attention.clamp_kqv"), std::nullopt);
}

TEST_F(ConfigTest, SlidingWindows) {
  const auto window = [](const Checkpoint& c) { return *c.integer("attention.sliding_window"); };
  const auto layers = [](const Checkpoint& c) {
    return *c.integers("attention.sliding_window_layers");
  };
  EXPECT_EQ(window(good("mixtral", R"("sliding_window":null)")), std::nullopt);
  EXPECT_EQ(window(good("mixtral", R"("sliding_window":128)")), 128);
  EXPECT_EQ(layers(good("mixtral", R"("sliding_window":128)")), std::nullopt);
  EXPECT_EQ(window(good("olmoe", R"("sliding_window":128)")), std::nullopt);
  EXPECT_EQ(window(good("qwen3_moe", R"("sliding_window":128)")), std::nullopt);
  EXPECT_EQ(window(good("qwen3_moe", R"("sliding_window":128,"use_sliding_window":false)")),
            std::nullopt);
  EXPECT_EQ(window(good("qwen3_moe", R"("sliding_window":128,"use_sliding_window":true)")), 128);
  const auto qwen2 =
      good("qwen2_moe", R"("sliding_window":128,"use_sliding_window":true,"max_window_layers":3)");
  EXPECT_EQ(window(qwen2), 128);
  EXPECT_THAT(*layers(qwen2), ElementsAre(1, 0, 1, 0));
  const auto typed = good(
      "qwen2_moe", R"("sliding_window":128,"use_sliding_window":true,"layer_types":)"
                   R"(["full_attention","sliding_attention","full_attention","full_attention"])");
  EXPECT_THAT(*layers(typed), ElementsAre(0, 1, 0, 0));
  EXPECT_EQ(window(good("qwen2_moe",
                        R"("sliding_window":8,"use_sliding_window":true,"max_window_layers":0)")),
            std::nullopt);
  EXPECT_EQ(window(good("dots1", R"("sliding_window":null,"max_window_layers":3)")), std::nullopt);
  EXPECT_EQ(window(good("dots1", R"("sliding_window":8)")), std::nullopt);
  EXPECT_EQ(window(good("dots1", R"("sliding_window":8,"max_window_layers":62)")), std::nullopt);
  EXPECT_THAT(*layers(good("dots1", R"("sliding_window":8,"max_window_layers":3)")),
              ElementsAre(0, 0, 0, 1));
  const auto dots = good(
      "dots1", R"("sliding_window":8,"max_window_layers":62,"layer_types":)"
               R"(["sliding_attention","full_attention","sliding_attention","full_attention"])");
  EXPECT_EQ(window(dots), 8);
  EXPECT_THAT(*layers(dots), ElementsAre(1, 0, 1, 0));
  EXPECT_EQ(open("qwen2_moe", R"("sliding_window":8,"use_sliding_window":true,"layer_types":[1])")
                .status()
                .code(),
            ErrorCode::kCorrupt);
}

TEST_F(ConfigTest, RopeOfOldAndNew) {
  const auto old_form =
      good("qwen3_moe", R"("rope_theta":5e5,"rope_scaling":{"type":"linear","factor":2})");
  EXPECT_EQ(*old_form.real("rope.freq_base"), 5e5);
  EXPECT_EQ(*old_form.text("rope.scaling.type"), "linear");
  EXPECT_EQ(*old_form.real("rope.scaling.factor"), 2.0);
  const auto new_form =
      good("qwen3_moe", R"("rope_parameters":{"rope_type":"default","rope_theta":1000000})");
  EXPECT_EQ(*new_form.real("rope.freq_base"), 1e6);
  EXPECT_EQ(*new_form.text("rope.scaling.type"), std::nullopt);
  // As model cards say, into a config that has the new form already.
  const auto added =
      good("qwen3_moe", R"("rope_parameters":{"rope_type":"default","rope_theta":1000000},)"
                        R"("rope_scaling":{"rope_type":"linear","factor":4})");
  EXPECT_EQ(*added.real("rope.freq_base"), 1e6);
  EXPECT_EQ(*added.text("rope.scaling.type"), "linear");
  EXPECT_EQ(*added.real("rope.scaling.factor"), 4.0);
  for (const char* none : {"null", "{}"}) {
    const auto kept =
        good("qwen3_moe", R"("rope_parameters":{"rope_type":"linear","factor":3,"rope_theta":7},)"
                          R"("rope_scaling":)" +
                              std::string(none));
    EXPECT_EQ(*kept.real("rope.scaling.factor"), 3.0) << none;
  }
  EXPECT_EQ(*good("deepseek_v3", R"("rope_interleave":false)").boolean("rope.interleaved"), false);
  EXPECT_EQ(*good("deepseek_v3", "").boolean("rope.interleaved"), true);
  const auto llama3 =
      good("mixtral", R"("rope_parameters":{"rope_type":"llama3","rope_theta":500000,)"
                      R"("factor":8,"low_freq_factor":1,"high_freq_factor":4,)"
                      R"("original_max_position_embeddings":8192})");
  // The published formula, pair by pair: 8 pairs of a head of 16.
  const auto factors = *llama3.reals("rope.factors");
  ASSERT_TRUE(factors);
  ASSERT_EQ(factors->size(), 8u);
  for (int i = 0; i < 8; ++i) {
    const double wavelength = 2 * std::numbers::pi * std::pow(500000.0, 2.0 * i / 16);
    const double smooth = (8192 / wavelength - 1) / (4 - 1);
    const double expected = wavelength < 8192.0 / 4 ? 1
                            : wavelength > 8192.0   ? 8
                                                    : 1 / ((1 - smooth) / 8 + smooth);
    EXPECT_NEAR((*factors)[i], expected, 1e-9) << i;
  }
  EXPECT_EQ(*llama3.text("rope.scaling.type"), std::nullopt);
  const auto ratio =
      good("qwen3_moe",
           R"("rope_scaling":{"rope_type":"yarn","original_max_position_embeddings":1024})");
  EXPECT_EQ(*ratio.real("rope.scaling.factor"), 4.0);
  EXPECT_DOUBLE_EQ(**ratio.real("rope.attention_factor"), 1 + 0.1 * std::log(4.0));
  const auto attention =
      good("qwen3_moe", R"("rope_scaling":{"rope_type":"yarn","factor":4,"attention_factor":1})");
  EXPECT_EQ(*attention.real("rope.attention_factor"), 1.0);
  EXPECT_EQ(*attention.integer("rope.scaling.original_context_length"), 4096);
  const auto mscale =
      good("qwen3_moe", R"("rope_scaling":{"rope_type":"yarn","factor":40,"mscale":0.707,)"
                        R"("mscale_all_dim":0.707})");
  EXPECT_EQ(*mscale.real("rope.attention_factor"), 1.0);
}

TEST_F(ConfigTest, LinearScalingHasAFactorAndNoLength) {
  const auto linear = good("qwen3_moe", R"("rope_scaling":{"type":"linear","factor":2,)"
                                        R"("original_max_position_embeddings":1024})");
  EXPECT_EQ(*linear.text("rope.scaling.type"), "linear");
  EXPECT_EQ(*linear.real("rope.scaling.factor"), 2.0);
  EXPECT_EQ(*linear.integer("rope.scaling.original_context_length"), std::nullopt);
  EXPECT_THAT(open("qwen3_moe", R"("rope_scaling":{"type":"linear"})").status().message(),
              HasSubstr("'factor' of rope_type 'linear' is missing"));
}

TEST_F(ConfigTest, DeepSeekV3AsPublished) {
  const auto published = good(
      "deepseek_v3",
      R"("q_lora_rank":1536,"kv_lora_rank":512,"qk_nope_head_dim":128,"qk_rope_head_dim":64,)"
      R"("v_head_dim":128,"n_routed_experts":256,"num_experts_per_tok":8,"n_group":8,)"
      R"("topk_group":4,"topk_method":"noaux_tc","scoring_func":"sigmoid","norm_topk_prob":true,)"
      R"("routed_scaling_factor":2.5,"rope_theta":10000,"num_nextn_predict_layers":1,)"
      R"("rope_scaling":{"beta_fast":32,"beta_slow":1,"factor":40,"mscale":1.0,)"
      R"("mscale_all_dim":1.0,"original_max_position_embeddings":4096,"type":"yarn"})");
  EXPECT_EQ(*published.integer("attention.key_length"), 192);
  EXPECT_EQ(*published.integer("attention.value_length"), 128);
  EXPECT_EQ(*published.integer("rope.dimension_count"), 64);
  EXPECT_EQ(*published.text("router.groups"), "best_two");
  EXPECT_EQ(*published.real("rope.attention_factor"), 1.0);
  const double mscale = 0.1 * std::log(40.0) + 1;
  EXPECT_DOUBLE_EQ(**published.real("attention.scale"), mscale * mscale / std::sqrt(192.0));
  EXPECT_EQ(*published.integer("block_count"), 4);
  const auto kimi = good(
      "kimi_k2", R"("kv_lora_rank":512,"qk_nope_head_dim":128,"qk_rope_head_dim":64,"n_group":1,)"
                 R"("topk_group":1,"topk_method":"noaux_tc","scoring_func":"sigmoid")");
  EXPECT_EQ(kimi.architecture, "deepseek2");
  EXPECT_EQ(*kimi.text("router.groups"), std::nullopt);
  EXPECT_EQ(*kimi.text("router.score"), "sigmoid");
  const auto strange =
      good("deepseek_v3", R"("scoring_func":"sqrtsoftplus","n_routed_experts":16,"n_group":4,)"
                          R"("topk_method":"by_the_moon")");
  EXPECT_EQ(*strange.text("router.score"), "sqrtsoftplus");
  EXPECT_EQ(*strange.text("router.groups"), "by_the_moon");
}

TEST_F(ConfigTest, Llama4AsPublished) {
  const auto scout = good(
      "llama4_text",
      R"("no_rope_layers":[],"attn_temperature_tuning":4,"floor_scale":8192,"attn_scale":0.1,)"
      R"("attention_chunk_size":8192,"intermediate_size":8192,"intermediate_size_mlp":16384,)"
      R"("head_dim":128,"num_local_experts":16,"num_experts_per_tok":1,"use_qk_norm":false,)"
      R"("rope_theta":500000,"rope_scaling":{"factor":16.0,"high_freq_factor":1.0,)"
      R"("low_freq_factor":1.0,"original_max_position_embeddings":8192,"rope_type":"llama3"})");
  EXPECT_THAT(**scout.integers("rope.layers"), ElementsAre(1, 1, 1, 0));
  EXPECT_THAT(**scout.integers("attention.sliding_window_layers"), ElementsAre(1, 1, 1, 0));
  EXPECT_EQ(*scout.integer("attention.temperature_length"), 8192);
  EXPECT_EQ(*scout.integer("expert_feed_forward_length"), 8192);
  EXPECT_EQ(*scout.integer("feed_forward_length"), 16384);
  EXPECT_EQ(*scout.text("attention.qk_norm"), "none");
  const auto factors = **scout.reals("rope.factors");
  ASSERT_EQ(factors.size(), 64u);
  for (int i = 0; i < 64; ++i) {  // a step, where both bounds are one
    const double wavelength = 2 * std::numbers::pi * std::pow(500000.0, 2.0 * i / 128);
    EXPECT_EQ(factors[i], wavelength < 8192 ? 1 : 16) << i;
  }
}

TEST_F(ConfigTest, OtherPublishedSpellings) {
  const auto phi = good(
      "phimoe",
      R"("original_max_position_embeddings":1024,"sliding_window":4096,"rope_scaling":{)"
      R"("type":"longrope","short_factor":[1,1,1,1,1,1,1,1],"long_factor":[1,2,3,4,5,6,7,8]})");
  EXPECT_EQ(*phi.integer("rope.scaling.original_context_length"), 1024);
  EXPECT_DOUBLE_EQ(**phi.real("rope.attention_factor"),
                   std::sqrt(1 + std::log(4.0) / std::log(1024.0)));
  EXPECT_EQ((**phi.reals("rope.factors_long")).back(), 8.0);
  EXPECT_EQ(*phi.integer("attention.sliding_window"), 4096);
  const auto oss = good("gpt_oss", R"("head_dim":64,"sliding_window":128,"swiglu_limit":7.0,)"
                                   R"("experts_per_token":4,"num_local_experts":32)");
  EXPECT_THAT(**oss.integers("attention.sliding_window_layers"), ElementsAre(1, 0, 1, 0));
  EXPECT_EQ(*oss.integer("expert_used_count"), 4);
  EXPECT_EQ(*oss.real("feed_forward.swiglu_alpha"), 1.702);
  const auto next =
      good("qwen3_next", R"("head_dim":256,"linear_num_value_heads":32,)"
                         R"("linear_value_head_dim":128,"full_attention_interval":2)");
  EXPECT_THAT(**next.integers("attention.recurrent_layers"), ElementsAre(1, 0, 1, 0));
  EXPECT_EQ(*next.integer("rope.dimension_count"), 64);
  const auto glm = good("glm4_moe", R"("head_dim":128,"use_qk_norm":false,"n_group":1)");
  EXPECT_EQ(*glm.text("attention.qk_norm"), "none");
  EXPECT_EQ(*glm.integer("rope.dimension_count"), 64);
  const auto small =
      good("smallthinker", R"("moe_primary_router_apply_softmax":true,"rope_layout":[1,1,1,1],)"
                           R"("sliding_window_layout":[0,0,0,0],"sliding_window_size":4096)");
  EXPECT_EQ(*small.text("router.score"), "softmax");
  EXPECT_EQ(*small.integer("attention.sliding_window"), std::nullopt);
  EXPECT_EQ(*small.integers("rope.layers"), std::nullopt);
  EXPECT_EQ(*good("mixtral", R"("norm_head":true)").boolean("output.normalised"), true);
  // The first Ling has the same model_type.
  const auto ling = good("bailing_moe", R"("use_qk_norm":false)");
  EXPECT_EQ(*ling.text("attention.qk_norm"), "none");
  EXPECT_EQ(*ling.text("router.score"), "softmax");
  const auto dots =
      good("dots1", R"("scoring_func":"noaux_tc","n_group":null,"topk_group":null,)"
                    R"("n_routed_experts":128,"num_experts_per_tok":6,"norm_topk_prob":true)");
  EXPECT_EQ(*dots.text("router.score"), "sigmoid");
  EXPECT_EQ(*dots.text("router.groups"), std::nullopt);
  EXPECT_EQ(*dots.boolean("router.renormalise"), true);
  // A nested part without a name of its own has the whole's.
  folder_.write("config.json",
                R"({"model_type":"qwen3_5_moe","text_config":{"num_hidden_layers":4,)"
                R"("hidden_size":64,"num_attention_heads":4}})");
  const auto nested = open_checkpoint(folder_.path(), CheckpointParts::kTokenizerOnly);
  ASSERT_TRUE(nested.ok()) << nested.status().message();
  EXPECT_EQ(nested->architecture, "qwen35moe");
  EXPECT_EQ(*nested->boolean("attention.output_gate"), true);
}

TEST_F(ConfigTest, SamplingOnlyWhereTheModelSamples) {
  const auto samples =
      good("mixtral", "", R"({"do_sample":true,"temperature":0.5,"top_k":20,"top_p":0.9})");
  EXPECT_EQ(*samples.real("sampling.temperature"), 0.5);
  EXPECT_EQ(*samples.integer("sampling.top_k"), 20);
  EXPECT_EQ(*samples.real("sampling.top_p"), 0.9);
  const auto greedy = good("mixtral", "", R"({"temperature":0.5})");
  EXPECT_EQ(*greedy.real("sampling.temperature"), std::nullopt);
}

TEST_F(ConfigTest, AnUnknownArchitectureKeepsItsWords) {
  const auto checkpoint = good("dreamer", R"("dream_depth":3,"lucid":true,"hidden_act":7)");
  EXPECT_EQ(checkpoint.architecture, "dreamer");
  EXPECT_EQ(*checkpoint.integer("block_count"), 4);
  EXPECT_EQ(*checkpoint.integer("config.dream_depth"), 3);
  EXPECT_EQ(*checkpoint.boolean("config.lucid"), true);
}

TEST_F(ConfigTest, HostileValuesAreNamed) {
  const std::pair<const char*, const char*> cases[] = {
      {R"("num_experts":"many")", "'num_experts' is not an integer"},
      {R"("num_experts":1.5)", "'num_experts' is not an integer"},
      {R"("num_experts":-1)", "config.json: 'num_experts': setting 'expert_count' is -1"},
      {R"("n_routed_experts":-1)", "'n_routed_experts': setting 'expert_count' is -1"},
      {R"("num_experts":99999999999999999999)", "'num_experts' is not an integer"},
      {R"("vocab_size":0)", "'vocab_size' is 0"},
      {R"("rms_norm_eps":"x")", "'rms_norm_eps' is not a number"},
      {R"("rope_theta":0)", "'rope_theta': setting 'rope.freq_base' is 0"},
      {R"("rope_scaling":3)", "no object"},
      {R"("norm_topk_prob":1)", "'norm_topk_prob' is not true or false"},
      {R"("num_hidden_layers":5)", "appears twice"},
      {R"("eos_token_id":-2)", "'eos_token_id' -2"},
  };
  for (const auto& [members, message] : cases) {
    SCOPED_TRACE(members);
    const auto checkpoint = open("qwen3_moe", members);
    ASSERT_FALSE(checkpoint.ok());
    EXPECT_EQ(checkpoint.status().code(), ErrorCode::kCorrupt);
    EXPECT_THAT(checkpoint.status().message(), HasSubstr(message));
  }
  folder_.write("config.json", "[1]");
  EXPECT_THAT(open_checkpoint(folder_.path()).status().message(), HasSubstr("config.json"));
  folder_.write("config.json", "{}");
  EXPECT_THAT(open_checkpoint(folder_.path()).status().message(), HasSubstr("model"));
  std::filesystem::remove(folder_.path("config.json"));
  EXPECT_EQ(open_checkpoint(folder_.path()).status().code(), ErrorCode::kNotFound);
}

TEST_F(ConfigTest, ExpertsOfAFolderAreStackedAndOthersNamedWhenNeeded) {
  std::string header = "{";
  for (int expert = 0; expert < 3; ++expert) {
    header += R"("model.layers.1.mlp.experts.)" + std::to_string(2 - expert) +
              R"(.up_proj.weight":{"dtype":"F16","shape":[2,4],"data_offsets":[)" +
              std::to_string(expert * 16) + "," + std::to_string(expert * 16 + 16) + "]},";
  }
  header += R"("lm_head.weight":{"dtype":"F16","shape":[2,2],"data_offsets":[48,56]},)"
            R"("model.norm.weight":{"dtype":"I8","shape":[2],"data_offsets":[56,58]},)"
            R"("extra.thing":{"dtype":"F16","shape":[1],"data_offsets":[58,60]}})";
  folder_.write("model.safetensors",
                test::raw<std::uint64_t>(header.size()) + header + std::string(60, 'd'));
  good("qwen3_moe", R"("tie_word_embeddings":true)");
  const auto checkpoint = open_checkpoint(folder_.path());
  ASSERT_TRUE(checkpoint.ok()) << checkpoint.status().message();
  const TensorInfo* experts = checkpoint->find("blk.1.ffn_up_exps.weight");
  ASSERT_NE(experts, nullptr);
  EXPECT_THAT(experts->shape, ElementsAre(3, 2, 4));
  EXPECT_EQ(experts->slice(0).offset, 8 + header.size() + 32);
  EXPECT_EQ(experts->slice(2).offset, 8 + header.size());
  EXPECT_NE(checkpoint->find("output.weight"), nullptr);  // it is there, whatever the config says
  EXPECT_NE(checkpoint->find("extra.thing"), nullptr);
  EXPECT_THAT(checkpoint->require("output_norm.weight").status().message(), HasSubstr("I8"));
}

TEST_F(ConfigTest, ALostHeadIsNotTheEmbedding) {
  const auto with = [&](const char* name, const char* dtype, const char* members) {
    test::SafetensorsBuilder file;
    file.count_up("model.embed_tokens.weight", {4, 64});
    file.add(name, dtype, {4, 64}, std::string(4 * 64 * 4, 'h'));
    folder_.write("model.safetensors", file.build());
    good("mixtral", members);
    return open_checkpoint(folder_.path());
  };
  const auto lost = with("model.norm.weight", "F32", R"("tie_word_embeddings":false)");
  ASSERT_FALSE(lost.ok());
  EXPECT_THAT(lost.status().message(),
              AllOf(HasSubstr("'lm_head.weight'"), HasSubstr("'tie_word_embeddings'")));
  EXPECT_TRUE(with("model.norm.weight", "F32", R"("tie_word_embeddings":true)").ok());
  EXPECT_TRUE(with("lm_head.weight", "F32", R"("tie_word_embeddings":false)").ok());
  // An empty dtype is none that can be read: the tensor is not used unchecked.
  const auto foreign = with("lm_head.weight", "", R"("tie_word_embeddings":false)");
  ASSERT_TRUE(foreign.ok()) << foreign.status().message();
  EXPECT_EQ(foreign->find("output.weight"), nullptr);
  EXPECT_FALSE(foreign->require("output.weight").ok());
}

TEST_F(ConfigTest, NormsOfQueryAndKeyAreTheArchitecturesNotTheTensors) {
  test::SafetensorsBuilder file;
  file.count_up("model.embed_tokens.weight", {4, 64});
  folder_.write("model.safetensors", file.build());
  const auto norm = [&](const char* model_type, const char* members) {
    good(model_type, members);
    const auto checkpoint = open_checkpoint(folder_.path());
    EXPECT_TRUE(checkpoint.ok()) << checkpoint.status().message();
    return checkpoint.ok() ? *checkpoint->text("attention.qk_norm") : std::nullopt;
  };
  EXPECT_EQ(norm("qwen3_moe", ""), "head");
  EXPECT_EQ(norm("olmoe", ""), "projection");
  // GLM-4.5-Air has none, GLM-4.5 has: GGUF files do not say, config.json does.
  EXPECT_EQ(norm("glm4_moe", ""), "none");
  EXPECT_EQ(norm("glm4_moe", R"("use_qk_norm":true)"), "head");
}

TEST_F(ConfigTest, LayersMayHaveHeadsOfTheirOwn) {
  const std::string usual = R"("head_dim":16,"num_key_value_heads":2,)";
  const auto own = good(
      "qwen3_moe", usual + R"("per_layer_config":{"1":{"head_dim":32,"num_key_value_heads":1}})");
  EXPECT_THAT(*own.integers("attention.key_length").value(), ElementsAre(16, 32, 16, 16));
  EXPECT_THAT(*own.integers("attention.head_count_kv").value(), ElementsAre(2, 1, 2, 2));
  const std::pair<const char*, const char*> bad[] = {{R"({"4":{"head_dim":32}})", "'4'"},
                                                     {R"({"x":{"head_dim":32}})", "'x'"},
                                                     {R"({"1":{"head_dim":"a"}})", "head_dim"},
                                                     {R"({"1":{"hidden_size":8}})", "hidden_size"},
                                                     {R"([1])", "no object"}};
  for (const auto& [value, named] : bad) {
    const auto result = open("qwen3_moe", usual + R"("per_layer_config":)" + value);
    ASSERT_FALSE(result.ok()) << value;
    EXPECT_THAT(result.status().message(), HasSubstr(named));
  }
}

TEST(HfNames, NumbersGoWhereTheyBelong) {
  const auto expert =
      translate_tensor_name("model.layers.31.block_sparse_moe.experts.7.w2.weight", "llama");
  ASSERT_TRUE(expert);
  EXPECT_EQ(expert->name, "blk.31.ffn_down_exps.weight");
  EXPECT_EQ(expert->expert, 7u);
  const auto bias = translate_tensor_name("model.layers.0.self_attn.q_proj.bias", "qwen2moe");
  ASSERT_TRUE(bias);
  EXPECT_EQ(bias->name, "blk.0.attn_q.bias");
  EXPECT_EQ(bias->expert, std::nullopt);
  const std::pair<const char*, const char*> names[] = {
      {"model.language_model.layers.2.linear_attn.A_log", "blk.2.ssm_a"},
      {"language_model.model.layers.2.feed_forward.router.weight", "blk.2.ffn_gate_inp.weight"},
      {"language_model.lm_head.weight", "output.weight"},
      {"model.layers.2.self_attn.sinks", "blk.2.attn_sinks.weight"},
      {"model.layers.2.mlp.gate.e_score_correction_bias", "blk.2.exp_probs_b.bias"},
      {"model.layers.2.self_attn.kv_b_proj.weight_scale_inv", "blk.2.attn_kv_b.weight_scale"},
      {"model.layers.2.mlp.experts.gate_up_proj_scales", "blk.2.ffn_gate_up_exps.weight_scale"},
      {"model.layers.2.block_sparse_moe.router.layer.weight", "blk.2.ffn_gate_inp.weight"},
  };
  for (const auto& [hf, gguf] : names) {
    const auto name = translate_tensor_name(hf, "any");
    ASSERT_TRUE(name) << hf;
    EXPECT_EQ(name->name, gguf);
    EXPECT_EQ(name->expert, std::nullopt);
  }
  const std::string norm = "model.layers.2.post_attention_layernorm.weight";
  EXPECT_EQ(translate_tensor_name(norm, "gemma4")->name, "blk.2.post_attention_norm.weight");
  EXPECT_EQ(translate_tensor_name(norm, "qwen3next")->name, "blk.2.ffn_norm.weight");
  EXPECT_TRUE(
      translate_tensor_name("model.layers.0.self_attn.rotary_emb.inv_freq", "llama")->name.empty());
  EXPECT_TRUE(translate_tensor_name("visual.patch_embed.weight", "llama")->name.empty());
  for (const char* scale : {"self_attn.k_proj.k_scale", "mlp.experts.3.up_proj.input_scale"}) {
    const auto name = translate_tensor_name(std::string("model.layers.0.") + scale, "llama");
    ASSERT_TRUE(name) << scale;
    EXPECT_TRUE(name->name.empty()) << scale;
  }
  // Nobody knows these, but they are the layer's.
  EXPECT_EQ(translate_tensor_name("model.layers.10.self_attn.dream.weight", "llama")->name,
            "blk.10.self_attn.dream.weight");
  EXPECT_EQ(translate_tensor_name("language_model.layers.0.mlp.experts.7.a.b", "llama")->name,
            "blk.0.mlp.experts.7.a.b");
  EXPECT_FALSE(translate_tensor_name("vision.layers.0.dream.weight", "llama"));
  EXPECT_FALSE(translate_tensor_name("nodots", "llama"));
  EXPECT_FALSE(translate_tensor_name("model.layers.99999999999999999999.mlp.gate.weight", "llama"));
}

}  // namespace
}  // namespace sluice
