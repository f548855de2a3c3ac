// Folders that quantisers wrote: those whose codes are read, and those that are refused by name.

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <nlohmann/json.hpp>

#include "engine/model.h"
#include "tests/formats/safetensors_builder.h"
#include "tests/formats/temporary_folder.h"
#include "tests/support/test_data.h"

namespace sluice {
namespace {

using nlohmann::json;
using ::testing::AllOf;
using ::testing::HasSubstr;

class QuantisedFolder : public ::testing::Test {
 protected:
  void SetUp() override {
    source_ = test::test_data("oracle/qwen2_moe");
    ASSERT_FALSE(source_.empty());
  }
  void write_config(const std::string& members) {
    json config = json::parse(test::read_file(source_ / "config.json"));
    config.update(json::parse(members));
    folder_.write("config.json", config.dump());
  }
  void keep_weights() {
    std::error_code ignored;
    std::filesystem::create_symlink(source_ / "model.safetensors",
                                    folder_.path("model.safetensors"), ignored);
  }
  std::filesystem::path source_;
  test::TemporaryFolder folder_;
};

struct Published {
  const char* members;
  const char* key;
  const char* method;
};
// As the tools write them, shortened.
constexpr Published kRefused[] = {
    {R"({"quantization_config":{"bits":4,"desc_act":false,"group_size":128,"quant_method":"gptq",
        "sym":true}})",
     "'quantization_config.quant_method'", "(gptq)"},
    {R"({"quantization_config":{"bits":4,"group_size":128,"modules_to_not_convert":["gate"],
        "quant_method":"awq","version":"gemm","zero_point":true}})",
     "'quantization_config.quant_method'", "(awq)"},
    {R"({"quantization_config":{"bnb_4bit_compute_dtype":"bfloat16","bnb_4bit_quant_type":"nf4",
        "load_in_4bit":true,"load_in_8bit":false,"quant_method":"bitsandbytes"}})",
     "'quantization_config.quant_method'", "(bitsandbytes)"},
    {R"({"quantization_config":{"load_in_8bit":true,"load_in_4bit":false}})",
     "'quantization_config'", "(bitsandbytes)"},
    {R"({"quantization":{"group_size":64,"bits":4},"quantization_config":{"group_size":64,
        "bits":4}})",
     "'quantization_config'", "(MLX or the like, 4 bits)"},
    {R"({"quantization":{"group_size":32,"bits":8,"mode":"affine"}})", "'quantization'",
     "(MLX or the like, 8 bits)"},
    {R"({"quantization_config":{"quant_algo":"NVFP4","quant_method":"modelopt",
        "producer":{"name":"modelopt"}}})",
     "'quantization_config.quant_method'", "(modelopt, NVFP4)"},
    {R"({"quantization_config":{"config_groups":{"group_0":{"weights":{"num_bits":4,"type":"int"}}},
        "format":"pack-quantized","quant_method":"compressed-tensors"}})",
     "'quantization_config.quant_method'", "(compressed-tensors, pack-quantized)"},
    {R"({"quantization_config":{"format":"nvfp4-pack-quantized",
        "quant_method":"compressed-tensors"}})",
     "'quantization_config.quant_method'", "(compressed-tensors, nvfp4-pack-quantized)"},
    {R"({"compression_config":{"format":"int-quantized","quant_method":"compressed-tensors"}})",
     "'compression_config.quant_method'", "(compressed-tensors, int-quantized)"},
    {R"({"quantization_config":{"activation_scale_ub":1200.0,"quant_method":"fbgemm_fp8"}})",
     "'quantization_config.quant_method'", "(fbgemm_fp8)"},
    {R"({"quantization_config":{"quant_method":"auto-round","bits":4}})",
     "'quantization_config.quant_method'", "(auto-round)"},
    {R"({"text_config":{"quantization_config":{"quant_method":"hqq"}}})",
     "'quantization_config.quant_method'", "(hqq)"},
};

