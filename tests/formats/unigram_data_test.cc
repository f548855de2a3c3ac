// Unigram vocabularies and tiktoken's tables: what the files say, and files that say nonsense.

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <nlohmann/json.hpp>

#include "formats/base64.h"
#include "formats/checkpoint.h"
#include "tests/formats/gguf_builder.h"
#include "tests/formats/temporary_folder.h"

namespace sluice {
namespace {

using nlohmann::json;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using Kind = NormalizeStep::Kind;

Result<Checkpoint> open_tokenizer(const std::string& path) {
  return open_checkpoint(path, CheckpointParts::kTokenizerOnly);
}

TEST(Base64, DecodesWhatIsBase64AndNothingElse) {
  EXPECT_EQ(decode_base64(""), "");
  EXPECT_EQ(decode_base64("Zg=="), "f");
  EXPECT_EQ(decode_base64("Zm8="), "fo");
  EXPECT_EQ(decode_base64("Zm8"), "fo");
  EXPECT_EQ(decode_base64("Zm9vYmFy"), "foobar");
  EXPECT_EQ(decode_base64("/+8="), "\xff\xef");
  for (const char* text : {"Z", "Zg=", "Zg===", "=",
                           "Zh==", "Zm9=", "Z g=", "Zg==Zg==", "Zg\n=", "Zm-_", "Zm9vYmFyZ"}) {
    EXPECT_EQ(decode_base64(text), std::nullopt) << text;
  }
}

class UnigramJson : public ::testing::Test {
 protected:
  static json small() {
    return json::parse(R"({"added_tokens":[{"id":0,"content":"<unk>","special":true}],
      "pre_tokenizer":{"type":"Metaspace","replacement":"▁","prepend_scheme":"always"},
      "model":{"type":"Unigram","unk_id":0,"vocab":[["<unk>",0],["▁a",-1.5],["b",-2e-1]]}})");
  }
  Result<Checkpoint> open(const json& document) {
    folder_.write("tokenizer.json", document.dump());
    return open_tokenizer(folder_.path());
  }
  test::TemporaryFolder folder_;
};

TEST_F(UnigramJson, IsReadWithItsSteps) {
  json document = small();
  document["normalizer"] = json::parse(R"({"type":"Sequence","normalizers":[
    {"type":"NFKC"},{"type":"Strip","strip_left":false,"strip_right":true},
    {"type":"Precompiled","precompiled_charsmap":"AAAA"},
    {"type":"Replace","pattern":{"Regex":" {2,}"},"content":" "}]})");
  const auto checkpoint = open(document);
  ASSERT_TRUE(checkpoint.ok()) << checkpoint.status().message();
  const TokenizerData& data = checkpoint->tokenizer;
  EXPECT_EQ(data.model, TokenizerModel::kUnigram);
  EXPECT_THAT(data.log_probabilities, ElementsAre(0, -1.5, -0.2));
  EXPECT_EQ(data.unknown, 0);
  EXPECT_EQ(data.tokens[1], "▁a");
  EXPECT_EQ(data.kinds[0], TokenKind::kUnknown);
  EXPECT_TRUE(data.add_space_prefix && data.space_prefix_unless_there);
  ASSERT_EQ(data.normalize.size(), 4u);
  EXPECT_EQ(data.normalize[0].kind, Kind::kNfkc);
  EXPECT_TRUE(data.normalize[1].right && !data.normalize[1].left);
  EXPECT_EQ(data.normalize[2].content, std::string(3, '\0'));
  EXPECT_TRUE(data.normalize[2].by_cluster);
  EXPECT_EQ(data.normalize[3].pattern, " {2,}");
}

