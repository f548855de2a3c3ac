// GGUF's keys: those that must be there, and those whose absence means something.

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <functional>
#include <string>
#include <vector>

#include "formats/checkpoint.h"
#include "tests/formats/gguf_builder.h"
#include "tests/formats/temporary_folder.h"

namespace sluice {
namespace {

using test::GgufBuilder;

/// A key with a value that it may have.
struct Key {
  std::string name;
  std::function<void(GgufBuilder&, const std::string&)> add;
};
Key number(const std::string& name, std::uint32_t value) {
  return {name, [value](GgufBuilder& file, const std::string& key) { file.add(key, value); }};
}
Key real(const std::string& name, float value) {
  return {name, [value](GgufBuilder& file, const std::string& key) { file.add(key, value); }};
}
Key truths(const std::string& name) {
  return {name, [](GgufBuilder& file, const std::string& key) {
            file.add_list<std::uint8_t>(key, 7, {1, 0});
          }};
}

struct Family {
  std::string architecture;
  std::vector<Key> required;
};
/// Beside the numbers of layers and widths, which every reader asks for.
std::vector<Family> families() {
  const Key epsilon = real("attention.layer_norm_rms_epsilon", 1e-6f);
  const std::vector<Key> usual = {epsilon, number("expert_count", 8),
                                  number("expert_used_count", 2)};
  const auto with = [&usual](std::vector<Key> own) {
    own.insert(own.begin(), usual.begin(), usual.end());
    return own;
  };
  const std::vector<Key> recurrent = {number("ssm.conv_kernel", 4), number("ssm.inner_size", 64),
                                      number("ssm.state_size", 16), number("ssm.time_step_rank", 4),
                                      number("ssm.group_count", 2)};
  return {
      {"llama", {epsilon}},
      {"qwen2moe", usual},
      {"qwen3moe", usual},
      {"olmoe", usual},
      {"glm4moe", usual},
      {"minimax-m2", usual},
      {"smallthinker", usual},
      {"dots1", usual},
      {"deepseek2", with({number("attention.kv_lora_rank", 32)})},
      {"gpt-oss", with({number("attention.sliding_window", 128)})},
      {"granitemoe", with({real("logit_scale", 6.0f)})},
      {"qwen3next", with(recurrent)},
      {"qwen35moe", with(recurrent)},
      {"bailingmoe2", with({number("expert_gating_func", 2)})},
      {"gemma4",
       {epsilon, number("attention.sliding_window", 512),
        truths("attention.sliding_window_pattern"), number("attention.key_length_swa", 16),
        number("attention.value_length_swa", 16), number("embedding_length_per_layer_input", 0)}}};
}

class GgufSettings : public ::testing::Test {
 protected:
  Checkpoint open(const GgufBuilder& builder) {
    auto checkpoint = open_checkpoint(folder_.write("t.gguf", builder.build()));
    EXPECT_TRUE(checkpoint.ok()) << checkpoint.status().message();
    return checkpoint.ok() ? std::move(*checkpoint) : Checkpoint();
  }
  /// The key that is found missing where `left_out` of the required ones is.
  std::string missing(const Family& family, std::size_t left_out) {
    GgufBuilder builder(family.architecture);
    builder.add(family.architecture + ".block_count", std::uint32_t{2});
    for (std::size_t i = 0; i < family.required.size(); ++i) {
      const Key& key = family.required[i];
      if (i != left_out) key.add(builder, family.architecture + "." + key.name);
    }
    return open(builder).text("file.missing_key")->value_or("");
  }
  test::TemporaryFolder folder_;
};

TEST_F(GgufSettings, EachRequiredKeyIsMissed) {
  for (const Family& family : families()) {
    EXPECT_EQ(missing(family, family.required.size()), "") << family.architecture;
    for (std::size_t i = 0; i < family.required.size(); ++i) {
      EXPECT_EQ(missing(family, i), family.architecture + "." + family.required[i].name);
    }
  }
}

TEST_F(GgufSettings, AnUnknownArchitectureMissesNothing) {
  EXPECT_EQ(missing({"jellyfish", {}}, 0), "");
}

TEST_F(GgufSettings, AFactorOfRopeWithoutATypeIsLinear) {
  const auto scaled = [&](const std::function<void(GgufBuilder&)>& add) {
    GgufBuilder builder("qwen3moe");
    builder.add("qwen3moe.block_count", std::uint32_t{1});
    add(builder);
    return open(builder);
  };
  const auto factor = [](GgufBuilder& file) { file.add("qwen3moe.rope.scaling.factor", 4.0f); };
  EXPECT_EQ(*scaled(factor).text("rope.scaling.type"), "linear");
  EXPECT_EQ(*scaled(factor).real("rope.scaling.factor"), 4.0);
  const auto stronger = scaled([&](GgufBuilder& file) {
    factor(file);
    file.add("qwen3moe.rope.scaling.attn_factor", 1.5f);
  });
  EXPECT_EQ(*stronger.real("rope.attention_factor"), 1.5);
  for (const char* type : {"none", "default"}) {
    const auto unscaled = scaled([&](GgufBuilder& file) {
      factor(file);
      file.add("qwen3moe.rope.scaling.type", type);
    });
    EXPECT_EQ(*unscaled.text("rope.scaling.type"), std::nullopt) << type;
    EXPECT_EQ(*unscaled.real("rope.scaling.factor"), std::nullopt) << type;
  }
  const auto none = [](GgufBuilder& file) { file.add("qwen3moe.rope.scaling.factor", 0.0f); };
  EXPECT_EQ(*scaled(none).text("rope.scaling.type"), std::nullopt);
}

}  // namespace
}  // namespace sluice
