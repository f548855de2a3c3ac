// What the two containers say about a tokenizer.

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <functional>
#include <nlohmann/json.hpp>

#include "formats/checkpoint.h"
#include "tests/formats/gguf_builder.h"
#include "tests/formats/temporary_folder.h"
#include "tests/support/test_data.h"

namespace sluice {
namespace {

using nlohmann::json;
using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

using Steps = std::vector<NormalizeStep::Kind>;

Steps kinds_of(const TokenizerData& data) {
  Steps kinds;
  for (const NormalizeStep& step : data.normalize) kinds.push_back(step.kind);
  return kinds;
}

Result<Checkpoint> open_tokenizer(const std::string& path) {
  return open_checkpoint(path, CheckpointParts::kTokenizerOnly);
}

TEST(TokenizerPair, TalesSaysTheSameInBoth) {
  const auto gguf = test::test_data("models/tales/tales-bf16.gguf");
  const auto json_path = test::test_data("models/tales/tokenizer.json");
  if (gguf.empty() || json_path.empty()) GTEST_SKIP() << "not in the bundled data";
  const auto left = open_tokenizer(gguf.string());
  const auto right = open_tokenizer(json_path.parent_path().string());
  ASSERT_TRUE(left.ok()) << left.status().message();
  ASSERT_TRUE(right.ok()) << right.status().message();
  const TokenizerData& a = left->tokenizer;
  const TokenizerData& b = right->tokenizer;
  EXPECT_EQ(a.model, TokenizerModel::kByteLevelBpe);
  EXPECT_EQ(b.model, a.model);
  ASSERT_EQ(a.tokens.size(), 4096u);
  ASSERT_EQ(b.tokens.size(), a.tokens.size());
  for (std::size_t i = 0; i < a.tokens.size(); ++i) ASSERT_EQ(a.tokens[i], b.tokens[i]) << i;
  ASSERT_EQ(a.merges.size(), b.merges.size());
  for (std::size_t i = 0; i < a.merges.size(); ++i) ASSERT_EQ(a.merges[i], b.merges[i]) << i;
  EXPECT_EQ(a.kinds, b.kinds);
  EXPECT_EQ(a.eos, b.eos);
  EXPECT_EQ(a.bos, b.bos);
  EXPECT_EQ(a.padding, b.padding);
  EXPECT_EQ(a.add_bos, b.add_bos);
  EXPECT_EQ(a.chat_template, b.chat_template);
  EXPECT_THAT(a.end_of_generation, ElementsAre(4093, 4095));
  EXPECT_THAT(b.end_of_generation, ElementsAre(4093, 4095));
  ASSERT_EQ(a.added.size(), 3u);
  ASSERT_EQ(b.added.size(), 3u);
  for (int i = 0; i < 3; ++i) {
    EXPECT_EQ(a.added[i].id, b.added[i].id);
    EXPECT_EQ(a.added[i].text, b.added[i].text);
    EXPECT_TRUE(a.added[i].special && b.added[i].special);
  }
  EXPECT_EQ(a.pre_tokenizer, "qwen2");
  EXPECT_EQ(b.splits.size(), 1u);
  EXPECT_EQ(kinds_of(b), Steps({NormalizeStep::Kind::kNfc}));
}

/// A published tokenizer.json beside a plain JSON reading of the same file.
class PublishedTokenizer : public ::testing::Test {
 protected:
  void load(const std::string& name) {
    const auto packed = test::test_data("tokenizers/" + name + "/tokenizer.json.gz");
    if (packed.empty()) GTEST_SKIP() << "not in the bundled data";
    const std::string text = test::read_gzip(packed);
    document_ = json::parse(text);
    folder_.write("tokenizer.json", text);
    folder_.write("tokenizer_config.json",
                  test::read_file(packed.parent_path() / "tokenizer_config.json"));
    auto checkpoint = open_tokenizer(folder_.path());
    ASSERT_TRUE(checkpoint.ok()) << checkpoint.status().message();
    data_ = std::move(checkpoint->tokenizer);
    for (const auto& [token, id] : document_["model"]["vocab"].items()) {
      ASSERT_EQ(data_.tokens[id.get<std::size_t>()], token);
    }
    const json& merges = document_["model"]["merges"];
    ASSERT_EQ(data_.merges.size(), merges.size());
    for (std::size_t i = 0; i < merges.size(); ++i) {
      const std::string merge = merges[i].is_string() ? merges[i].get<std::string>()
                                                      : merges[i][0].get<std::string>() + " " +
                                                            merges[i][1].get<std::string>();
      ASSERT_EQ(data_.merges[i], merge);
    }
  }
  test::TemporaryFolder folder_;
  json document_;
  TokenizerData data_;
};

TEST_F(PublishedTokenizer, Qwen3) {
  load("qwen3");
  if (IsSkipped()) return;
  EXPECT_EQ(data_.model, TokenizerModel::kByteLevelBpe);
  EXPECT_EQ(data_.tokens.size(), 151669u);
  EXPECT_EQ(data_.added.size(), 26u);
  EXPECT_EQ(data_.tokens[151645], "<|im_end|>");
  EXPECT_EQ(data_.kinds[151645], TokenKind::kControl);
  EXPECT_EQ(data_.tokens[151657], "<tool_call>");
  EXPECT_EQ(data_.kinds[151657], TokenKind::kUserDefined);
  EXPECT_EQ(data_.kinds[0], TokenKind::kNormal);
  EXPECT_EQ(kinds_of(data_), Steps({NormalizeStep::Kind::kNfc}));
  EXPECT_FALSE(data_.add_space_prefix);
  ASSERT_EQ(data_.splits.size(), 1u);
  EXPECT_EQ(data_.splits[0].pattern,
            document_["pre_tokenizer"]["pretokenizers"][0]["pattern"]["Regex"]);
  EXPECT_EQ(data_.splits[0].behaviour, SplitStep::Behaviour::kIsolated);
  EXPECT_EQ(data_.bos, std::nullopt);
  EXPECT_EQ(data_.eos, 151645);
  EXPECT_EQ(data_.padding, 151643);
  EXPECT_FALSE(data_.add_bos);
  EXPECT_THAT(data_.end_of_generation, ElementsAre(151643, 151645));
  EXPECT_THAT(data_.chat_template, HasSubstr("<|im_start|>"));
}

TEST_F(PublishedTokenizer, Llama2) {
  load("llama2");
  if (IsSkipped()) return;
  EXPECT_EQ(data_.model, TokenizerModel::kSentencePieceBpe);
  EXPECT_EQ(data_.tokens.size(), 32000u);
  EXPECT_TRUE(data_.add_space_prefix);
  EXPECT_FALSE(data_.space_prefix_once);
  EXPECT_TRUE(data_.byte_fallback);
  EXPECT_TRUE(data_.normalize.empty());
  EXPECT_THAT(data_.splits, IsEmpty());
  EXPECT_EQ(data_.bos, 1);
  EXPECT_EQ(data_.eos, 2);
  EXPECT_EQ(data_.unknown, 0);
  EXPECT_TRUE(data_.add_bos);
  EXPECT_FALSE(data_.add_eos);
  EXPECT_THAT(data_.end_of_generation, ElementsAre(2));
  EXPECT_EQ(data_.kinds[0], TokenKind::kUnknown);
  EXPECT_EQ(data_.kinds[1], TokenKind::kControl);
  EXPECT_EQ(data_.kinds[3], TokenKind::kByte);
  EXPECT_EQ(data_.kinds[258], TokenKind::kByte);
  EXPECT_EQ(data_.kinds[259], TokenKind::kNormal);
}

TEST_F(PublishedTokenizer, ASentencePieceGgufIsOfTheSameMake) {
  const auto packed = test::test_data("tokenizers/vocab/ggml-vocab-llama-spm.gguf.gz");
  load("llama2");
  if (IsSkipped() || packed.empty()) return;
  const auto gguf = open_checkpoint(folder_.write("v.gguf", test::read_gzip(packed)));
  ASSERT_TRUE(gguf.ok()) << gguf.status().message();
  const TokenizerData& data = gguf->tokenizer;
  EXPECT_EQ(data.model, TokenizerModel::kSentencePieceBpe);
  // Two vocabularies with the same control and byte tokens; the gguf package reads ids 260 and 261
  // thus.
  ASSERT_EQ(data.tokens.size(), data_.tokens.size());
  for (std::size_t i = 0; i < 259; ++i) ASSERT_EQ(data.tokens[i], data_.tokens[i]);
  EXPECT_EQ(data.tokens[260], "▁t");
  EXPECT_EQ(data.tokens[261], "er");
  EXPECT_EQ(data.kinds, data_.kinds);
  EXPECT_EQ(data.scores.size(), 32000u);
  EXPECT_EQ(data.bos, data_.bos);
  EXPECT_EQ(data.eos, data_.eos);
  EXPECT_EQ(data.unknown, data_.unknown);
  EXPECT_EQ(data.add_bos, data_.add_bos);
  EXPECT_EQ(data.add_space_prefix, data_.add_space_prefix);
  EXPECT_EQ(data.byte_fallback, data_.byte_fallback);
  EXPECT_EQ(data.added.size(), data_.added.size());
}

class SmallTokenizer : public ::testing::Test {
 protected:
  Result<Checkpoint> open(const json& document, const json& config = json::object()) {
    folder_.write("tokenizer.json", document.dump());
    folder_.write("tokenizer_config.json", config.dump());
    return open_tokenizer(folder_.path());
  }
  TokenizerData good(const json& document, const json& config = json::object()) {
    auto checkpoint = open(document, config);
    EXPECT_TRUE(checkpoint.ok()) << checkpoint.status().message();
    return checkpoint.ok() ? std::move(checkpoint->tokenizer) : TokenizerData();
  }
  static json small() {
    return json::parse(R"({"added_tokens":[{"id":4,"content":"<e>","special":true}],
      "pre_tokenizer":{"type":"ByteLevel","add_prefix_space":false,"use_regex":true},
      "model":{"type":"BPE","vocab":{"b":1,"a":0,"ab":2},"merges":["a b"]}})");
  }
  test::TemporaryFolder folder_;
};

TEST_F(SmallTokenizer, IdsOutOfOrderAndGapsAreSortedOut) {
  const TokenizerData data = good(small());
  ASSERT_EQ(data.tokens.size(), 5u);
  EXPECT_EQ(data.tokens[0], "a");
  EXPECT_EQ(data.tokens[2], "ab");
  EXPECT_EQ(data.tokens[3], "");
  EXPECT_EQ(data.tokens[4], "<e>");
  EXPECT_THAT(data.kinds, ElementsAre(TokenKind::kNormal, TokenKind::kNormal, TokenKind::kNormal,
                                      TokenKind::kUnused, TokenKind::kControl));
  ASSERT_EQ(data.splits.size(), 1u);
  EXPECT_THAT(data.splits[0].pattern, HasSubstr("'re|'ve"));
}

TEST_F(SmallTokenizer, StepsOfEveryKind) {
  json document = small();
  document["normalizer"] = json::parse(R"({"type":"Sequence","normalizers":[{"type":"NFC"}]})");
  document["pre_tokenizer"] = json::parse(R"({"type":"Sequence","pretokenizers":[
    {"type":"Digits","individual_digits":true},{"type":"Punctuation"},
    {"type":"Split","pattern":{"String":"x"},"behavior":"MergedWithNext","invert":true},
    {"type":"ByteLevel","use_regex":false}]})");
  document["post_processor"] = json::parse(R"({"type":"Sequence","processors":[{"type":"ByteLevel"},
    {"type":"TemplateProcessing","single":[{"SpecialToken":{"id":"<e>"}},{"Sequence":{"id":"A"}}],
     "special_tokens":{"<e>":{"id":"<e>","ids":[4]}}}]})");
  const TokenizerData data = good(document);
  EXPECT_EQ(kinds_of(data), Steps({NormalizeStep::Kind::kNfc}));
  EXPECT_TRUE(data.add_space_prefix);
  EXPECT_TRUE(data.add_bos);
  EXPECT_FALSE(data.add_eos);
  EXPECT_EQ(data.bos, 4);
  ASSERT_EQ(data.splits.size(), 3u);
  EXPECT_EQ(data.splits[0].pattern, "\\p{N}");
  EXPECT_TRUE(data.splits[2].literal && data.splits[2].invert);
  EXPECT_EQ(data.splits[2].behaviour, SplitStep::Behaviour::kMergedWithNext);

  document["pre_tokenizer"] = json::parse(
      R"({"type":"Metaspace","replacement":"▁","prepend_scheme":"first","split":false})");
  const TokenizerData metaspace = good(document);
  EXPECT_EQ(metaspace.model, TokenizerModel::kSentencePieceBpe);
  EXPECT_TRUE(metaspace.add_space_prefix && metaspace.space_prefix_once);
  EXPECT_THAT(metaspace.splits, IsEmpty());
}

