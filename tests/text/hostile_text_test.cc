// Long texts that make a naive implementation quadratic, or worse: each megabyte takes well under
// two seconds.

#include <gtest/gtest.h>

#include <ctime>
#include <set>

#include "tests/text/tokenizer_support.h"
#include "text/normal_form.h"
#include "text/pre_tokenizers.h"
#include "text/splitter.h"

namespace sluice::test {
namespace {

constexpr std::size_t kBytes = std::size_t{1} << 20;
// Seconds of the processor, which others may be using too.
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
constexpr double kLimit = 20;
#else
constexpr double kLimit = 2;
#endif

std::string repeated(const std::string& unit) {
  std::string text;
  while (text.size() < kBytes) text += unit;
  return text;
}

std::vector<std::string> hostile_texts() {
  std::vector<std::string> texts;
  for (const char* unit :
       {" ",           "a",      "A",   "1",  "\n",       "\r\n",   "'",    "!",          "\t ",
        "aA",          "a ",     " \n", "中", "e\u0301",  "\u0301", "ǅ",    "\U0001F600", "<",
        "<|im_start|", "\u00a0", "ａ",  "'S", "\u3000\n", "\xff",   "a\xff"}) {
    texts.push_back(repeated(unit));
  }
  texts.push_back(repeated(" ") + "x");
  texts.push_back(repeated("A") + "1");
  texts.push_back("x" + repeated("\n") + "x");
  return texts;
}

double processor_seconds() { return static_cast<double>(std::clock()) / CLOCKS_PER_SEC; }

template <typename Work>
void expect_quick(const Work& work, const std::string& what) {
  const double start = processor_seconds();
  work();
  EXPECT_LT(processor_seconds() - start, kLimit) << what;
}

TEST(HostileText, EveryPreTokenizerCutsItInLinearTime) {
  PatternScratch scratch;
  std::set<std::string> seen;  // names share rows
  for (const std::string_view name : pre_tokenizer_names()) {
    const auto row = pre_tokenizer(name);
    ASSERT_TRUE(row.ok());
    std::string patterns;
    for (const SplitStep& step : row->splits) patterns += step.pattern + '\n';
    if (!seen.insert(patterns).second) continue;
    const auto splitter = Splitter::create(row->splits);
    ASSERT_TRUE(splitter.ok()) << splitter.status().message();
    for (const std::string& text : hostile_texts()) {
      if (text.find('\xff') != std::string::npos) continue;  // never reaches a pattern
      expect_quick(
          [&] {
            std::size_t bytes = 0;
            for (const std::string_view piece : splitter->split(text, scratch))
              bytes += piece.size();
            EXPECT_EQ(bytes, text.size());
          },
          std::string(name) + ": " + text.substr(0, 12));
    }
  }
}

void check_encoding(const Tokenizer& tokenizer, bool exact) {
  for (const std::string& text : hostile_texts()) {
    expect_quick(
        [&] {
          const auto ids = tokenizer.encode(text, {.add_special = false});
          EXPECT_TRUE(!exact || tokenizer.decode(ids, true) == text) << text.substr(0, 12);
        },
        text.substr(0, 12));
  }
}

TEST(HostileText, ByteLevelEncodesItInLinearTime) {
  const auto tokenizer = open_tokenizer(test_data("tokenizers/tales/tokenizer.json.gz"));
  ASSERT_NE(tokenizer, nullptr);
  check_encoding(*tokenizer, false);
}

TEST(HostileText, SentencePieceEncodesItInLinearTime) {
  const auto tokenizer = open_tokenizer(test_data("tokenizers/vocab/ggml-vocab-llama-spm.gguf.gz"));
  ASSERT_NE(tokenizer, nullptr);
  check_encoding(*tokenizer, true);
}

TEST(HostileText, UnigramEncodesItInLinearTime) {
  using Kind = NormalizeStep::Kind;
  for (const bool steps : {false, true}) {
    TokenizerData data;
    data.model = TokenizerModel::kUnigram;
    data.unknown = 0;
    data.tokens.push_back("<unk>");
    for (const char* unit : {"a", "1", "▁", "中", "!", "\n", "\u0301", "A", "aA"}) {
      std::string text;
      for (int i = 0; i < 16; ++i) data.tokens.push_back(text += unit);
    }
    for (std::size_t i = 0; i < data.tokens.size(); ++i) {
      data.log_probabilities.push_back(-1.0 - 0.1 * static_cast<double>(i % 16));
    }
    if (steps) {
      data.normalize = {{.kind = Kind::kNfkc},
                        {.kind = Kind::kReplace, .pattern = " {2,}", .content = " "},
                        {.kind = Kind::kStrip, .left = true, .right = true}};
    }
    const auto tokenizer = make_tokenizer(std::move(data));
    ASSERT_NE(tokenizer, nullptr);
    check_encoding(*tokenizer, false);
  }
}

TEST(HostileText, RankedBytesEncodeItInLinearTime) {
  TokenizerData data;
  data.model = TokenizerModel::kRankedBytes;
  data.pre_tokenizer = "kimi-k2";
  for (unsigned byte = 0; byte < 256; ++byte) {
    data.tokens.push_back(std::string(1, static_cast<char>(byte)));
  }
  for (const char* token : {"aa", "aaaa", "  ", "    ", "11", "\n\n", "AA", "aA"}) {
    data.tokens.push_back(token);
  }
  const auto tokenizer = make_tokenizer(std::move(data));
  ASSERT_NE(tokenizer, nullptr);
  check_encoding(*tokenizer, true);
}

TEST(HostileText, CombiningMarksOutOfOrderAreSortedInLinearithmicTime) {
  const std::string marks = repeated("\u0301\u0316");  // classes 230 and 220, in turn
  expect_quick(
      [&] {
        const std::string normal = to_normal_form("a" + marks, {});
        EXPECT_EQ(normal.substr(0, 4),
                  "\u00e1\u0316");  // a and the first mark of its class compose
        EXPECT_EQ(normal.size(), marks.size() + 2 - 2);
      },
      "marks");
}

// A pattern that backtracks exponentially gives up at a limit; no character is lost.
TEST(HostileText, PatternsThatExplodeAreBounded) {
  const auto splitter = Splitter::create({{.pattern = "(a|aa)+$x|(a*)*b"}});
  ASSERT_TRUE(splitter.ok()) << splitter.status().message();
  const std::string text = std::string(5000, 'a') + "c";
  PatternScratch scratch;
  const double start = processor_seconds();
  std::string joined;
  for (const std::string_view piece : splitter->split(text, scratch)) joined += piece;
  EXPECT_EQ(joined, text);
  EXPECT_LT(processor_seconds() - start, 5 * kLimit);
}

}  // namespace
}  // namespace sluice::test