TEST_F(UnigramJson, NonsenseIsRefused) {
  const std::pair<const char*, const char*> cases[] = {
      {R"({"model":{"type":"Unigram","vocab":[["a",-1],["b",[2]]]}})", "an array"},
      {R"({"model":{"type":"Unigram","vocab":[["a",-1],["b"]]}})", "not a text and its score"},
      {R"({"model":{"type":"Unigram","vocab":[["a",-1,2]]}})", "not a text and its score"},
      {R"({"model":{"type":"Unigram","vocab":[[1,"a"]]}})", "not a text and its score"},
      {R"({"model":{"type":"Unigram","vocab":[["a",null]]}})", "wrong kind"},
      {R"({"model":{"type":"Unigram","vocab":["a"]}})", "not a number"},
      {R"({"model":{"type":"Unigram","vocab":[{"a":1}]}})", "an object"},
      {R"({"model":{"type":"Unigram","vocab":{"a":1}}})", "not that of a Unigram"},
      {R"({"model":{"type":"Unigram","vocab":[]}})", "not that of a Unigram"},
      {R"({"model":{"type":"BPE","vocab":[["a",-1]]}})", "not that of a BPE"},
      {R"({"model":{"type":"Unigram","unk_id":7,"vocab":[["a",-1]]}})", "'unk_id' 7"},
      {R"({"model":{"type":"Unigram","unk_id":-1,"vocab":[["a",-1]]}})", "'unk_id' -1"},
      {R"({"normalizer":{"type":"Precompiled","precompiled_charsmap":"AA=A"}})", "base64"},
      {R"({"normalizer":{"type":"Precompiled","precompiled_charsmap":7}})", "is not a text"},
      {R"({"normalizer":{"type":"Replace","pattern":{"String":"a"}}})", "without 'content'"},
  };
  for (const auto& [patch, message] : cases) {
    SCOPED_TRACE(patch);
    json document = small();
    document.update(json::parse(patch));
    const auto checkpoint = open(document);
    ASSERT_FALSE(checkpoint.ok());
    EXPECT_EQ(checkpoint.status().code(), ErrorCode::kCorrupt);
    EXPECT_THAT(checkpoint.status().message(), HasSubstr(message));
    EXPECT_THAT(checkpoint.status().message(), HasSubstr("tokenizer.json"));
  }
}

TEST_F(UnigramJson, WhatWouldBeReadWronglyIsToldInstead) {
  const std::pair<const char*, const char*> cases[] = {
      {R"({"pre_tokenizer":{"type":"ByteLevel"}})", "byte-level Unigram"},
      {R"({"pre_tokenizer":{"type":"WhitespaceSplit"}})", "marks spaces"},
      {R"({"pre_tokenizer":{"type":"Sequence","pretokenizers":[
        {"type":"Digits"},{"type":"Metaspace"}]}})",
       "Metaspace after"},
      {R"({"normalizer":{"type":"Sequence","normalizers":[
        {"type":"Replace","pattern":{"String":" "},"content":"▁"},{"type":"NFC"}]}})",
       "NFC after"},
      {R"({"normalizer":{"type":"Lowercase"}})", "Lowercase"},
  };
  for (const auto& [patch, reason] : cases) {
    SCOPED_TRACE(patch);
    json document = small();
    document.update(json::parse(patch));
    const auto checkpoint = open(document);
    ASSERT_TRUE(checkpoint.ok()) << checkpoint.status().message();
    EXPECT_EQ(checkpoint->tokenizer.model, TokenizerModel::kNone);
    EXPECT_THAT(checkpoint->tokenizer.unusable, HasSubstr(reason));
  }
}

test::GgufBuilder unigram_gguf() {
  test::GgufBuilder builder("t5");
  builder.add("tokenizer.ggml.model", "t5");
  builder.add_texts("tokenizer.ggml.tokens", {"<pad>", "</s>", "<unk>", "▁a"});
  return builder;
}