TEST_F(SmallTokenizer, TheConfigNamesSpecialTokens) {
  const json config = json::parse(R"({"bos_token":{"content":"<e>"},"eos_token":"ab",
    "pad_token":null,"add_bos_token":true,"clean_up_tokenization_spaces":true,
    "added_tokens_decoder":{"3":{"content":"<x>","special":false}},
    "chat_template":[{"name":"tool_use","template":"T"},{"name":"default","template":"D"}]})");
  const TokenizerData data = good(small(), config);
  EXPECT_EQ(data.bos, 4);
  EXPECT_EQ(data.eos, 2);
  EXPECT_EQ(data.padding, std::nullopt);
  EXPECT_TRUE(data.add_bos);
  EXPECT_TRUE(data.clean_spaces);
  EXPECT_EQ(data.tokens[3], "<x>");
  EXPECT_EQ(data.kinds[3], TokenKind::kUserDefined);
  EXPECT_EQ(data.chat_template, "D");
  folder_.write("chat_template.jinja", "J");
  EXPECT_EQ(good(small(), config).chat_template, "J");
}

TEST_F(SmallTokenizer, WhatIsNotSupportedIsToldButOpens) {
  const std::pair<const char*, const char*> cases[] = {
      {R"({"normalizer":{"type":"Lowercase"}})", "Lowercase"},
      {R"({"pre_tokenizer":{"type":"BertPreTokenizer"}})", "BertPreTokenizer"},
      {R"({"post_processor":{"type":"RobertaProcessing"}})", "RobertaProcessing"},
      {R"({"model":{"type":"WordPiece","vocab":{"a":0}}})", "WordPiece"},
      {R"({"model":{"type":"BPE","vocab":{"a":0},"merges":[["a"," b"]]}})", "spaces"},
  };
  for (const auto& [patch, reason] : cases) {
    SCOPED_TRACE(patch);
    json document = small();
    document.update(json::parse(patch));
    const TokenizerData data = good(document);
    EXPECT_EQ(data.model, TokenizerModel::kNone);
    EXPECT_THAT(data.unusable, HasSubstr(reason));
  }
  std::filesystem::remove(folder_.path("tokenizer.json"));
  folder_.write("tokenizer.model", "");
  EXPECT_THAT(open_tokenizer(folder_.path())->tokenizer.unusable, HasSubstr("no tokenizer.json"));
}

