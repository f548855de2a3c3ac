// Unigram models: small ones against the packages that trained them, and what holds for any.

#include <gtest/gtest.h>

#include <cmath>
#include <nlohmann/json.hpp>

#include "tests/text/tokenizer_support.h"

namespace sluice::test {
namespace {

using nlohmann::json;
using Ids = std::vector<TokenId>;

/// The packages replace bytes that are no UTF-8 when they decode.
bool is_replaced(const std::string& text) { return text.find("\uFFFD") != std::string::npos; }

struct Case {
  std::string variant;
  int count;
};
void PrintTo(const Case& value, std::ostream* out) { *out << value.variant; }

class UnigramPackages : public testing::TestWithParam<Case> {
 protected:
  bool is_sentencepiece() const { return GetParam().variant.starts_with("sp_"); }

  void make() {
    const std::string corpus = test_data("models/tales/valid.txt").string();
    ASSERT_TRUE(run_script("unigram_vectors.py", GetParam().variant + " '" + corpus + "' '" +
                                                     folder_.path().string() + "' " +
                                                     std::to_string(GetParam().count)));
    data_ =
        open_tokenizer_data(is_sentencepiece() ? folder_.path() / "model.gguf" : folder_.path());
    tokenizer_ = make_tokenizer(data_);
    ASSERT_NE(tokenizer_, nullptr);
  }

  /// SentencePiece adds up in single precision: of ways that are as likely but for rounding it may
  /// take another.
  bool are_as_likely(const Ids& ids, const Ids& others) const {
    const auto score = [&](const Ids& of) {
      double sum = 0;
      for (const TokenId id : of) sum += data_.log_probabilities[static_cast<std::size_t>(id)];
      return sum;
    };
    return is_sentencepiece() && tokenizer_->decode(ids) == tokenizer_->decode(others) &&
           std::abs(score(ids) - score(others)) < 1e-3;
  }

  void compare(const json& vector, std::size_t part) {
    const auto text = vector["text"].get<std::string>();
    const Ids expected = vector["bare"].get<Ids>();
    // SentencePiece knows no special tokens in text.
    const Tokenizer::EncodeOptions options{.parse_special = !is_sentencepiece()};
    const Ids ids =
        tokenizer_->encode(text, {.add_special = false, .parse_special = options.parse_special});
    if (ids != expected && are_as_likely(ids, expected)) {
      ++ties_;
      return;
    }
    const auto [ours, theirs] =
        std::mismatch(ids.begin(), ids.end(), expected.begin(), expected.end());
    ASSERT_EQ(ids, expected) << "from " << json(Ids(ours, ids.end())) << " against "
                             << json(Ids(theirs, expected.end())) << " in " << vector["text"];
    EXPECT_EQ(tokenizer_->encode(text, options), vector["ids"].get<Ids>());
    EXPECT_EQ(encode_in_parts(*tokenizer_, text, options, part), vector["ids"].get<Ids>())
        << "parts of " << part << ": " << vector["text"];
    const auto decoded = vector["decoded"].get<std::string>();
    if (is_replaced(decoded) || takes_more_spaces(expected)) return;
    EXPECT_EQ(tokenizer_->decode(expected), decoded);
    EXPECT_EQ(stream(*tokenizer_, expected), decoded);
  }

  /// The tokenizers package takes all marks off the first token, here one is taken. SentencePiece
  /// writes U+2047 for what is unknown.
  bool takes_more_spaces(const Ids& ids) const {
    if (is_sentencepiece()) return std::find(ids.begin(), ids.end(), 2) != ids.end();
    for (const TokenId id : ids) {
      const std::string piece = tokenizer_->piece(id);
      if (!piece.empty()) return piece.starts_with("  ");
    }
    return false;
  }

