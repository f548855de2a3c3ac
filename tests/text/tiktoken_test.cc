// Folders with tiktoken's table in place of a tokenizer.json.

#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "tests/text/tokenizer_support.h"

namespace sluice::test {
namespace {

using nlohmann::json;
using Ids = std::vector<TokenId>;

class Tiktoken : public testing::TestWithParam<std::string> {};

TEST_P(Tiktoken, AgreesOnRandomTexts) {
  if (!has_python()) GTEST_SKIP() << "SLUICE_PYTHON is not set";
  constexpr int kTexts = 1500;
  const ScratchFolder folder;
  ASSERT_TRUE(run_script("tiktoken_vectors.py",
                         GetParam() + " '" + test_data("models/tales/valid.txt").string() + "' '" +
                             folder.path().string() + "' " + std::to_string(kTexts)));
  const auto tokenizer = open_tokenizer(folder.path());
  ASSERT_NE(tokenizer, nullptr);
  EXPECT_EQ(tokenizer->data().model, TokenizerModel::kRankedBytes);
  std::ifstream lines(folder.path() / "vectors.jsonl");
  int texts = 0;
  for (std::string line; std::getline(lines, line); ++texts) {
    const json vector = json::parse(line);
    const auto text = vector["text"].get<std::string>();
    const Ids expected = vector["ids"].get<Ids>();
    ASSERT_EQ(tokenizer->encode(text), expected) << vector["text"];
    ASSERT_EQ(tokenizer->encode(text, {.parse_special = false}), vector["plain"].get<Ids>());
    ASSERT_EQ(encode_in_parts(*tokenizer, text, {}, 1 + static_cast<std::size_t>(texts) % 7),
              expected)
        << vector["text"];
    ASSERT_EQ(tokenizer->decode(expected), vector["decoded"].get<std::string>());
    ASSERT_EQ(tokenizer->decode(expected, true), text);
    ASSERT_EQ(stream(*tokenizer, expected), vector["decoded"].get<std::string>());
  }
  EXPECT_EQ(texts, kTexts);
}

INSTANTIATE_TEST_SUITE_P(Tables, Tiktoken, testing::Values("trained", "random"),
                         [](const auto& test) { return test.param; });

TokenizerData bytes_data() {
  TokenizerData data;
  data.model = TokenizerModel::kRankedBytes;
  data.pre_tokenizer = "kimi-k2";
  for (unsigned byte = 0; byte < 256; ++byte) {
    data.tokens.push_back(std::string(1, static_cast<char>(byte)));
  }
  for (const char* token : {"bc", "ab", "abc", "xyz"}) data.tokens.push_back(token);  // from 256
  return data;
}

TEST(RankedBytes, MergeTheLowestIdFirstAndKnowWholePieces) {
  const auto tokenizer = make_tokenizer(bytes_data());
  ASSERT_NE(tokenizer, nullptr);
  EXPECT_EQ(tokenizer->encode("abd"), Ids({257, 'd'}));
  EXPECT_EQ(tokenizer->encode("abcd"), Ids({258, 'd'}));  // a bc, then abc
  EXPECT_EQ(tokenizer->encode("xyz"), Ids({259}));        // which no merges reach
  EXPECT_EQ(tokenizer->encode("xyzz"), Ids({'x', 'y', 'z', 'z'}));
  EXPECT_EQ(tokenizer->encode("\xff\xfe"), Ids({0xff, 0xfe}));
  EXPECT_EQ(tokenizer->decode({258, 0xff}), "abc\xff");
}

TEST(RankedBytes, AByteWithoutATokenIsToldWhenOpening) {
  auto data = bytes_data();
  data.kinds.assign(data.tokens.size(), TokenKind::kNormal);
  data.kinds[7] = TokenKind::kUnused;
  const auto tokenizer = Tokenizer::create(std::move(data));
  ASSERT_FALSE(tokenizer.ok());
  EXPECT_EQ(tokenizer.status().code(), ErrorCode::kCorrupt);
  EXPECT_NE(tokenizer.status().message().find("byte 7"), std::string::npos);
}

}  // namespace
}  // namespace sluice::test