TEST_F(SmallTokenizer, HostileDocumentsAreRefused) {
  const std::pair<const char*, const char*> cases[] = {
      {R"({"model":{"vocab":{"a":0,"b":0}}})", "belongs to two"},
      {R"({"model":{"vocab":{"a":200000000}}})", "ids reach 200000000"},
      {R"({"model":{"vocab":{"a":9999999999}}})", "out of range"},
      {R"({"model":{"vocab":{"a":-1}}})", "wrong kind"},
      {R"({"model":{"vocab":{"a":"0"}}})", "not a number"},
      {R"({"model":{"vocab":{"a":{}}}})", "an object"},
      {R"({"model":{"vocab":{"a":[]}}})", "an array"},
      {R"({"model":{"vocab":{"a":0},"merges":[["a"]]}})", "not a pair"},
      {R"({"model":{"vocab":{"a":0},"merges":["ab"]}})", "not two parts"},
      {R"({"model":{"vocab":{"a":0},"merges":[3]}})", "wrong kind"},
      {R"({"model":{"vocab":{}}})", "missing or empty"},
      {R"({"model":3})", "missing or empty"},
      {R"({"model":null})", "'model' is missing"},
      {R"({"added_tokens":[{"id":-1,"content":"x"}]})", "added token"},
      {R"({"added_tokens":[{"id":1}]})", "added token"},
      {R"({"normalizer":{}})", "without 'type'"},
      {R"({"pre_tokenizer":{"type":"Split"}})", "without 'pattern'"},
      {R"({"pre_tokenizer":{"type":"Sequence"}})", "without 'pretokenizers'"},
      {R"({"post_processor":{"type":"TemplateProcessing","single":[{"SpecialToken":{"id":"q"}}]}})",
       "'q' has no id"},
  };
  for (const auto& [patch, message] : cases) {
    SCOPED_TRACE(patch);
    json document = small();
    document.update(json::parse(patch));
    const auto checkpoint = open(document);
    ASSERT_FALSE(checkpoint.ok());
    EXPECT_EQ(checkpoint.status().code(), ErrorCode::kCorrupt);
    EXPECT_THAT(checkpoint.status().message(), HasSubstr(message));
    const std::string& text = checkpoint.status().message();
    EXPECT_THAT(text, HasSubstr("tokenizer.json"));
    EXPECT_EQ(text.find(folder_.path()), text.rfind(folder_.path())) << "the path twice: " << text;
  }
}