TEST(UnigramGguf, IsReadWithItsSteps) {
  test::TemporaryFolder folder;
  auto builder = unigram_gguf();
  builder.add_list<float>("tokenizer.ggml.scores", 6, {0, 0, 0, -1.25F});
  builder.add_list<std::int32_t>("tokenizer.ggml.token_type", 5, {3, 3, 2, 1});
  builder.add_list<std::uint8_t>("tokenizer.ggml.precompiled_charsmap", 0, {1, 2, 3, 0});
  builder.add("tokenizer.ggml.remove_extra_whitespaces", true);
  const auto checkpoint = open_tokenizer(folder.write("t.gguf", builder.build()));
  ASSERT_TRUE(checkpoint.ok()) << checkpoint.status().message();
  const TokenizerData& data = checkpoint->tokenizer;
  EXPECT_EQ(data.model, TokenizerModel::kUnigram);
  EXPECT_THAT(data.log_probabilities, ElementsAre(0, 0, 0, -1.25));
  EXPECT_TRUE(data.scores.empty());
  EXPECT_EQ(data.eos, 1);
  EXPECT_EQ(data.unknown, 2);
  EXPECT_TRUE(data.add_eos && !data.add_bos && data.add_space_prefix && !data.byte_fallback);
  ASSERT_EQ(data.normalize.size(), 3u);
  EXPECT_EQ(data.normalize[0].kind, Kind::kCharacterMap);
  EXPECT_EQ(data.normalize[0].content, std::string("\1\2\3\0", 4));
  EXPECT_FALSE(data.normalize[0].by_cluster);
  EXPECT_TRUE(data.normalize[2].left && data.normalize[2].right && data.normalize[2].only_spaces);
}

TEST(UnigramGguf, NonsenseIsRefused) {
  test::TemporaryFolder folder;
  const auto message = [&](const test::GgufBuilder& builder) {
    const auto checkpoint = open_tokenizer(folder.write("t.gguf", builder.build()));
    EXPECT_EQ(checkpoint.status().code(), ErrorCode::kCorrupt);
    return checkpoint.status().message();
  };
  EXPECT_THAT(message(unigram_gguf()), HasSubstr("scores is missing"));
  auto builder = unigram_gguf();
  builder.add_list<float>("tokenizer.ggml.scores", 6, {0, 0, std::nanf(""), 0});
  EXPECT_THAT(message(builder), HasSubstr("scores of token 2 is not finite"));
  EXPECT_THAT(message(builder), HasSubstr("t.gguf"));
  builder = unigram_gguf();
  builder.add_list<std::int32_t>("tokenizer.ggml.precompiled_charsmap", 5, {1});
  EXPECT_THAT(message(builder), HasSubstr("precompiled_charsmap"));
}

TEST(GemmaGguf, IsMergesOverCharacters) {
  test::TemporaryFolder folder;
  test::GgufBuilder builder("gemma4");
  builder.add("tokenizer.ggml.model", "gemma4");
  builder.add_texts("tokenizer.ggml.tokens", {"<pad>", "▁", "a", "▁a", "<0x41>"});
  builder.add_list<float>("tokenizer.ggml.scores", 6, {-1000, 0, 0, 0, 0});
  builder.add("tokenizer.ggml.add_space_prefix", false);
  EXPECT_THAT(open_tokenizer(folder.write("t.gguf", builder.build())).status().message(),
              HasSubstr("merges is missing"));
  builder.add_texts("tokenizer.ggml.merges", {"▁ a"});
  const auto checkpoint = open_tokenizer(folder.write("t.gguf", builder.build()));
  ASSERT_TRUE(checkpoint.ok()) << checkpoint.status().message();
  const TokenizerData& data = checkpoint->tokenizer;
  EXPECT_EQ(data.model, TokenizerModel::kSentencePieceBpe);
  EXPECT_TRUE(data.byte_fallback && !data.add_space_prefix && !data.bos);
  EXPECT_EQ(data.merges.size(), 1u);
}

class TiktokenFolder : public ::testing::Test {
 protected:
  TiktokenFolder() {
    config_ = json::parse(R"({"tokenizer_class":"TikTokenTokenizer","eos_token":"[EOS]",
      "added_tokens_decoder":{"7":{"content":"[EOS]","special":true},"5":{"content":"<t>"}}})");
  }
  Result<Checkpoint> open(std::string_view table) {
    folder_.write("tiktoken.model", table);
    folder_.write("tokenizer_config.json", config_.dump());
    return open_tokenizer(folder_.path());
  }
  json config_;
  test::TemporaryFolder folder_;
};