  const ScratchFolder folder_;
  TokenizerData data_;
  std::unique_ptr<Tokenizer> tokenizer_;
  int ties_ = 0;
};

TEST_P(UnigramPackages, AgreeOnRandomTexts) {
  if (!has_python()) GTEST_SKIP() << "SLUICE_PYTHON is not set";
  ASSERT_NO_FATAL_FAILURE(make());
  std::ifstream lines(folder_.path() / "vectors.jsonl");
  int texts = 0;
  for (std::string line; std::getline(lines, line); ++texts) {
    ASSERT_NO_FATAL_FAILURE(compare(json::parse(line), 1 + static_cast<std::size_t>(texts) % 7));
    if (HasFailure()) break;
  }
  EXPECT_EQ(texts, GetParam().count);
  EXPECT_LE(ties_ * 100, texts);
}

INSTANTIATE_TEST_SUITE_P(Variants, UnigramPackages,
                         testing::Values(Case{"t5", 1500}, Case{"xlmr", 1500}, Case{"words", 1500},
                                         Case{"lattice", 1500}, Case{"bytes", 1500},
                                         Case{"ties", 1500}, Case{"steps", 1500},
                                         Case{"sp_nfkc", 1500}, Case{"sp_plain", 1500},
                                         Case{"sp_bytes", 1500}),
                         [](const auto& test) { return test.param.variant; });

/// Tokens of the given log probabilities behind an unknown one.
TokenizerData small_data(const std::vector<std::pair<std::string, double>>& tokens) {
  TokenizerData data;
  data.model = TokenizerModel::kUnigram;
  data.unknown = 0;
  data.tokens.push_back("<unk>");
  data.kinds.push_back(TokenKind::kUnknown);
  data.log_probabilities.push_back(0);
  for (const auto& [text, score] : tokens) {
    data.tokens.push_back(text);
    data.kinds.push_back(TokenKind::kNormal);
    data.log_probabilities.push_back(score);
  }
  return data;
}

TEST(Unigram, TakesTheLikeliestWay) {
  const auto tokenizer = make_tokenizer(
      small_data({{"a", -2}, {"b", -2}, {"ab", -5}, {"abc", -5}, {"bc", -1}, {"▁", -1}}));
  ASSERT_NE(tokenizer, nullptr);
  EXPECT_EQ(tokenizer->encode("ab"), Ids({1, 2}));
  EXPECT_EQ(tokenizer->encode("abc"), Ids({1, 5}));
  EXPECT_EQ(tokenizer->encode(" abcab"), Ids({6, 1, 5, 1, 2}));
  EXPECT_EQ(tokenizer->encode("xyz"), Ids({0}));  // one for a run
  EXPECT_EQ(tokenizer->encode("axyb\xff"), Ids({1, 0, 2, 0}));
  EXPECT_EQ(tokenizer->encode(""), Ids());
  EXPECT_EQ(tokenizer->decode({6, 1, 5}), " abc");
}

TEST(Unigram, WithoutAnUnknownTokenWhatIsNoTokenIsLeftOut) {
  auto data = small_data({{"a", -2}});
  data.unknown.reset();
  data.kinds[0] = TokenKind::kUnused;
  EXPECT_EQ(make_tokenizer(std::move(data))->encode("xaxx a"), Ids({1, 1}));
}

TEST(Unigram, TextWithoutBreaksGoesThroughInParts) {
  const auto tokenizer = make_tokenizer(small_data(
      {{"中", -3}, {"文", -3}, {"中文", -4}, {"文字", -4}, {"字", -3}, {"▁", -2}, {"文字中", -5}}));
  ASSERT_NE(tokenizer, nullptr);
  std::string text;
  while (text.size() < 4 * TokenStream::kLongestPiece) text += "中文字文中文😀字中";
  const Ids ids = encode_in_parts(*tokenizer, text, {}, 4093);
  EXPECT_FALSE(ids.empty());
  EXPECT_EQ(ids, tokenizer->encode(text));
  // Characters that no token knows are certain at once.
  const std::string unknown(4 * TokenStream::kLongestPiece, 'q');
  EXPECT_EQ(encode_in_parts(*tokenizer, unknown, {}, 1000), Ids({0}));
}

TEST(Unigram, ScoresThatAreNotFiniteAreRefused) {
  for (const double score : {std::nan(""), -HUGE_VAL, HUGE_VAL}) {
    const auto tokenizer = Tokenizer::create(small_data({{"a", -1}, {"b", score}}));
    ASSERT_FALSE(tokenizer.ok());
    EXPECT_EQ(tokenizer.status().code(), ErrorCode::kCorrupt);
    EXPECT_NE(tokenizer.status().message().find("token 2"), std::string::npos);
  }
}

}  // namespace
}  // namespace sluice::test