TEST_F(SmallTokenizer, ATruncatedDocumentIsRefusedAtEveryByte) {
  const std::string text = small().dump();
  for (std::size_t size = 0; size < text.size(); ++size) {
    folder_.write("tokenizer.json", text.substr(0, size));
    const auto checkpoint = open_tokenizer(folder_.path());
    ASSERT_EQ(checkpoint.status().code(), ErrorCode::kCorrupt) << size;
    ASSERT_THAT(checkpoint.status().message(), HasSubstr("tokenizer.json"));
  }
}

TEST(GgufTokenizer, ListsThatContradictEachOtherAreRefused) {
  using test::GgufBuilder;
  test::TemporaryFolder folder;
  const auto base = [] {
    GgufBuilder builder;
    builder.add("tokenizer.ggml.model", "llama");
    builder.add_texts("tokenizer.ggml.tokens", {"<unk>", "<s>", "</s>", "a"});
    return builder;
  };
  const std::vector<float> scores = {0, 0, 0, -1};
  const std::pair<std::function<void(GgufBuilder&)>, const char*> cases[] = {
      {[](auto&) {}, "scores is missing"},
      {[](auto& b) { b.template add_list<float>("tokenizer.ggml.scores", 6, {0}); },
       "1 values for 4"},
      {[](auto& b) {
         b.template add_list<std::int32_t>("tokenizer.ggml.scores", 5, {0, 0, 0, 0});
       },
       "float32"},
      {[](auto& b) { b.template add_list<std::int32_t>("tokenizer.ggml.token_type", 5, {1}); },
       "1 values for 4 tokens"},
      {[](auto& b) {
         b.template add_list<std::int32_t>("tokenizer.ggml.token_type", 5, {1, 1, 9, 1});
       },
       "token 2 is 9"},
      {[](auto& b) {
         b.template add_list<float>("tokenizer.ggml.token_type", 6, {1, 1, 9, 1});
       },
       "array of integers"},
      {[](auto& b) { b.add("tokenizer.ggml.eos_token_id", 4u); }, "outside the vocabulary of 4"},
      {[](auto& b) { b.add("tokenizer.ggml.bos_token_id", -7); }, "outside the vocabulary"},
      {[](auto& b) { b.add("tokenizer.ggml.bos_token_id", "x"); }, "wrong kind"},
      {[](auto& b) { b.add("tokenizer.ggml.pre", 3u); }, "wrong kind"},
      {[](auto& b) { b.add("tokenizer.ggml.add_bos_token", 1u); }, "wrong kind"},
  };
  for (const auto& [spoil, message] : cases) {
    SCOPED_TRACE(message);
    GgufBuilder builder = base();
    spoil(builder);
    const auto checkpoint = open_tokenizer(folder.write("t.gguf", builder.build()));
    ASSERT_FALSE(checkpoint.ok());
    EXPECT_EQ(checkpoint.status().code(), ErrorCode::kCorrupt);
    EXPECT_THAT(checkpoint.status().message(), HasSubstr(message));
  }
  GgufBuilder builder = base();
  builder.add_list<float>("tokenizer.ggml.scores", 6, scores);
  builder.add("tokenizer.ggml.padding_token_id", 0xffffffffu);
  const auto checkpoint = open_tokenizer(folder.write("t.gguf", builder.build()));
  ASSERT_TRUE(checkpoint.ok()) << checkpoint.status().message();
  EXPECT_TRUE(checkpoint->tokenizer.add_bos);
  EXPECT_EQ(checkpoint->tokenizer.eos, 2);
  EXPECT_EQ(checkpoint->tokenizer.padding, std::nullopt);
  GgufBuilder foreign;
  foreign.add("tokenizer.ggml.model", "bert");
  const auto other = open_tokenizer(folder.write("t.gguf", foreign.build()));
  ASSERT_TRUE(other.ok());
  EXPECT_THAT(other->tokenizer.unusable, HasSubstr("'bert'"));
}

