// A text that arrives in parts has the ids of the whole, wherever the parts end.

#include <gtest/gtest.h>

#include <random>

#include "tests/text/tokenizer_support.h"
#include "text/byte_alphabet.h"
#include "text/normalizer.h"
#include "text/pre_tokenizers.h"

namespace sluice::test {
namespace {

using Ids = std::vector<TokenId>;

/// Texts of whatever may hang together: spaces, marks, syllables of Hangul, digits, contractions,
/// added tokens and their beginnings, bytes that are no UTF-8.
class RandomTexts {
 public:
  std::string next() {
    static const std::vector<std::string> parts = {
        " ",      "  ",       "\n",       "\r\n",  "\t",      "\u00a0", "\u3000", "a",
        "b",      "ab",       "he",       "Hello", "'s",      "'S",     "'",      "1",
        "123",    "!",        "...",      "é",     "e\u0301", "\u0301", "\u0316", "\u1100",
        "\u1161", "\u11a8",   "한",       "中",    "文",      "。",     "ǅ",      "\U0001F600",
        "<|x|>",  "<|",       "<|x",      "|>",    "<y>",     "▁",      "▁▁",     "\xff",
        "\xe4",   "\xe4\xb8", "\xf0\x9f", "あ",    "ア",      "/",      "_",      "\u0915\u093e"};
    std::string text;
    const std::size_t count = random_() % 40;
    while (text.size() < 4 * count) text += parts[random_() % parts.size()];
    return text;
  }
  std::size_t below(std::size_t limit) { return random_() % limit; }

