// Tensors that files keep fused, transposed, in turn or in codes: the numbers that come out.

#include "formats/tensor_arrangement.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <fstream>
#include <span>

#include "formats/checkpoint.h"
#include "formats/stored_layout.h"
#include "tests/formats/gguf_builder.h"
#include "tests/formats/safetensors_builder.h"
#include "tests/formats/temporary_folder.h"

namespace sluice {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

constexpr const char* kCommon =
    R"("num_hidden_layers":1,"hidden_size":4,"num_attention_heads":2,"max_position_embeddings":64,)"
    R"("num_local_experts":3,"num_experts_per_tok":2,"intermediate_size":2,"n_group":1)";

std::vector<std::byte> read(const Checkpoint& checkpoint, const FileRange& range) {
  std::ifstream stream(checkpoint.files[range.file], std::ios::binary);
  stream.seekg(static_cast<std::streamoff>(range.offset));
  std::vector<std::byte> bytes(range.bytes);
  stream.read(reinterpret_cast<char*>(bytes.data()), static_cast<std::streamsize>(range.bytes));
  EXPECT_TRUE(stream.good());
  return bytes;
}

std::vector<float> floats(const Checkpoint& checkpoint, std::string_view name) {
  const TensorInfo* tensor = checkpoint.find(name);
  if (tensor == nullptr) {
    ADD_FAILURE() << name << " is missing";
    return {};
  }
  std::vector<float> all;
  for (std::size_t i = 0; i < tensor->ranges.size(); ++i) {
    const auto bytes = read(checkpoint, tensor->ranges[i]);
    if (tensor->stored) {
      std::vector<std::byte> scales;
      if (!tensor->stored->scales.empty()) scales = read(checkpoint, tensor->stored->scales[i]);
      std::vector<float> part(tensor->elements() / tensor->ranges.size());
      const Status status = decode_range(*tensor, bytes, scales, part);
      EXPECT_TRUE(status.ok()) << status.message();
      all.insert(all.end(), part.begin(), part.end());
    } else {
      const TensorFormat& format = tensor_format(tensor->type);
      std::vector<float> part(bytes.size() / format.block_bytes * format.block_elements);
      format.decode(bytes.data(), part.data(), part.size());
      all.insert(all.end(), part.begin(), part.end());
    }
  }
  EXPECT_EQ(all.size(), tensor->elements()) << name;
  return all;
}

class FolderTest : public ::testing::Test {
 protected:
  Result<Checkpoint> open(const std::string& model_type, const std::string& members = "") {
    folder_.write("config.json", "{\"model_type\":\"" + model_type + "\"," + kCommon +
                                     (members.empty() ? "" : ",") + members + "}");
    folder_.write("model.safetensors", tensors_.build());
    return open_checkpoint(folder_.path());
  }
  Checkpoint good(const std::string& model_type, const std::string& members = "") {
    auto checkpoint = open(model_type, members);
    EXPECT_TRUE(checkpoint.ok()) << checkpoint.status().message();
    return checkpoint.ok() ? std::move(*checkpoint) : Checkpoint();
  }
  /// expected(expert, row, column) for gate, up [3, 2, 4] or down [3, 4, 2].
  template <typename Expected>
  void expect_experts(const Checkpoint& checkpoint, std::string_view part, std::size_t rows,
                      std::size_t columns, Expected expected) {
    const std::string name = "blk.0." + std::string(part) + ".weight";
    const TensorInfo* tensor = checkpoint.find(name);
    ASSERT_NE(tensor, nullptr) << name;
    EXPECT_THAT(tensor->shape, ElementsAre(3, rows, columns));
    const std::vector<float> values = floats(checkpoint, name);
    ASSERT_EQ(values.size(), 3 * rows * columns);
    for (std::size_t e = 0, i = 0; e < 3; ++e) {
      for (std::size_t r = 0; r < rows; ++r) {
        for (std::size_t c = 0; c < columns; ++c, ++i) {
          EXPECT_EQ(values[i], static_cast<float>(expected(e, r, c))) << name << " " << i;
        }
      }
    }
  }
  test::TemporaryFolder folder_;
  test::SafetensorsBuilder tensors_;
};

TEST_F(FolderTest, GateAndUpOneAfterTheOtherAreRangesForEachExpert) {
  tensors_.count_up("model.layers.0.mlp.experts.gate_up_proj", {3, 4, 4});
  tensors_.count_up("model.layers.0.mlp.experts.down_proj", {3, 4, 2});
  const Checkpoint checkpoint = good("mixtral");
  expect_experts(checkpoint, "ffn_gate_exps", 2, 4,
                 [](auto e, auto r, auto c) { return e * 16 + r * 4 + c; });
  expect_experts(checkpoint, "ffn_up_exps", 2, 4,
                 [](auto e, auto r, auto c) { return e * 16 + 8 + r * 4 + c; });
  expect_experts(checkpoint, "ffn_down_exps", 4, 2,
                 [](auto e, auto r, auto c) { return e * 8 + r * 2 + c; });
  const TensorInfo* up = checkpoint.find("blk.0.ffn_up_exps.weight");
  EXPECT_FALSE(up->stored);
  EXPECT_EQ(up->ranges.size(), 3u);
  EXPECT_EQ(up->slice(1).bytes, 2 * 4 * sizeof(float));
}

TEST_F(FolderTest, InputMajorExpertsAreTransposed) {
  tensors_.count_up("language_model.model.layers.0.feed_forward.experts.gate_up_proj", {3, 4, 4});
  tensors_.count_up("language_model.model.layers.0.feed_forward.experts.down_proj", {3, 2, 4});
  const Checkpoint checkpoint = good("llama4_text");
  expect_experts(checkpoint, "ffn_gate_exps", 2, 4,
                 [](auto e, auto r, auto c) { return e * 16 + c * 4 + r; });
  expect_experts(checkpoint, "ffn_up_exps", 2, 4,
                 [](auto e, auto r, auto c) { return e * 16 + c * 4 + 2 + r; });
  expect_experts(checkpoint, "ffn_down_exps", 4, 2,
                 [](auto e, auto r, auto c) { return e * 8 + c * 4 + r; });
  // Each expert can be loaded alone.
  EXPECT_EQ(checkpoint.find("blk.0.ffn_down_exps.weight")->ranges.size(), 3u);
  EXPECT_EQ(checkpoint.find("blk.0.ffn_up_exps.weight")->ranges.size(), 3u);
}

TEST_F(FolderTest, GateAndUpInTurnWithBiases) {
  tensors_.count_up("model.layers.0.mlp.experts.gate_up_proj", {3, 4, 4});
  tensors_.count_up("model.layers.0.mlp.experts.gate_up_proj_bias", {3, 4}, 100);
  tensors_.count_up("model.layers.0.mlp.experts.down_proj", {3, 2, 4});
  const Checkpoint checkpoint = good("gpt_oss");
  expect_experts(checkpoint, "ffn_gate_exps", 2, 4,
                 [](auto e, auto r, auto c) { return e * 16 + c * 4 + 2 * r; });
  expect_experts(checkpoint, "ffn_up_exps", 2, 4,
                 [](auto e, auto r, auto c) { return e * 16 + c * 4 + 2 * r + 1; });
  EXPECT_THAT(checkpoint.find("blk.0.ffn_gate_exps.bias")->shape, ElementsAre(3, 2));
  EXPECT_THAT(floats(checkpoint, "blk.0.ffn_gate_exps.bias"),
              ElementsAre(100, 102, 104, 106, 108, 110));
  EXPECT_THAT(floats(checkpoint, "blk.0.ffn_up_exps.bias"),
              ElementsAre(101, 103, 105, 107, 109, 111));
}

TEST_F(FolderTest, Mxfp4BlocksAndExponentsBecomeBlocksOfOurs) {
  // Down of one expert and one row: codes 0 to 15 twice, element by element; exponent 2^1.
  std::string blocks;
  for (int i = 0; i < 16; ++i) blocks += static_cast<char>((2 * i) % 16 | ((2 * i + 1) % 16) << 4);
  tensors_.add("model.layers.0.mlp.experts.down_proj_blocks", "U8", {1, 1, 1, 16}, blocks);
  tensors_.add("model.layers.0.mlp.experts.down_proj_scales", "U8", {1, 1, 1},
               std::string(1, static_cast<char>(128)));
  const Checkpoint checkpoint = good("gpt_oss");
  const TensorInfo* down = checkpoint.find("blk.0.ffn_down_exps.weight");
  ASSERT_NE(down, nullptr);
  EXPECT_EQ(down->type, TensorType::kMXFP4);
  EXPECT_THAT(down->shape, ElementsAre(1, 1, 32));
  const std::vector<float> values = floats(checkpoint, "blk.0.ffn_down_exps.weight");
  constexpr float kE2M1[] = {0, 0.5, 1, 1.5, 2, 3, 4, 6};
  for (int i = 0; i < 32; ++i) {
    const float magnitude = 2 * kE2M1[i % 8];
    EXPECT_EQ(values[i], i % 16 < 8 ? magnitude : -magnitude) << i;
  }
  std::vector<std::byte> relaid(17);
  const auto stored = read(checkpoint, down->ranges[0]);
  const auto exponents = read(checkpoint, down->stored->scales[0]);
  ASSERT_TRUE(relay_range(*down, stored, exponents, relaid).ok());
  std::vector<float> again(32);
  tensor_format(TensorType::kMXFP4).decode(relaid.data(), again.data(), 32);
  EXPECT_EQ(again, values);
  EXPECT_FALSE(relay_range(*down, stored, {}, relaid).ok());
  EXPECT_FALSE(relay_range(*down, std::span(stored).first(8), exponents, relaid).ok());
}

/// A byte of FP8 for each number, by the format's definition.
float fp8(unsigned code) {
  const int exponent = static_cast<int>(code >> 3 & 15);
  const double fraction = (code & 7) / 8.0;
  const double value =
      exponent == 0 ? std::pow(2.0, -6) * fraction : std::pow(2.0, exponent - 7) * (1 + fraction);
  return static_cast<float>(code & 128 ? -value : value);
}

TEST_F(FolderTest, EveryFp8CodeTimesItsBlocksScale) {
  std::string codes;
  for (int code = 0; code < 256; ++code) {
    const bool nan = (code & 127) == 127;
    codes += static_cast<char>(nan ? 0 : code);
  }
  tensors_.add("lm_head.weight", "F8_E4M3", {16, 16}, codes);
  tensors_.count_up("lm_head.weight_scale_inv", {3, 2}, 1);  // blocks of 6 x 10
  const Checkpoint checkpoint =
      good("deepseek_v3", R"("kv_lora_rank":4,"qk_nope_head_dim":2,"qk_rope_head_dim":2,)"
                          R"("quantization_config":{"weight_block_size":[6,10]})");
  EXPECT_EQ(checkpoint.find("output.weight_scale"), nullptr);
  const std::vector<float> values = floats(checkpoint, "output.weight");
  ASSERT_EQ(values.size(), 256u);
  for (int i = 0; i < 256; ++i) {
    const float scale = static_cast<float>(1 + i / 16 / 6 * 2 + i % 16 / 10);
    EXPECT_EQ(values[i], fp8((i & 127) == 127 ? 0 : static_cast<unsigned>(i)) * scale) << i;
  }
}

TEST_F(FolderTest, Fp8ExpertsWithOneScaleEach) {
  for (int expert = 0; expert < 3; ++expert) {
    const std::string name =
        "model.layers.0.mlp.experts." + std::to_string(expert) + ".down_proj.weight";
    tensors_.add(name, "F8_E4M3", {4, 2}, std::string(8, static_cast<char>(0x38 + expert * 8)));
    tensors_.count_up(name + "_scale", {1}, static_cast<float>(expert + 1));
  }
  const Checkpoint checkpoint = good("qwen3_moe");
  // 0x38 is 1, and each eight codes on twice as much.
  expect_experts(checkpoint, "ffn_down_exps", 4, 2,
                 [](auto e, auto, auto) { return (1 << e) * (e + 1); });
}

TEST_F(FolderTest, ScalesThatDoNotFitAreRefused) {
  tensors_.add("lm_head.weight", "F8_E4M3", {4, 4}, std::string(16, 'x'));
  tensors_.count_up("lm_head.weight_scale_inv", {2, 2});
  const auto checkpoint = open("qwen3_moe");
  EXPECT_EQ(checkpoint.status().code(), ErrorCode::kCorrupt);
  EXPECT_THAT(checkpoint.status().message(), HasSubstr("weight_scale_inv"));
}

TEST_F(FolderTest, CodesWithoutScalesAreNamedWhenTheyAreNeeded) {
  tensors_.add("lm_head.weight", "F8_E4M3", {4, 4}, std::string(16, 'x'));
  tensors_.add("model.norm.weight", "F4", {4}, std::string(2, 'x'));
  tensors_.count_up("model.embed_tokens.weight_scale", {1});
  const Checkpoint checkpoint = good("qwen3_moe");
  EXPECT_THAT(checkpoint.require("output.weight").status().message(), HasSubstr("without scales"));
  EXPECT_THAT(checkpoint.require("output_norm.weight").status().message(), HasSubstr("F4"));
}

TEST_F(FolderTest, BytesThatAreNotThoseOfTheShapeAreRefused) {
  tensors_.add("lm_head.weight", "F8_E4M3", {4, 4}, std::string(15, 'x'));
  EXPECT_THAT(open("qwen3_moe").status().message(), HasSubstr("lm_head.weight"));
}

TEST_F(FolderTest, LatentKeysAndValuesOfEachHead) {
  // Two heads, two plain parts of the key and three of the value each, rank 4.
  tensors_.count_up("model.layers.0.self_attn.kv_b_proj.weight", {10, 4});
  const char* members = R"("kv_lora_rank":4,"qk_nope_head_dim":2,"qk_rope_head_dim":2,)"
                        R"("v_head_dim":3)";
  const Checkpoint checkpoint = good("deepseek_v3", members);
  const std::vector<float> keys = floats(checkpoint, "blk.0.attn_k_b.weight");
  const std::vector<float> values = floats(checkpoint, "blk.0.attn_v_b.weight");
  EXPECT_THAT(checkpoint.find("blk.0.attn_k_b.weight")->shape, ElementsAre(2, 4, 2));
  EXPECT_THAT(checkpoint.find("blk.0.attn_v_b.weight")->shape, ElementsAre(2, 3, 4));
  EXPECT_FALSE(checkpoint.find("blk.0.attn_v_b.weight")->stored);
  for (int head = 0; head < 2; ++head) {
    for (int rank = 0; rank < 4; ++rank) {
      for (int i = 0; i < 2; ++i) {
        EXPECT_EQ(keys[(head * 4 + rank) * 2 + i], static_cast<float>((head * 5 + i) * 4 + rank));
      }
      for (int i = 0; i < 3; ++i) {
        EXPECT_EQ(values[(head * 3 + i) * 4 + rank],
                  static_cast<float>((head * 5 + 2 + i) * 4 + rank));
      }
    }
  }
  EXPECT_THAT(open("deepseek_v3", R"("kv_lora_rank":4,"qk_nope_head_dim":2,"qk_rope_head_dim":2,)"
                                  R"("v_head_dim":4)")
                  .status()
                  .message(),
              HasSubstr("attn_kv_b"));
}

TEST_F(FolderTest, LayersThatPredictAheadAreLeftOut) {
  tensors_.count_up("model.layers.0.input_layernorm.weight", {4});
  tensors_.count_up("model.layers.1.input_layernorm.weight", {4});
  tensors_.count_up("model.layers.1.eh_proj.weight", {4, 8});
  tensors_.count_up("mtp.fc.weight", {4, 8});
  tensors_.count_up("model.visual.patch_embed.proj.weight", {4, 8});
  const Checkpoint checkpoint = good("glm4_moe", R"("head_dim":4,"num_nextn_predict_layers":1)");
  EXPECT_EQ(checkpoint.tensors.size(), 1u);
  EXPECT_NE(checkpoint.find("blk.0.attn_norm.weight"), nullptr);
  // Without such layers, one beyond the count is somebody's mistake, to be noticed.
  EXPECT_NE(good("glm4_moe", R"("head_dim":4,"num_nextn_predict_layers":0)")
                .find("blk.1.attn_norm.weight"),
            nullptr);
}

TEST_F(FolderTest, GateAndUpInBothFormsAreRefused) {
  tensors_.count_up("model.layers.0.mlp.experts.gate_up_proj", {3, 4, 4});
  tensors_.count_up("model.layers.0.mlp.experts.0.gate_proj.weight", {2, 4});
  EXPECT_THAT(open("mixtral").status().message(), HasSubstr("appears twice"));
}

TEST_F(FolderTest, ShapesThatCannotBeTakenApartAreRefused) {
  tensors_.count_up("model.layers.0.mlp.experts.gate_up_proj", {3, 5, 4});
  EXPECT_THAT(open("mixtral").status().message(), HasSubstr("ffn_gate_up_exps"));
  tensors_ = {};
  tensors_.count_up("model.layers.0.mlp.experts.gate_up_proj", {12, 4});
  EXPECT_THAT(open("mixtral").status().message(), HasSubstr("dimensions"));
  tensors_ = {};
  tensors_.count_up("model.layers.0.linear_attn.in_proj_qkvz.weight", {12, 4});
  EXPECT_THAT(open("qwen3_next").status().message(), HasSubstr("recurrence"));
  tensors_ = {};
  tensors_.add("model.layers.0.mlp.experts.down_proj_blocks", "U8", {1, 1, 1, 8},
               std::string(8, 'x'));
  EXPECT_THAT(open("gpt_oss").status().message(), HasSubstr("16 bytes"));
}

// ---- GGUF ---------------------------------------------------------------------------------------

class GgufVariants : public ::testing::Test {
 protected:
  Result<Checkpoint> open(const test::GgufBuilder& builder) {
    return open_checkpoint(folder_.write("t.gguf", builder.build()));
  }
  test::TemporaryFolder folder_;
};

TEST_F(GgufVariants, WhatOldAndImplicitKeysMean) {
  test::GgufBuilder builder("gpt-oss");
  builder.add("gpt-oss.block_count", std::uint32_t{4});
  builder.add("gpt-oss.attention.sliding_window", std::uint32_t{128});
  builder.add("gpt-oss.expert_count", std::uint32_t{8});
  builder.add("gpt-oss.expert_used_count", std::uint32_t{2});
  auto checkpoint = open(builder);
  ASSERT_TRUE(checkpoint.ok()) << checkpoint.status().message();
  EXPECT_THAT(**checkpoint->integers("attention.sliding_window_layers"), ElementsAre(1, 0, 1, 0));
  EXPECT_EQ(*checkpoint->boolean("rope.scaling.truncate"), std::nullopt);  // nothing is scaled
  builder.add("gpt-oss.rope.scaling.type", "yarn");
  builder.add("gpt-oss.rope.scaling.factor", 32.0f);
  checkpoint = open(builder);
  ASSERT_TRUE(checkpoint.ok()) << checkpoint.status().message();
  EXPECT_EQ(*checkpoint->boolean("rope.scaling.truncate"), false);
  EXPECT_NEAR(**checkpoint->real("rope.attention_factor"), 0.1 * std::log(32.0) + 1, 1e-12);

  test::GgufBuilder llama4("llama4");
  llama4.add("llama4.block_count", std::uint32_t{4});
  llama4.add("llama4.expert_count", std::uint32_t{16});
  checkpoint = open(llama4);
  ASSERT_TRUE(checkpoint.ok()) << checkpoint.status().message();
  EXPECT_EQ(*checkpoint->integer("attention.sliding_window"), 8192);
  EXPECT_EQ(*checkpoint->text("attention.window_kind"), "chunked");
  EXPECT_THAT(**checkpoint->integers("rope.layers"), ElementsAre(1, 1, 1, 0));
  EXPECT_EQ(*checkpoint->text("attention.qk_norm"), "unweighted");
  llama4.add("llama4.attention.sliding_window", std::uint32_t{0});
  checkpoint = open(llama4);
  ASSERT_TRUE(checkpoint.ok());
  EXPECT_EQ(*checkpoint->integer("attention.sliding_window"), std::nullopt);
  EXPECT_EQ(*checkpoint->integers("rope.layers"), std::nullopt);
}

TEST_F(GgufVariants, OldLatentAttentionWithItsMatricesUnsplit) {
  test::GgufBuilder builder("deepseek2");
  builder.add("deepseek2.block_count", std::uint32_t{1});
  builder.add("deepseek2.attention.head_count", std::uint32_t{2});
  builder.add("deepseek2.attention.head_count_kv", std::uint32_t{2});
  builder.add("deepseek2.attention.key_length", std::uint32_t{64});
  builder.add("deepseek2.attention.value_length", std::uint32_t{16});
  builder.add("deepseek2.attention.kv_lora_rank", std::uint32_t{32});
  builder.add("deepseek2.rope.dimension_count", std::uint32_t{32});
  builder.add("deepseek2.rope.scaling.type", "yarn");
  builder.add("deepseek2.rope.scaling.factor", 40.0f);
  builder.add("deepseek2.rope.scaling.yarn_log_multiplier", 0.0707f);
  builder.tensor("blk.0.attn_kv_b.weight", {32, 96}, 8, 96 * 34);  // Q8_0
  const auto checkpoint = open(builder);
  ASSERT_TRUE(checkpoint.ok()) << checkpoint.status().message();
  const TensorInfo* keys = checkpoint->find("blk.0.attn_k_b.weight");
  ASSERT_NE(keys, nullptr);
  EXPECT_THAT(keys->shape, ElementsAre(2, 32, 32));
  EXPECT_EQ(keys->type, TensorType::kF32);  // blocks cannot be transposed
  EXPECT_EQ(keys->stored->type, TensorType::kQ8_0);
  const TensorInfo* values = checkpoint->find("blk.0.attn_v_b.weight");
  EXPECT_THAT(values->shape, ElementsAre(2, 16, 32));
  EXPECT_EQ(values->type, TensorType::kQ8_0);
  EXPECT_FALSE(values->stored);
  EXPECT_EQ(values->slice(1).offset - values->slice(0).offset, 48u * 34);
  EXPECT_EQ(*checkpoint->integer("attention.head_count_kv"), 1);
  EXPECT_EQ(*checkpoint->real("rope.attention_factor"), 1.0);
  const double mscale = 0.0707f * std::log(40.0) + 1;
  EXPECT_NEAR(**checkpoint->real("attention.scale"), mscale * mscale / 8, 1e-9);
}

TEST_F(GgufVariants, FusedQueryKeyAndValue) {
  test::GgufBuilder builder("qwen3moe");
  builder.add("qwen3moe.block_count", std::uint32_t{1});
  builder.add("qwen3moe.attention.head_count", std::uint32_t{4});
  builder.add("qwen3moe.attention.head_count_kv", std::uint32_t{2});
  builder.tensor("blk.0.attn_qkv.weight", {4, 16}, 0, 4 * 16 * 4);
  builder.tensor("blk.0.attn_qkv.bias", {16}, 0, 16 * 4);
  const auto checkpoint = open(builder);
  ASSERT_TRUE(checkpoint.ok()) << checkpoint.status().message();
  EXPECT_THAT(checkpoint->find("blk.0.attn_q.weight")->shape, ElementsAre(8, 4));
  EXPECT_THAT(checkpoint->find("blk.0.attn_v.weight")->shape, ElementsAre(4, 4));
  EXPECT_THAT(checkpoint->find("blk.0.attn_k.bias")->shape, ElementsAre(4));
  EXPECT_EQ(checkpoint->find("blk.0.attn_v.weight")->ranges[0].offset -
                checkpoint->find("blk.0.attn_q.weight")->ranges[0].offset,
            12u * 4 * 4);
  EXPECT_EQ(checkpoint->find("blk.0.attn_qkv.weight"), nullptr);
}

TEST_F(GgufVariants, UnknownScoresStayNamed) {
  test::GgufBuilder builder("qwen3moe");
  builder.add("qwen3moe.block_count", std::uint32_t{1});
  builder.add("qwen3moe.expert_gating_func", std::uint32_t{9});
  const auto checkpoint = open(builder);
  ASSERT_TRUE(checkpoint.ok()) << checkpoint.status().message();
  EXPECT_EQ(*checkpoint->text("router.score"), "GGUF's gating function 9");
}

TEST_F(GgufVariants, HostileKeysAreNamed) {
  const struct {
    const char* key;
    std::uint32_t value;
  } cases[] = {{"qwen35moe.full_attention_interval", 0},
               {"qwen35moe.nextn_predict_layers", 4},
               {"qwen35moe.block_count", 70000},
               {"qwen35moe.expert_count", 1u << 20}};
  for (const auto& hostile : cases) {
    SCOPED_TRACE(hostile.key);
    test::GgufBuilder builder("qwen35moe");
    if (std::string_view(hostile.key) != "qwen35moe.block_count") {
      builder.add("qwen35moe.block_count", std::uint32_t{4});
    }
    builder.add("qwen35moe.ssm.state_size", std::uint32_t{16});
    builder.add(hostile.key, hostile.value);
    const auto checkpoint = open(builder);
    ASSERT_FALSE(checkpoint.ok());
    EXPECT_EQ(checkpoint.status().code(), ErrorCode::kCorrupt);
    const std::string key = std::string(hostile.key).substr(std::strlen("qwen35moe."));
    EXPECT_THAT(checkpoint.status().message(), HasSubstr(key));
  }
}

}  // namespace
}  // namespace sluice