// What a header says must not cost memory beyond any real model's, before anyone looks at it.
TEST(GgufTokenizer, VocabulariesBeyondAnyModelsAreRefused) {
  test::TemporaryFolder folder;
  using test::GgufBuilder;
  const auto message = [&](const GgufBuilder& file) {
    return open_tokenizer(folder.write("t.gguf", file.build())).status().message();
  };
  GgufBuilder token;
  token.add_texts("tokenizer.ggml.tokens", {"a", std::string(70000, 'q')});
  EXPECT_THAT(message(token), AllOf(HasSubstr("t.gguf: tokenizer.ggml.tokens at byte "),
                                    HasSubstr("a text of 70000 bytes, where at most 65536")));
  GgufBuilder tokens;
  tokens.add_texts("tokenizer.ggml.tokens", std::vector<std::string>(700, std::string(50000, 'q')));
  EXPECT_THAT(message(tokens), HasSubstr("bytes together, where at most 33554432"));
  GgufBuilder scores;
  scores.add_texts("tokenizer.ggml.tokens", {"a", "b"});
  scores.add_list("tokenizer.ggml.scores", 6, std::vector<float>(3));
  EXPECT_THAT(message(scores), HasSubstr("3 values for 2 tokens"));
  for (const auto& [key, kind] : {std::pair{"scores", 6u}, std::pair{"token_type", 5u}}) {
    GgufBuilder early;  // before the tokens
    early.add_list(std::string("tokenizer.ggml.") + key, kind, std::vector<float>(5000000));
    EXPECT_THAT(message(early), HasSubstr("5000000 texts, where at most 4194304")) << key;
  }
  GgufBuilder settings;
  for (int i = 0; i < 40; ++i) settings.add("a.b" + std::to_string(i), std::string(1 << 20, 'x'));
  EXPECT_THAT(message(settings), HasSubstr("the settings so far take more than 33554432 bytes"));
}

