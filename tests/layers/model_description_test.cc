#include "layers/model_description.h"

#include <gtest/gtest.h>

#include <map>
#include <string>

#include "tests/engine/fixture.h"

namespace sluice {
namespace {

// Biases, the head and shared experts are optional: one that cannot be read would silently be left
// out, and one that is needed would be called missing.
TEST(ModelDescription, ATensorInAFormatThatIsLackingIsNamedWithIt) {
  for (const char* name :
       {"token_embd.weight", "output_norm.weight", "output.weight", "blk.0.attn_q.weight",
        "blk.2.attn_q.bias", "blk.3.ffn_gate_inp.weight", "blk.1.ffn_gate_shexp.weight"}) {
    auto checkpoint = open_checkpoint(test::bundled_model());
    ASSERT_TRUE(checkpoint.ok()) << checkpoint.status().message();
    checkpoint->tensors.erase(name);
    checkpoint->unreadable.emplace(name, "XQ9_Z");
    const auto model = ModelOutline::from(std::move(*checkpoint));
    EXPECT_EQ(model.status().code(), ErrorCode::kUnsupported) << name;
    const std::string& message = model.status().message();
    EXPECT_NE(message.find(name), std::string::npos) << message;
    EXPECT_NE(message.find("XQ9_Z"), std::string::npos) << message;
    EXPECT_EQ(message.find("missing"), std::string::npos) << message;
  }
}

TEST(ModelDescription, WhatTheModelDoesNotUseMayBeInAnyFormat) {
  auto checkpoint = open_checkpoint(test::bundled_model());
  ASSERT_TRUE(checkpoint.ok()) << checkpoint.status().message();
  checkpoint->unreadable.emplace("v.blk.0.attn_q.weight", "XQ9_Z");
  checkpoint->unreadable.emplace("blk.99.attn_q.weight", "XQ9_Z");  // past the layers that run
  const auto model = ModelOutline::from(std::move(*checkpoint));
  EXPECT_TRUE(model.ok()) << model.status().message();
}

TEST(ModelDescription, AMissingEmbeddingIsCalledMissing) {
  auto checkpoint = open_checkpoint(test::bundled_model());
  ASSERT_TRUE(checkpoint.ok()) << checkpoint.status().message();
  checkpoint->tensors.erase("token_embd.weight");
  const auto model = ModelOutline::from(std::move(*checkpoint));
  EXPECT_NE(model.status().message().find("'token_embd.weight' is missing"), std::string::npos)
      << model.status().message();
}

using Settings = std::map<std::string, Setting>;

/// The bundled model's description with other settings.
Status described_with(const Settings& settings) {
  auto checkpoint = open_checkpoint(test::bundled_model());
  if (!checkpoint.ok()) return checkpoint.status();
  for (const auto& [key, value] : settings) checkpoint->settings[key] = value;
  return ModelDescription::from(*checkpoint).status();
}

// Each of `base` is computed, and each of `others` beside it would be passed over.
void expect_alone(const Settings& base, const Settings& others) {
  const Status alone = described_with(base);
  EXPECT_TRUE(alone.ok()) << alone.message();
  for (const auto& [key, value] : others) {
    Settings both = base;
    both[key] = value;
    EXPECT_FALSE(described_with(both).ok()) << key;
  }
}

TEST(ModelDescription, WhatLatentAttentionWouldPassOverIsRefused) {
  expect_alone({{"attention.kv_lora_rank", std::int64_t{16}},
                {"attention.head_count_kv", std::int64_t{1}},
                {"attention.key_length", std::int64_t{24}},
                {"attention.qk_norm", std::string("none")},
                {"rope.dimension_count", std::int64_t{8}}},
               {{"attention.clamp_kqv", 1.0},
                {"attention.value_norm", true},
                {"attention.output_gate", true},
                {"attention.qk_norm", std::string("head")},
                {"attention.head_count_kv", std::int64_t{2}}});
}

TEST(ModelDescription, AKeyThatTheFileLacksIsNamedBeforeTheArchitecture) {
  auto checkpoint = open_checkpoint(test::bundled_model());
  ASSERT_TRUE(checkpoint.ok()) << checkpoint.status().message();
  checkpoint->settings.erase("router.score");
  checkpoint->settings["file.missing_key"] = std::string("qwen3moe.expert_count");
  const Status status = ModelDescription::from(*checkpoint).status();
  EXPECT_EQ(status.code(), ErrorCode::kCorrupt);
  EXPECT_NE(status.message().find("tales.gguf: the key 'qwen3moe.expert_count' is missing"),
            std::string::npos)
      << status.message();
}

TEST(ModelDescription, WhatSparsemixerWouldPassOverIsRefused) {
  expect_alone({{"router.score", std::string("sparsemixer")}, {"router.jitter", 0.01}},
               {{"router.selection_bias", true}, {"router.groups", std::string("best")}});
}

TEST(ModelDescription, AHeadOfNormalisedColumnsIsRefused) {
  expect_alone({{"output.normalised", false}}, {{"output.normalised", true}});
}

TEST(ModelDescription, GatesHaveTheLengthOfTheValues) {
  expect_alone({{"attention.output_gate", true},
                {"attention.key_length", std::int64_t{24}},
                {"attention.value_length", std::int64_t{24}},
                {"rope.dimension_count", std::int64_t{8}}},
               {{"attention.value_length", std::int64_t{20}}});
}

}  // namespace
}  // namespace sluice