TEST_F(QuantisedFolder, WhatIsNotReadIsRefusedByMethodFileAndRemedy) {
  keep_weights();
  for (const Published& published : kRefused) {
    json members = json::parse(published.members);
    if (members.contains("text_config")) {
      json text = json::parse(test::read_file(source_ / "config.json"));
      text.update(members["text_config"]);
      members["text_config"] = text;
    }
    write_config(members.dump());
    const auto checkpoint = open_checkpoint(folder_.path());
    ASSERT_TRUE(checkpoint.ok()) << checkpoint.status().message();  // `info` prints what it can
    EXPECT_FALSE(checkpoint->tensors.empty());
    const Status status = ModelOutline::open(folder_.path()).status();
    EXPECT_EQ(status.code(), ErrorCode::kUnsupported) << published.members;
    EXPECT_THAT(status.message(),
                AllOf(HasSubstr(folder_.path("config.json")), HasSubstr(published.key),
                      HasSubstr(published.method), HasSubstr("GGUF")));
  }
}

// The tensors of such a folder have other names, numbers and shapes; they must not speak first.
TEST_F(QuantisedFolder, TheMethodIsNamedWhateverTheTensorsAre) {
  write_config(R"({"quantization_config":{"quant_method":"gptq","bits":4}})");
  test::SafetensorsBuilder tensors;
  const std::string layer = "model.layers.0.";
  tensors.add(layer + "self_attn.q_proj.qweight", "I32", {8, 64}, std::string(2048, '\0'));
  tensors.add(layer + "self_attn.q_proj.scales", "F16", {1, 64}, std::string(128, '\0'));
  tensors.add(layer + "self_attn.q_proj.g_idx", "I32", {64}, std::string(256, '\0'));
  tensors.add(layer + "self_attn.qkv_proj.scales", "F16", {1, 7}, std::string(14, '\0'));
  tensors.add(layer + "mlp.experts.0.up_proj.weight_scale", "F32", {3}, std::string(12, '\0'));
  tensors.add(layer + "mlp.experts.gate_up_proj", "BF16", {3, 5}, std::string(30, '\0'));
  folder_.write("model.safetensors", tensors.build());
  const Status status = ModelOutline::open(folder_.path()).status();
  EXPECT_EQ(status.code(), ErrorCode::kUnsupported);
  EXPECT_THAT(status.message(), HasSubstr("(gptq)"));
}

TEST_F(QuantisedFolder, FloatsAndReadableCodesOpen) {
  keep_weights();
  for (const char* members :
       {R"({})", R"({"quantization_config":null})", R"({"quantization_config":{}})",
        R"({"quantization_config":{"weight_block_size":[128,128]}})",
        R"({"quantization_config":{"activation_scheme":"dynamic","fmt":"e4m3",
           "quant_method":"fp8","weight_block_size":[128,128]}})",
        R"({"quantization_config":{"modules_to_not_convert":["model.layers.*.self_attn"],
           "quant_method":"mxfp4"}})",
        R"({"quantization_config":{"format":"float-quantized",
           "quant_method":"compressed-tensors"}})",
        R"({"quantization_config":{"quant_algo":"FP8","quant_method":"modelopt"}})"}) {
    write_config(members);
    const auto outline = ModelOutline::open(folder_.path());
    EXPECT_TRUE(outline.ok()) << members << outline.status().message();
  }
}

TEST_F(QuantisedFolder, AValueOfTheWrongKindIsNamed) {
  for (const char* members : {R"({"quantization_config":{"quant_method":7}})",
                              R"({"quantization_config":{"bits":"four"}})",
                              R"({"quantization_config":{"weight_block_size":[128]}})",
                              R"({"quantization_config":{"quant_method":"modelopt",
                                 "quant_algo":["FP8"]}})"}) {
    write_config(members);
    const Status status = open_checkpoint(folder_.path()).status();
    EXPECT_EQ(status.code(), ErrorCode::kCorrupt) << members;
    EXPECT_THAT(status.message(), HasSubstr("config.json")) << members;
  }
}

}  // namespace
}  // namespace sluice