TEST_F(TiktokenFolder, IsReadWithItsAddedTokens) {
  const auto checkpoint = open("YQ== 0\nYg== 2\r\n/w== 1\n\nYWI= 3");
  ASSERT_TRUE(checkpoint.ok()) << checkpoint.status().message();
  const TokenizerData& data = checkpoint->tokenizer;
  EXPECT_EQ(data.model, TokenizerModel::kRankedBytes);
  EXPECT_EQ(data.pre_tokenizer, "kimi-k2");
  ASSERT_EQ(data.tokens.size(), 8u);
  EXPECT_EQ(data.tokens[1], "\xff");
  EXPECT_EQ(data.tokens[3], "ab");
  EXPECT_EQ(data.tokens[4], "");
  EXPECT_EQ(data.tokens[5], "<t>");
  EXPECT_EQ(data.tokens[7], "[EOS]");
  EXPECT_THAT(data.kinds,
              ElementsAre(TokenKind::kNormal, TokenKind::kNormal, TokenKind::kNormal,
                          TokenKind::kNormal, TokenKind::kUnused, TokenKind::kUserDefined,
                          TokenKind::kUnused, TokenKind::kControl));
  EXPECT_EQ(data.eos, 7);
  EXPECT_THAT(data.end_of_generation, ElementsAre(7));
}

TEST_F(TiktokenFolder, NonsenseIsRefusedWithItsLine) {
  const std::pair<const char*, const char*> cases[] = {
      {"", "no tokens"},
      {"\n\n", "no tokens"},
      {"YQ== 0\nYg==", "line 2: not a token and its rank"},
      {"YQ== 0\nY 1", "line 2: the token is not base64"},
      {"YQ== 0\n 1", "line 2: the token is not base64"},
      {"YQ== 0\n\x01\xff 1", "line 2: the token is not base64"},
      {"YQ== x", "line 1: the rank is not"},
      {"YQ== ", "line 1: the rank is not"},
      {"YQ== -1", "line 1: the rank is not"},
      {"YQ== 1 2", "line 1: the rank is not"},
      {"YQ== 99999999999999999999", "line 1: the rank is not"},
      {"YQ== 300000000", "line 1: the rank is not"},
      {"YQ== 200000000", "rank 200000000 though there are only 1 tokens"},
      {"YQ== 0\nYg== 1\nYw== 0", "line 3: the rank is that of line 1 too"},
      {"YQ== 0\nYg== 1\nYQ== 2", "line 3: the token is that of line 1 too"},
  };
  for (const auto& [table, message] : cases) {
    SCOPED_TRACE(table);
    const auto checkpoint = open(table);
    ASSERT_FALSE(checkpoint.ok());
    EXPECT_EQ(checkpoint.status().code(), ErrorCode::kCorrupt);
    EXPECT_THAT(checkpoint.status().message(), HasSubstr(message));
    EXPECT_THAT(checkpoint.status().message(), HasSubstr("tiktoken.model"));
  }
}

TEST_F(TiktokenFolder, AddedTokensMustStandBehindTheTable) {
  config_["added_tokens_decoder"] = {{"1", {{"content", "x"}}}};
  EXPECT_THAT(open("YQ== 0\nYg== 1").status().message(), HasSubstr("id 1 belongs to two"));
  config_["added_tokens_decoder"] = {{"100000000", {{"content", "x"}}}};
  EXPECT_THAT(open("YQ== 0").status().message(), HasSubstr("added token 100000000"));
  config_["added_tokens_decoder"] = {{"1x", {{"content", "x"}}}};
  EXPECT_THAT(open("YQ== 0").status().message(), HasSubstr("tokenizer_config.json"));
}

TEST_F(TiktokenFolder, OfAnotherClassSplitsInAWayThatNobodyKnows) {
  config_["tokenizer_class"] = "OtherTokenizer";
  const auto checkpoint = open("YQ== 0");
  ASSERT_TRUE(checkpoint.ok()) << checkpoint.status().message();
  EXPECT_EQ(checkpoint->tokenizer.model, TokenizerModel::kNone);
  EXPECT_THAT(checkpoint->tokenizer.unusable, HasSubstr("OtherTokenizer"));
}

}  // namespace
}  // namespace sluice
