// The same model as GGUF and as a Hugging Face folder must be the same checkpoint: settings,
// tensors, bytes.

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <fstream>
#include <set>
#include <span>

#include "formats/checkpoint.h"
#include "formats/settings.h"
#include "formats/stored_layout.h"
#include "tests/support/test_data.h"

namespace sluice {
namespace {

using ::testing::ElementsAre;

/// Only people read these, and each container has its own; or the container decides (the converter
/// permutes q and k, or the value heads).
bool belongs_to_the_container(std::string_view key) {
  return key.starts_with("general.") || key == "rope.interleaved" || key == "ssm.value_heads_tiled";
}

std::map<std::string, Setting> neutral_settings(const Checkpoint& checkpoint) {
  std::map<std::string, Setting> settings;
  for (const auto& [key, value] : checkpoint.settings) {
    if (!belongs_to_the_container(key)) settings[key] = value;
  }
  return settings;
}

std::vector<double> numbers_of(const Setting& setting) {
  if (const auto* value = std::get_if<double>(&setting)) return {*value};
  if (const auto* list = std::get_if<std::vector<double>>(&setting)) return *list;
  return {};
}

/// Real numbers up to what GGUF's float32 and a few operations on it lose; all else to the bit.
void expect_equal(const Setting& left, const Setting& right, const std::string& key) {
  const auto a = numbers_of(left);
  const auto b = numbers_of(right);
  if (a.empty() || a.size() != b.size()) {
    EXPECT_EQ(left, right) << key << ": " << setting_text(left) << ", " << setting_text(right);
    return;
  }
  for (std::size_t i = 0; i < a.size(); ++i) {
    EXPECT_NEAR(a[i], b[i], 2e-7 * std::abs(b[i])) << key;
  }
}

std::string read_range(const Checkpoint& checkpoint, const FileRange& range) {
  std::ifstream stream(checkpoint.files[range.file], std::ios::binary);
  stream.seekg(static_cast<std::streamoff>(range.offset));
  std::string bytes(range.bytes, '\0');
  stream.read(bytes.data(), static_cast<std::streamsize>(range.bytes));
  EXPECT_TRUE(stream.good());
  return bytes;
}

/// All of a tensor, in order, as float32: BF16 in one container may be F32 in the other, and one of
/// them may keep it in another order.
std::vector<float> values_of(const Checkpoint& checkpoint, const TensorInfo& tensor) {
  std::vector<float> values(tensor.elements());
  const auto as_bytes = [](const std::string& text) { return std::as_bytes(std::span(text)); };
  if (tensor.stored) {
    const std::size_t each = values.size() / tensor.ranges.size();
    for (std::size_t i = 0; i < tensor.ranges.size(); ++i) {
      const auto& scales = tensor.stored->scales;
      const std::string bytes = read_range(checkpoint, tensor.ranges[i]);
      const std::string scale_bytes =
          scales.empty() ? std::string() : read_range(checkpoint, scales[i]);
      const auto out = std::span(values).subspan(i * each, each);
      const Status status = decode_range(tensor, as_bytes(bytes), as_bytes(scale_bytes), out);
      EXPECT_TRUE(status.ok()) << status.message();
    }
    return values;
  }
  std::string bytes;
  for (const FileRange& range : tensor.ranges) bytes += read_range(checkpoint, range);
  tensor_format(tensor.type)
      .decode(reinterpret_cast<const std::byte*>(bytes.data()), values.data(), values.size());
  return values;
}

struct Pair {
  const char* folder;
  const char* gguf;
};

class ContainerPairs : public ::testing::TestWithParam<Pair> {
 protected:
  void SetUp() override {
    const auto gguf = test::test_data(GetParam().gguf);
    const auto config = test::test_data(std::string(GetParam().folder) + "/config.json");
    if (gguf.empty() || config.empty()) GTEST_SKIP() << "not in the bundled data";
    auto left = open_checkpoint(gguf.string());
    auto right = open_checkpoint(config.parent_path().string());
    ASSERT_TRUE(left.ok()) << left.status().message();
    ASSERT_TRUE(right.ok()) << right.status().message();
    gguf_ = std::move(*left);
    folder_ = std::move(*right);
  }
  Checkpoint gguf_;
  Checkpoint folder_;
};

TEST_P(ContainerPairs, SettingsAgree) {
  EXPECT_EQ(gguf_.architecture, folder_.architecture);
  const auto left = neutral_settings(gguf_);
  const auto right = neutral_settings(folder_);
  std::set<std::string> keys;
  for (const auto& [key, value] : left) keys.insert(key);
  for (const auto& [key, value] : right) keys.insert(key);
  EXPECT_GE(keys.size(), 18u);
  for (const std::string& key : keys) {
    ASSERT_TRUE(left.contains(key)) << key << " only in the folder";
    ASSERT_TRUE(right.contains(key)) << key << " only in the GGUF file";
    expect_equal(left.at(key), right.at(key), key);
  }
}

TEST_P(ContainerPairs, EverySettingIsDefined) {
  for (const Checkpoint* checkpoint : {&gguf_, &folder_}) {
    for (const auto& [key, value] : neutral_settings(*checkpoint)) {
      EXPECT_NE(find_setting_rule(key), nullptr) << key;
    }
  }
}

/// What the other container has in the same place with other heads or pairs: the same numbers.
bool is_reordered(std::string_view name, bool pairs, bool value_heads) {
  const auto has = [&](std::string_view part) { return name.find(part) != name.npos; };
  if (pairs && (has(".attn_q.") || has(".attn_k."))) return true;
  return value_heads && (has(".ssm_") || has(".attn_qkv.") || has(".attn_gate."));
}

TEST_P(ContainerPairs, TensorsAgree) {
  const bool pairs = **gguf_.boolean("rope.interleaved") != **folder_.boolean("rope.interleaved");
  EXPECT_EQ(pairs, gguf_.architecture == "llama" || gguf_.architecture == "granitemoe");
  const bool value_heads = (*gguf_.boolean("ssm.value_heads_tiled")).value_or(false);
  EXPECT_EQ(value_heads, gguf_.architecture == "qwen35moe");
  EXPECT_EQ(gguf_.tensors.size(), folder_.tensors.size());
  EXPECT_TRUE(gguf_.unreadable.empty());
  EXPECT_TRUE(folder_.unreadable.empty());
  std::size_t compared = 0;
  for (const auto& [name, left] : gguf_.tensors) {
    const TensorInfo* right = folder_.find(name);
    ASSERT_NE(right, nullptr) << name;
    ASSERT_EQ(left.name, name);
    ASSERT_EQ(right->name, name);
    ASSERT_EQ(left.shape, right->shape) << name;
    if (left.type == TensorType::kQ8_0) continue;
    const std::vector<float> a = values_of(gguf_, left);
    std::vector<float> b = values_of(folder_, *right);
    ASSERT_EQ(a.size(), b.size());
    if (is_reordered(name, pairs, value_heads)) {
      EXPECT_TRUE(std::ranges::is_permutation(a, b) || name.ends_with("ssm_a")) << name;
      continue;
    }
    ++compared;
    if (name.ends_with("ssm_a")) {  // two exponential functions
      for (std::size_t i = 0; i < a.size(); ++i) EXPECT_FLOAT_EQ(a[i], b[i]) << name;
    } else {
      EXPECT_EQ(a, b) << name;
    }
  }
  EXPECT_GT(compared, gguf_.tensors.size() / 2);
}

INSTANTIATE_TEST_SUITE_P(
    Oracles, ContainerPairs,
    ::testing::Values(Pair{"oracle/bailing_moe", "oracle/bailing_moe/model.gguf"},
                      Pair{"oracle/deepseek_v2", "oracle/deepseek_v2/model.gguf"},
                      Pair{"oracle/deepseek_v2_lite", "oracle/deepseek_v2_lite/model.gguf"},
                      Pair{"oracle/deepseek_v3", "oracle/deepseek_v3/model.gguf"},
                      Pair{"oracle/dots1", "oracle/dots1/model.gguf"},
                      Pair{"oracle/gemma4_moe", "oracle/gemma4_moe/model.gguf"},
                      Pair{"oracle/glm4_moe", "oracle/glm4_moe/model.gguf"},
                      Pair{"oracle/glm4_moe_lite", "oracle/glm4_moe_lite/model.gguf"},
                      Pair{"oracle/gpt_oss", "oracle/gpt_oss/model.gguf"},
                      Pair{"oracle/granitemoe", "oracle/granitemoe/model.gguf"},
                      Pair{"oracle/minimax_m2", "oracle/minimax_m2/model.gguf"},
                      Pair{"oracle/mixtral", "oracle/mixtral/model.gguf"},
                      Pair{"oracle/olmoe", "oracle/olmoe/model.gguf"},
                      Pair{"oracle/qwen2_moe", "oracle/qwen2_moe/model.gguf"},
                      Pair{"oracle/qwen3_5_moe", "oracle/qwen3_5_moe/model.gguf"},
                      Pair{"oracle/qwen3_moe", "oracle/qwen3_moe/model.gguf"},
                      Pair{"oracle/qwen3_next", "oracle/qwen3_next/model.gguf"},
                      Pair{"oracle/smallthinker", "oracle/smallthinker/model.gguf"},
                      Pair{"models/tales", "models/tales/tales-bf16.gguf"}),
    [](const auto& instance) {
      const std::string_view folder = instance.param.folder;
      return std::string(folder.substr(folder.rfind('/') + 1));
    });

TEST(Oracle, SettingsAreThoseOfTheConfig) {
  const auto config = test::test_data("oracle/qwen2_moe/config.json");
  ASSERT_FALSE(config.empty());
  for (const auto& path : {config.parent_path(), config.parent_path() / "model.gguf"}) {
    const auto checkpoint = open_checkpoint(path.string());
    ASSERT_TRUE(checkpoint.ok()) << checkpoint.status().message();
    const std::pair<const char*, std::int64_t> expected[] = {
        {"block_count", 4},           {"context_length", 512},
        {"embedding_length", 64},     {"feed_forward_length", 96},
        {"expert_count", 12},         {"expert_feed_forward_length", 32},
        {"expert_used_count", 4},     {"expert_shared_feed_forward_length", 64},
        {"attention.head_count", 4},  {"attention.head_count_kv", 2},
        {"attention.key_length", 16}, {"attention.value_length", 16},
        {"rope.dimension_count", 16}, {"vocab_size", 320}};
    for (const auto& [key, value] : expected) EXPECT_EQ(*checkpoint->integer(key), value) << key;
    EXPECT_EQ(*checkpoint->boolean("router.renormalise"), false);
    EXPECT_EQ(*checkpoint->boolean("rope.interleaved"), false);
    EXPECT_EQ(*checkpoint->text("attention.qk_norm"), "none");
    EXPECT_EQ(*checkpoint->text("router.score"), "softmax");
    EXPECT_EQ(*checkpoint->real("rope.freq_base"), 10000.0);
    EXPECT_EQ(*checkpoint->integer("attention.sliding_window"), std::nullopt);
    EXPECT_THAT(checkpoint->find("blk.3.ffn_up_shexp.weight")->shape, ElementsAre(64, 64));
    EXPECT_THAT(checkpoint->find("blk.3.ffn_down_exps.weight")->shape, ElementsAre(12, 64, 32));
  }
}

TEST(Oracle, ATiedFolderWithADenseLayerAndYarn) {
  const auto config = test::test_data("oracle/qwen3_moe_tied_dense/config.json");
  ASSERT_FALSE(config.empty());
  const auto checkpoint = open_checkpoint(config.parent_path().string());
  ASSERT_TRUE(checkpoint.ok()) << checkpoint.status().message();
  EXPECT_EQ(checkpoint->find("output.weight"), nullptr);
  EXPECT_THAT(checkpoint->find("blk.0.ffn_gate.weight")->shape, ElementsAre(96, 64));
  EXPECT_EQ(checkpoint->find("blk.0.ffn_gate_exps.weight"), nullptr);
  EXPECT_THAT(checkpoint->find("blk.1.ffn_gate_exps.weight")->shape, ElementsAre(8, 64, 64));
  EXPECT_EQ(*checkpoint->text("rope.scaling.type"), "yarn");
  EXPECT_EQ(*checkpoint->real("rope.scaling.factor"), 4.0);
  EXPECT_EQ(*checkpoint->integer("rope.scaling.original_context_length"), 32);
  EXPECT_EQ(*checkpoint->real("rope.scaling.yarn_beta_fast"), 32.0);
  EXPECT_EQ(*checkpoint->real("rope.scaling.yarn_beta_slow"), 1.0);
  EXPECT_EQ(*checkpoint->boolean("router.renormalise"), true);
}

}  // namespace
}  // namespace sluice