TEST_F(SmallTokenizer, VocabulariesBeyondAnyModelsAreRefused) {
  json document = small();
  document["model"]["vocab"][std::string(70000, 'q')] = 20;
  EXPECT_THAT(open(document).status().message(),
              AllOf(HasSubstr("tokenizer.json"), HasSubstr("at byte "),
                    HasSubstr("the vocabulary has a text of 70000 bytes, where at most 65536")));
  document = small();
  document["model"]["merges"].push_back("a " + std::string(70000, 'q'));
  EXPECT_THAT(open(document).status().message(),
              HasSubstr("the merges have a text of 70002 bytes"));
}

TEST(GgufTokenizer, EndsOfTurnAreControlTokensOnly) {
  using test::GgufBuilder;
  test::TemporaryFolder folder;
  const auto ends = [&](const std::vector<std::string>& tokens,
                        const std::vector<std::int32_t>& kinds) {
    GgufBuilder builder;
    builder.add("tokenizer.ggml.model", "gpt2");
    builder.add_texts("tokenizer.ggml.tokens", tokens);
    builder.add_texts("tokenizer.ggml.merges", {"a b"});
    builder.add_list<std::int32_t>("tokenizer.ggml.token_type", 5, kinds);
    builder.add("tokenizer.ggml.eos_token_id", 0u);
    builder.add("tokenizer.ggml.eot_token_id", 1u);
    return open_tokenizer(folder.write("t.gguf", builder.build()))->tokenizer.end_of_generation;
  };
  EXPECT_THAT(ends({"e", "t", "<|im_end|>", "<|end|>"}, {3, 3, 3, 3}), ElementsAre(0, 1, 2, 3));
  EXPECT_THAT(ends({"e", "t", "<|im_end|>", "<|end|>"}, {3, 3, 1, 1}), ElementsAre(0, 1));
  EXPECT_THAT(ends({"e", "t", "<|end|>", "<|return|>"}, {3, 3, 3, 3}), ElementsAre(0, 1, 3));
}

}  // namespace
}  // namespace sluice
