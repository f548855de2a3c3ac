// What is known of a model before its weights are read.

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <iterator>
#include <string>
#include <tuple>

#include "engine/model.h"
#include "tests/formats/temporary_folder.h"
#include "tests/support/test_data.h"

namespace sluice {
namespace {

using ::testing::AllOf;
using ::testing::Contains;
using ::testing::HasSubstr;
using ::testing::Not;

/// A published configuration and weights, beside a tokenizer of the test's own.
class TokenizerOfOutline : public ::testing::Test {
 protected:
  void SetUp() override {
    const auto oracle = test::test_data("oracle/qwen3_moe_tied_dense");
    ASSERT_FALSE(oracle.empty());
    for (const char* name : {"config.json", "model.safetensors"}) {
      std::filesystem::create_symlink(oracle / name, folder_.path(name));
    }
  }
  Result<ModelOutline> open(const std::string& parts) {
    folder_.write(
        "tokenizer.json",
        R"({"pre_tokenizer":{"type":"ByteLevel","add_prefix_space":false,"use_regex":true},)"
        R"("model":{"type":"BPE","vocab":{"b":1,"a":0,"ab":2},"merges":["a b"]})" +
            parts + "}");
    return ModelOutline::open(folder_.path());
  }
  test::TemporaryFolder folder_;
};

TEST_F(TokenizerOfOutline, WhatIsNotUnderstoodIsNamedNotAbsent) {
  const auto lowercase = open(R"(,"normalizer":{"type":"Lowercase"})");
  ASSERT_TRUE(lowercase.ok()) << lowercase.status().message();
  EXPECT_EQ(lowercase->tokenizer, nullptr);
  EXPECT_EQ(lowercase->tokenizer_bytes, 0u);
  EXPECT_THAT(lowercase->no_tokenizer, HasSubstr("normalizer 'Lowercase'"));
}

TEST_F(TokenizerOfOutline, AnAbsentOneIsAbsent) {
  const auto outline = ModelOutline::open(folder_.path());
  ASSERT_TRUE(outline.ok()) << outline.status().message();
  EXPECT_EQ(outline->tokenizer, nullptr);
  EXPECT_EQ(outline->no_tokenizer, "the model carries no tokenizer");
}

TEST_F(TokenizerOfOutline, OneThatIsUnderstoodIsThere) {
  const auto outline = open("");
  ASSERT_TRUE(outline.ok()) << outline.status().message();
  EXPECT_NE(outline->tokenizer, nullptr);
  EXPECT_GT(outline->tokenizer_bytes, 0u);
  EXPECT_EQ(outline->no_tokenizer, "");
}

TEST_F(TokenizerOfOutline, AnEndOutsideTheVocabularyIsWarnedOf) {
  folder_.write("generation_config.json", R"({"eos_token_id":[1,99999999]})");
  const auto outline = open("");
  ASSERT_TRUE(outline.ok()) << outline.status().message();
  EXPECT_TRUE(outline->tokenizer->ends_generation(1));
  EXPECT_FALSE(outline->tokenizer->ends_generation(99999999));
  EXPECT_THAT(outline->tokenizer->data().warnings,
              Contains(AllOf(HasSubstr("generation_config.json"),
                             HasSubstr("'eos_token_id' 99999999"), HasSubstr("vocabulary of 3"))));
  for (const std::string& warning : outline->tokenizer->data().warnings) {
    EXPECT_THAT(warning, Not(HasSubstr("'eos_token_id' 1 ")));
  }
}

/// config.json of qwen2_moe with one thing changed, beside the weights that it was made for.
std::string refusal_with(const std::string& from, const std::string& to) {
  const auto oracle = test::test_data("oracle/qwen2_moe");
  std::ifstream file(oracle / "config.json");
  std::string config((std::istreambuf_iterator<char>(file)), {});
  const std::size_t at = config.find(from);
  if (at == config.npos) return "the configuration has no " + from;
  test::TemporaryFolder folder;
  folder.write("config.json", config.replace(at, from.size(), to));
  std::filesystem::create_symlink(oracle / "model.safetensors", folder.path("model.safetensors"));
  return ModelOutline::open(folder.path()).status().message();
}

// Whatever of config.json the description refuses is there, under its own name.
TEST(ModelOutline, ASettingOfConfigJsonIsNotSoughtInTheWeights) {
  for (const auto& [from, to, key] :
       {std::tuple(R"("num_experts_per_tok":)", R"("num_experts_per_tok": 0, "was":)",
                   "config.json: 'num_experts_per_tok': the setting 'expert_used_count' is 0"),
        std::tuple(R"("num_hidden_layers":)", R"("num_hidden_layers": 5000, "was":)",
                   "config.json: 'num_hidden_layers': the setting 'block_count' is 5000"),
        std::tuple(R"("num_key_value_heads":)", R"("num_key_value_heads": 3, "was":)",
                   "config.json: 4 query heads cannot share 3")}) {
    const std::string message = refusal_with(from, to);
    EXPECT_THAT(message, HasSubstr(key));
    EXPECT_THAT(message, Not(HasSubstr("model.safetensors")));
  }
}

// A byte each for the numbers of FP8 matrices, of experts and of what stays; float32 for the few
// that latent attention needs otherwise than the file has them.
TEST(ModelOutline, Fp8TakesNoMoreMemoryThanItsFile) {
  const auto oracle = test::test_data("oracle/deepseek_v3_fp8");
  if (oracle.empty() || !std::filesystem::exists(oracle / "config.json")) {
    GTEST_SKIP() << "not in the bundled data";
  }
  const auto outline = ModelOutline::open(oracle.string());
  ASSERT_TRUE(outline.ok()) << outline.status().message();
  std::uint64_t experts = 0, dense = 0;
  for (const auto& [name, tensor] : outline->checkpoint.tensors) {
    const bool coded = tensor.stored && tensor.stored->code == StoredCode::kF8E4M3;
    if (name.find("_exps.weight") != std::string::npos) {
      EXPECT_TRUE(coded) << name;
      experts += tensor.elements();
    } else if (coded && tensor.ranges.size() == 1 && tensor.shape.size() == 2) {
      dense += tensor.elements() + 4096;  // and scales
    } else {
      // Vectors are widened, and a projection's size is that of the tensors made of it.
      dense += tensor.elements() * sizeof(float) + 64;
    }
  }
  EXPECT_EQ(outline->catalogue.total_bytes(), experts);
  EXPECT_LE(outline->dense_bytes, dense);
}

}  // namespace
}  // namespace sluice
