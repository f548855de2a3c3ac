// What is known of a model before its weights are read.

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>

#include "engine/model.h"
#include "tests/formats/temporary_folder.h"
#include "tests/support/test_data.h"

namespace sluice {
namespace {

using ::testing::HasSubstr;

/// A published configuration and weights, beside a tokenizer of the test's own.
class TokenizerOfOutline : public ::testing::Test {
 protected:
  void SetUp() override {
    const auto oracle = test::test_data("oracle/qwen3_moe");
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

}  // namespace
}  // namespace sluice
