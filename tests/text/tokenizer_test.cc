// What holds for any tokenizer: round trips, streaming, added tokens, errors.

#include <gtest/gtest.h>

#include <random>

#include "tests/text/tokenizer_support.h"
#include "text/clean_spaces.h"
#include "text/utf8.h"

namespace sluice::test {
namespace {

using Ids = std::vector<TokenId>;

std::string random_bytes(std::mt19937& random) {
  std::string text;
  const std::size_t length = random() % 60;
  while (text.size() < length) {
    switch (random() % 4) {
      case 0:
        text += static_cast<char>(random() % 256);
        break;
      case 1:
        text += static_cast<char>(' ' + random() % 95);
        break;
      case 2:
        append_utf8(text, static_cast<char32_t>(0x20 + random() % 0xD000));
        break;
      default:
        append_utf8(text, static_cast<char32_t>(0x10000 + random() % 0x100000));
    }
  }
  return text;
}

/// What decoders make of text that need not be UTF-8: U+FFFD for each maximal subpart.
std::string with_replacements(std::string_view bytes) {
  std::string text;
  while (!bytes.empty()) {
    const Utf8Front front = utf8_front(bytes);
    if (front.state == Utf8Front::State::kWhole) {
      text += bytes.substr(0, front.length);
    } else {
      text += kReplacementCharacter;
    }
    bytes.remove_prefix(front.length);
  }
  return text;
}

/// 256 byte letters and a few merges; the tests say the rest.
TokenizerData byte_level_data() {
  TokenizerData data;
  data.model = TokenizerModel::kByteLevelBpe;
  data.pre_tokenizer = "gpt-2";
  for (unsigned byte = 0; byte < 256; ++byte) {
    // GPT-2's alphabet: the bytes that are no printable Latin-1 are U+0100 and up, in order.
    const bool itself = (byte >= 0x21 && byte <= 0x7E) || (byte >= 0xA1 && byte != 0xAD);
    std::string letter;
    const unsigned before = byte < 0x21 ? byte : byte < 0xA1 ? 33 + byte - 0x7F : 67;
    append_utf8(letter, itself ? byte : 0x100 + before);
    data.tokens.push_back(letter);
  }
  for (const char* token : {"he", "ll", "hell", "hello", "Ġhello", "Ġh"})
    data.tokens.push_back(token);
  for (const char* merge : {"h e", "l l", "he ll", "hell o", "Ġ hello"})
    data.merges.push_back(merge);
  return data;
}

TEST(ByteLevel, MergesByRank) {
  const auto tokenizer = make_tokenizer(byte_level_data());
  ASSERT_NE(tokenizer, nullptr);
  EXPECT_EQ(tokenizer->encode("hello"), Ids({259}));
  EXPECT_EQ(tokenizer->encode(" hello hell"), Ids({260, 32, 258}));
  EXPECT_EQ(tokenizer->encode(""), Ids());
  EXPECT_EQ(tokenizer->piece(260), " hello");
  EXPECT_EQ(tokenizer->piece(-1), "");
  EXPECT_EQ(tokenizer->piece(1000), "");
}

TEST(ByteLevel, IgnoringMergesTakesAWholePieceAsItStands) {
  auto data = byte_level_data();
  const auto merging = make_tokenizer(data);
  data.ignore_merges = true;
  const auto ignoring = make_tokenizer(std::move(data));
  EXPECT_EQ(merging->encode(" h"), Ids({32, 'h'}));  // no merge makes it
  EXPECT_EQ(ignoring->encode(" h"), Ids({261}));
}

TEST(ByteLevel, GivesBackAnyBytes) {
  std::mt19937 random(1);
  const auto tokenizer = make_tokenizer(byte_level_data());
  for (int i = 0; i < 5000; ++i) {
    const std::string text = random_bytes(random);
    const Ids ids = tokenizer->encode(text);
    ASSERT_EQ(tokenizer->decode(ids), text);
    ASSERT_EQ(stream(*tokenizer, ids), with_replacements(text));
  }
}

TEST(ByteLevel, BytesThatAreNoTextAreAPieceOfTheirOwn) {
  auto data = byte_level_data();
  data.tokens.push_back("Ģhe");  // the byte 0x80 before "he"
  data.merges.push_back("Ģ he");
  const auto tokenizer = make_tokenizer(std::move(data));
  EXPECT_EQ(tokenizer->encode("\x80he"), Ids({0x80, 256}));
}

TEST(SentencePiece, KeepsBytesThatAreNoText) {
  const auto tokenizer = open_tokenizer(test_data("tokenizers/vocab/ggml-vocab-llama-spm.gguf.gz"));
  ASSERT_NE(tokenizer, nullptr);
  std::mt19937 random(2);
  for (int i = 0; i < 3000; ++i) {
    const std::string text = random_bytes(random);
    const Ids ids = tokenizer->encode(text, {.parse_special = false});
    ASSERT_EQ(ids.front(), 1);  // <s>
    ASSERT_EQ(tokenizer->decode(ids), text);
    ASSERT_EQ(stream(*tokenizer, ids), with_replacements(text));
  }
  EXPECT_EQ(tokenizer->decode(tokenizer->encode("<s>a</s>"), true), "<s><s> a</s>");
  EXPECT_EQ(tokenizer->decode(tokenizer->encode("<s>a</s>")), "a");
}

TokenizerData scored_data() {
  TokenizerData data;
  data.model = TokenizerModel::kSentencePieceBpe;
  data.unknown = 0;
  const auto add = [&](const char* text, float score, TokenKind kind = TokenKind::kNormal) {
    data.tokens.push_back(text);
    data.scores.push_back(score);
    data.kinds.push_back(kind);
  };
  add("<unk>", 0, TokenKind::kUnknown);
  for (const char* letter : {"a", "b", "c", "▁"}) add(letter, -10);  // 1–4
  add("ab", -1, TokenKind::kUnused);                                 // 5
  add("abc", -2);                                                    // 6
  add("bc", -3);                                                     // 7
  add("aa", -3);                                                     // 8
  return data;
}

TEST(SentencePiece, MergesTheBestScoreThenTheLeftmost) {
  const auto tokenizer = make_tokenizer(scored_data());
  EXPECT_EQ(tokenizer->encode("abc"), Ids({6}));
  EXPECT_EQ(tokenizer->encode("aaa"), Ids({8, 1}));
  EXPECT_EQ(tokenizer->encode("c ab"), Ids({3, 4, 1, 2}));  // "ab" is only a step on the way
}

TEST(SentencePiece, MergesAcrossASpaceWhereTheVocabularyDoes) {
  auto data = scored_data();
  const auto apart = make_tokenizer(data);
  EXPECT_EQ(apart->encode("abc abc  bc"), Ids({6, 4, 6, 4, 4, 7}));
  data.tokens.push_back("a▁");
  data.scores.push_back(0);
  data.kinds.push_back(TokenKind::kNormal);
  const auto joined = make_tokenizer(std::move(data));
  EXPECT_EQ(joined->encode("abc abc  bc"), Ids({6, 4, 6, 4, 4, 7}));
  EXPECT_EQ(joined->encode("a abc"), Ids({9, 6}));
}

TEST(SentencePiece, OneUnknownForARunWithoutByteFallback) {
  const auto tokenizer = make_tokenizer(scored_data());
  EXPECT_EQ(tokenizer->encode("xyza?"), Ids({0, 1, 0}));
  EXPECT_EQ(tokenizer->encode("x\xff"), Ids({0, 0}));  // runs of text and of other bytes are apart
  EXPECT_EQ(tokenizer->decode({0, 1, 0}), "a");
  EXPECT_EQ(tokenizer->decode({0, 1}, true), "<unk>a");
}

TEST(AddedTokens, OptionsSayWhichCount) {
  auto data = byte_level_data();
  data.tokens.push_back("<|end|>");
  data.tokens.push_back("<tool>");
  data.added = {{.id = 262, .text = "<|end|>", .special = true}, {.id = 263, .text = "<tool>"}};
  data.bos = 262;
  data.eos = 262;
  data.add_bos = data.add_eos = true;
  data.end_of_generation = {262};
  const auto tokenizer = make_tokenizer(std::move(data));
  EXPECT_EQ(tokenizer->encode("hello<|end|><tool>"), Ids({262, 259, 262, 263, 262}));
  EXPECT_EQ(tokenizer->encode("<|end|><tool>", {.add_special = false}), Ids({262, 263}));
  const Ids text =
      tokenizer->encode("<|end|><tool>", {.add_special = false, .parse_special = false});
  EXPECT_EQ(text.size(), 8u);
  EXPECT_EQ(text.back(), 263);
  EXPECT_EQ(tokenizer->decode(text), "<|end|><tool>");
  EXPECT_EQ(tokenizer->decode({259, 262, 263}), "hello<tool>");
  EXPECT_EQ(tokenizer->decode({259, 262, 263}, true), "hello<|end|><tool>");
  EXPECT_TRUE(tokenizer->ends_generation(262));
  EXPECT_FALSE(tokenizer->ends_generation(263));
}

TEST(Detokenizer, HoldsUnfinishedCharactersBack) {
  const auto tokenizer = make_tokenizer(byte_level_data());
  Detokenizer detokenizer(*tokenizer);
  EXPECT_EQ(detokenizer.push(0xE2), "");
  EXPECT_EQ(detokenizer.push(0x82), "");
  EXPECT_EQ(detokenizer.push(0xAC), "€");
  EXPECT_EQ(detokenizer.push(0xF0), "");
  EXPECT_EQ(detokenizer.push('a'), "\uFFFDa");
  EXPECT_EQ(detokenizer.push(0xC3), "");
  EXPECT_EQ(detokenizer.finish(), "\uFFFD");
  EXPECT_EQ(detokenizer.finish(), "");
}

TEST(Detokenizer, AContinuationKeepsItsFirstSpace) {
  auto data = scored_data();
  data.add_space_prefix = true;
  const auto tokenizer = make_tokenizer(std::move(data));
  EXPECT_EQ(tokenizer->decode({4, 1}), "a");
  Detokenizer beginning(*tokenizer), continuing(*tokenizer, true);
  EXPECT_EQ(beginning.push(4), "");
  EXPECT_EQ(beginning.push(1), "a");
  EXPECT_EQ(continuing.push(4), " ");
  EXPECT_EQ(continuing.push(1), "a");
}

TEST(CleanSpaces, StreamsWhatItMakesOfTheWhole) {
  EXPECT_EQ(clean_spaces("a . b , do n't ' x ' 's  !"), "a. b, don't'x''s !");
  auto data = byte_level_data();
  data.clean_spaces = true;
  const auto tokenizer = make_tokenizer(std::move(data));
  std::mt19937 random(3);
  for (int i = 0; i < 5000; ++i) {
    std::string text;
    for (std::size_t length = random() % 40; text.size() < length;)
      text += "  ..?!,''ntmsverxo"[random() % 18];
    const Ids ids = tokenizer->encode(text);
    ASSERT_EQ(tokenizer->decode(ids), clean_spaces(text));
    ASSERT_EQ(stream(*tokenizer, ids), clean_spaces(text)) << '"' << text << '"';
  }
}

void expect_error(TokenizerData data, ErrorCode code, const std::string& part) {
  const auto tokenizer = Tokenizer::create(std::move(data));
  ASSERT_FALSE(tokenizer.ok()) << part;
  EXPECT_EQ(tokenizer.status().code(), code);
  EXPECT_NE(tokenizer.status().message().find(part), std::string::npos)
      << tokenizer.status().message();
}

TEST(TokenizerErrors, NameWhatIsWrong) {
  expect_error({}, ErrorCode::kUnsupported, "no tokenizer");
  auto data = byte_level_data();
  data.pre_tokenizer = "no-such-name";
  expect_error(data, ErrorCode::kUnsupported, "no-such-name");
  data = byte_level_data();
  data.pre_tokenizer.clear();
  data.splits = {{.pattern = "(unclosed"}};
  expect_error(data, ErrorCode::kUnsupported, "(unclosed");
  data.splits = {{.pattern = "[^a&&b]"}};
  expect_error(data, ErrorCode::kUnsupported, "intersection");
  data.splits = {{.pattern = "[a&&[b]c]"}};
  expect_error(data, ErrorCode::kUnsupported, "class within");
  data.splits = {{.pattern = "[a&&[b"}};
  expect_error(data, ErrorCode::kUnsupported, "unfinished");
  data = byte_level_data();
  data.merges.push_back("q qq");
  expect_error(data, ErrorCode::kCorrupt, "q qq");
  data = byte_level_data();
  data.kinds.resize(3);
  expect_error(data, ErrorCode::kCorrupt, "3 kinds");
  data = byte_level_data();
  data.eos = 5000;
  expect_error(data, ErrorCode::kCorrupt, "eos token 5000");
  data = byte_level_data();
  data.added = {{.id = 9999, .text = "<x>"}};
  expect_error(data, ErrorCode::kCorrupt, "<x>");
  data = scored_data();
  data.scores.pop_back();
  expect_error(data, ErrorCode::kCorrupt, "8 scores");
}

}  // namespace
}  // namespace sluice::test