 private:
  std::mt19937 random_{20240607};
};

std::vector<AddedToken> awkward_tokens(TokenId first) {
  return {{.id = first, .text = "<|x|>", .special = true, .lstrip = true, .rstrip = true},
          {.id = first + 1, .text = "<|", .single_word = true},
          {.id = first + 2, .text = "<y> ", .normalized = true}};
}

std::unique_ptr<Tokenizer> byte_level(std::string_view pre_tokenizer, bool nfc) {
  TokenizerData data;
  data.model = TokenizerModel::kByteLevelBpe;
  data.pre_tokenizer = pre_tokenizer;
  if (nfc) data.normalize = {{NormalizeStep::Kind::kNfc}};
  data.add_space_prefix = nfc;
  for (unsigned byte = 0; byte < 256; ++byte) {
    data.tokens.push_back(letter_of_byte(static_cast<unsigned char>(byte)));
  }
  for (const char* token : {"he", "Ġhe", "ĠĠ", "ĊĊ", "<|x|>", "<|", "<y> "}) {
    data.tokens.push_back(token);
  }
  for (const char* merge : {"h e", "Ġ he", "Ġ Ġ", "Ċ Ċ"}) data.merges.push_back(merge);
  data.added = awkward_tokens(260);
  return make_tokenizer(std::move(data));
}

/// `words`: no token has a space after a letter, so that words stay apart.
std::unique_ptr<Tokenizer> sentencepiece(bool words, bool once, bool nfc) {
  TokenizerData data;
  data.model = TokenizerModel::kSentencePieceBpe;
  data.add_space_prefix = true;
  data.space_prefix_once = once;
  if (nfc) data.normalize = {{NormalizeStep::Kind::kNfc}};
  data.unknown = 0;
  for (const char* token : {"<unk>", "▁", "a", "b", "ab", "▁a", "▁▁", "中", "文", "中文", "é", "h",
                            "e", "he", "1", "11", "<|x|>", "<|", "<y> "}) {
    data.tokens.push_back(token);
  }
  if (!words) data.tokens.push_back("b▁a");
  for (std::size_t i = 0; i < data.tokens.size(); ++i) {
    data.scores.push_back(-static_cast<float>(i));
  }
  data.added = awkward_tokens(16);
  return make_tokenizer(std::move(data));
}

std::unique_ptr<Tokenizer> unigram(std::vector<NormalizeStep> steps) {
  TokenizerData data;
  data.model = TokenizerModel::kUnigram;
  data.add_space_prefix = true;
  data.normalize = std::move(steps);
  data.unknown = 0;
  for (const char* token : {"<unk>", "▁", "a", "b",  "ab", "▁a", "▁▁",  "中",    "文", "中文",
                            "é",     "h", "e", "he", "1",  "11", "aab", "<|x|>", "<|", "<y> "}) {
    data.tokens.push_back(token);
    data.log_probabilities.push_back(-0.7 * static_cast<double>(data.tokens.size() % 7));
  }
  data.log_probabilities.resize(17);
  data.kinds.assign(20, TokenKind::kNormal);
  data.kinds[0] = TokenKind::kUnknown;
  data.added = awkward_tokens(17);
  return make_tokenizer(std::move(data));
}

void expect_the_same_in_parts(const Tokenizer& tokenizer, int texts, const std::string& what) {
  RandomTexts random;
  for (int i = 0; i < texts; ++i) {
    const std::string text = random.next();
    const Tokenizer::EncodeOptions options{.parse_special = random.below(4) != 0};
    const std::size_t bytes = 1 + random.below(9);
    ASSERT_EQ(encode_in_parts(tokenizer, text, options, bytes), tokenizer.encode(text, options))
        << what << ", parts of " << bytes << ": " << testing::PrintToString(text);
  }
}

TEST(Encoder, PartsHaveTheIdsOfTheWholeUnderEveryPreTokenizer) {
  for (const std::string_view name : pre_tokenizer_names()) {
    for (const bool nfc : {false, true}) {
      const auto tokenizer = byte_level(name, nfc);
      ASSERT_NE(tokenizer, nullptr);
      expect_the_same_in_parts(*tokenizer, 300, std::string(name));
    }
  }
}

TEST(Encoder, PartsHaveTheIdsOfTheWholeForSentencePiece) {
  for (const unsigned flags : {0u, 1u, 2u, 3u, 4u, 5u, 6u, 7u}) {
    const auto tokenizer = sentencepiece((flags & 1) != 0, (flags & 2) != 0, (flags & 4) != 0);
    ASSERT_NE(tokenizer, nullptr);
    expect_the_same_in_parts(*tokenizer, 1500, "flags " + std::to_string(flags));
  }
}

TEST(Encoder, PartsHaveTheIdsOfTheWholeForStepsOfNormalising) {
  using Kind = NormalizeStep::Kind;
  const std::vector<NormalizeStep> steps = {
      {.kind = Kind::kNfc},
      {.kind = Kind::kNfd},
      {.kind = Kind::kNfkc},
      {.kind = Kind::kNfkd},
      {.kind = Kind::kStrip, .left = true, .right = true},
      {.kind = Kind::kStrip, .right = true, .only_spaces = true},
      {.kind = Kind::kReplace, .pattern = "he", .literal = true, .content = "中"},
      {.kind = Kind::kReplace, .pattern = " {2,}", .content = " "},
      {.kind = Kind::kReplace, .pattern = R"((?<=a)b|\s+(?!a)|(?=1))", .content = "é"},
      {.kind = Kind::kReplace, .pattern = R"(\s+$|^a|\b)", .content = "<y> "}};
  for (const NormalizeStep& first : steps) {
    for (const NormalizeStep& second : steps) {
      const auto tokenizer = unigram({first, second});
      ASSERT_NE(tokenizer, nullptr);
      expect_the_same_in_parts(*tokenizer, 60, first.pattern + " then " + second.pattern);
    }
  }
}

TEST(Encoder, PartsHaveTheIdsOfTheWholeForBehavioursOfSplits) {
  using Behaviour = SplitStep::Behaviour;
  for (const Behaviour behaviour :
       {Behaviour::kIsolated, Behaviour::kRemoved, Behaviour::kMergedWithPrevious,
        Behaviour::kMergedWithNext, Behaviour::kContiguous}) {
    for (const char* pattern : {" ", "[ab]*", "(?<=a)b|\\s+\\z", "\\b", "a+?", "(?<!\\s)\\s+$"}) {
      for (const bool invert : {false, true}) {
        TokenizerData data;
        data.model = TokenizerModel::kByteLevelBpe;
        for (unsigned byte = 0; byte < 256; ++byte) {
          data.tokens.push_back(letter_of_byte(static_cast<unsigned char>(byte)));
        }
        for (const char* token : {"aa", "ab", "Ġa", "aĠ"}) data.tokens.push_back(token);
        for (const char* merge : {"a a", "a b", "Ġ a", "a Ġ"}) data.merges.push_back(merge);
        data.splits = {{.pattern = pattern, .invert = invert, .behaviour = behaviour},
                       {.pattern = "\\n|^b", .behaviour = Behaviour::kMergedWithNext}};
        const auto tokenizer = make_tokenizer(std::move(data));
        ASSERT_NE(tokenizer, nullptr);
        expect_the_same_in_parts(*tokenizer, 150, pattern);
      }
    }
  }
}

TEST(Encoder, ALongTextInPartsHasTheIdsOfTheWhole) {
  const std::string story = read_text(test_data("models/tales/valid.txt"));
  for (const char* source :
       {"tokenizers/tales/tokenizer.json.gz", "tokenizers/vocab/ggml-vocab-llama-spm.gguf.gz"}) {
    const auto tokenizer = open_tokenizer(test_data(source));
    ASSERT_NE(tokenizer, nullptr);
    const Ids whole = tokenizer->encode(story);
    EXPECT_GT(whole.size(), 10000u);
    for (const std::size_t bytes : {999, 65536, 10'000'000}) {
      EXPECT_EQ(encode_in_parts(*tokenizer, story, {}, bytes), whole) << source << ' ' << bytes;
    }
  }
}

TEST(Encoder, AStretchThatCannotBeCutIsRefused) {
  const auto tokenizer = byte_level("qwen2", false);
  ASSERT_NE(tokenizer, nullptr);
  const std::string word(3 * TokenStream::kLongestPiece, 'a');
  const auto stream = tokenizer->stream({});
  Ids ids;
  const Status status = stream->push(word, ids);
  EXPECT_EQ(status.code(), ErrorCode::kUnsupported);
  EXPECT_NE(status.message().find("65536 bytes"), std::string::npos) << status.message();
  // A little less goes through, and many of them.
  std::string text;
  for (int i = 0; i < 20; ++i) text += word.substr(0, TokenStream::kLongestPiece - 20000) + ' ';
  EXPECT_EQ(encode_in_parts(*tokenizer, text, {}, 10000), tokenizer->encode(text));
}

// SentencePiece marks a space with three bytes; a run of them has no place to cut.
TEST(Encoder, ARunOfSpacesIsAsLongAsItIsInTheText) {
  const auto tokenizer = open_tokenizer(test_data("tokenizers/vocab/ggml-vocab-llama-spm.gguf.gz"));
  ASSERT_NE(tokenizer, nullptr);
  const std::string spaces(TokenStream::kLongestPiece - 5000, ' ');
  EXPECT_EQ(encode_in_parts(*tokenizer, spaces + "end", {}, 4096),
            tokenizer->encode(spaces + "end"));
  // Of longer ones, more white space is no remedy.
  const auto advice = [&](const std::string& text) {
    Ids ids;
    const Status status = tokenizer->stream({})->push(text, ids);
    EXPECT_EQ(status.code(), ErrorCode::kUnsupported);
    return status.message();
  };
  const std::string long_run = advice(std::string(2 * TokenStream::kLongestPiece, ' '));
  EXPECT_NE(long_run.find("Less white space"), std::string::npos) << long_run;
  const std::string word = advice(std::string(2 * TokenStream::kLongestPiece, 'a'));
  EXPECT_NE(word.find("White space or new lines"), std::string::npos) << word;
}

// Chinese and Japanese have no spaces: SentencePiece's own words would be the whole text.
TEST(Encoder, TextWithoutSpacesIsCutBetweenCharactersThatNoTokenJoins) {
  const auto tokenizer = open_tokenizer(test_data("tokenizers/vocab/ggml-vocab-llama-spm.gguf.gz"));
  ASSERT_NE(tokenizer, nullptr);
  std::string text;
  while (text.size() < 4 * TokenStream::kLongestPiece) text += "我喜欢读书。\n你呢？";
  const Ids ids = encode_in_parts(*tokenizer, text, {}, 4096);
  EXPECT_FALSE(ids.empty());
  EXPECT_EQ(ids, tokenizer->encode(text));
}

}  // namespace
}  // namespace sluice::test
