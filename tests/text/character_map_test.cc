// SentencePiece's character maps: what they replace, and maps that point nowhere.

#include "text/character_map.h"

#include <gtest/gtest.h>

#include <map>

#include "tests/text/tokenizer_support.h"

namespace sluice::test {
namespace {

using Ids = std::vector<TokenId>;

/// Writes a map by the format's description: each node's children have 256 units of their own.
class MapBuilder {
 public:
  void add(const std::string& text, const std::string& replacement) {
    add_at(text, static_cast<std::uint32_t>(replacements_.size()));
    replacements_ += replacement + '\0';
  }
  /// `value`: where in the replacements it begins.
  void add_at(const std::string& text, std::uint32_t value) {
    Node* node = &root_;
    for (const char c : text) node = &node->children[static_cast<unsigned char>(c)];
    node->value = value;
    node->has_value = true;
  }
  std::string build() {
    units_.assign(256, 0);
    place(root_, 0);
    std::string file;
    put(file, static_cast<std::uint32_t>(units_.size() * 4));
    for (const std::uint32_t unit : units_) put(file, unit);
    return file + replacements_;
  }

 private:
  struct Node {
    std::map<unsigned char, Node> children;
    bool has_value = false;
    std::uint32_t value = 0;
  };

  void place(const Node& node, std::uint32_t at) {
    const auto base = static_cast<std::uint32_t>(units_.size());
    units_.resize(units_.size() + 256, 0);
    units_[at] |= (at ^ base) << 10 | (node.has_value ? 1u << 8 : 0);
    if (node.has_value) units_[base] = node.value | 1u << 31;
    for (const auto& [byte, child] : node.children) {
      units_[base ^ byte] = byte;
      place(child, base ^ byte);
    }
  }
  static void put(std::string& file, std::uint32_t unit) {
    for (int shift = 0; shift < 32; shift += 8) file += static_cast<char>(unit >> shift & 0xFF);
  }

  Node root_;
  std::vector<std::uint32_t> units_;
  std::string replacements_;
};

CharacterMap make_map(MapBuilder builder) {
  auto map = CharacterMap::create(builder.build());
  EXPECT_TRUE(map.ok());
  return std::move(map).value();
}

TEST(CharacterMap, FindsTheLongestAndTheShortest) {
  MapBuilder builder;
  builder.add("a", "x");
  builder.add("ab", "yz");
  builder.add("abcd", "");
  builder.add("é", "e");
  const CharacterMap map = make_map(builder);
  EXPECT_EQ(map.longest("abce").length, 2u);
  EXPECT_EQ(map.longest("abce").replacement, "yz");
  EXPECT_FALSE(map.longest("abce").open);
  EXPECT_TRUE(map.longest("abc").open);
  EXPECT_EQ(map.longest("abcde").length, 4u);
  EXPECT_EQ(map.longest("abcde").replacement, "");
  EXPECT_EQ(map.shortest("abcd").length, 1u);
  EXPECT_EQ(map.shortest("abcd").replacement, "x");
  EXPECT_EQ(map.longest("é").replacement, "e");
  EXPECT_EQ(map.longest("è").length, 0u);
  EXPECT_EQ(map.longest(std::string_view("\0", 1)).length, 0u);
}

TEST(CharacterMap, WhatPointsNowhereIsAbsent) {
  MapBuilder builder;
  builder.add("a", "\xff");                  // no text
  builder.add("b", std::string(2000, 'x'));  // too much of it
  builder.add_at("c", 0x7FFFFFFF);           // outside
  builder.add("\xC3", "x");                  // half a character
  builder.add("d", std::string(1024, 'y'));
  const CharacterMap map = make_map(builder);
  for (const char* text : {"a", "b", "c", "é"}) EXPECT_EQ(map.longest(text).length, 0u) << text;
  EXPECT_EQ(map.longest("d").replacement.size(), 1024u);
  // Every offset flipped, one after the other: nothing worse than another answer.
  std::string file = builder.build();
  for (std::size_t at = 4; at < 4 + 512 * 4; ++at) {
    std::string spoilt = file;
    spoilt[at] = static_cast<char>(spoilt[at] ^ 0xFF);
    const auto other = CharacterMap::create(spoilt);
    ASSERT_TRUE(other.ok());
    for (const char* text : {"a", "b", "c", "d", "é", "zz"}) {
      EXPECT_LE(other->longest(text).length, 2u);
      EXPECT_LE(other->shortest(text).length, 2u);
    }
  }
}

TEST(CharacterMap, AFileThatIsNoneIsRefused) {
  const std::string whole = MapBuilder().build();
  for (const std::string& file :
       {std::string(), std::string("abc"), std::string("\0\0\0\0", 4), whole.substr(0, 100),
        std::string("\3\0\0\0xxx", 7), std::string("\xff\xff\xff\xff", 4) + whole}) {
    const auto map = CharacterMap::create(file);
    ASSERT_FALSE(map.ok()) << file.size();
    EXPECT_EQ(map.status().code(), ErrorCode::kCorrupt);
    EXPECT_NE(map.status().message().find("precompiled_charsmap"), std::string::npos);
  }
}

TEST(CharacterMap, TextInPartsBecomesWhatTheWholeDoes) {
  MapBuilder builder;
  builder.add("ab", "b");
  builder.add("aab", "");
  builder.add("e\u0301", "a");
  builder.add("\r\n", " ");
  for (const bool by_cluster : {false, true}) {
    TokenizerData data;
    data.model = TokenizerModel::kUnigram;
    data.unknown = 0;
    for (const char* token : {"<unk>", "a", "b", "▁", "ab", "ba", "e"}) {
      data.tokens.push_back(token);
      data.log_probabilities.push_back(-1.5 * static_cast<double>(data.tokens.size()));
    }
    data.normalize = {{.kind = NormalizeStep::Kind::kCharacterMap,
                       .content = builder.build(),
                       .by_cluster = by_cluster}};
    const auto tokenizer = make_tokenizer(std::move(data));
    ASSERT_NE(tokenizer, nullptr);
    EXPECT_EQ(tokenizer->encode("e\u0301"), Ids({1}));
    EXPECT_EQ(tokenizer->encode("\r\n"), Ids({3}));
    for (int i = 0; i < 2000; ++i) {
      std::string text;
      for (int seed = i * 7919 + 13; seed > 0; seed /= 5) {
        const char* parts[] = {"a", "b", "e\u0301", "\r\n", "aa"};
        text += parts[seed % 5];
      }
      ASSERT_EQ(encode_in_parts(*tokenizer, text, {}, 1 + static_cast<std::size_t>(i) % 5),
                tokenizer->encode(text))
          << text;
    }
  }
}

}  // namespace
}  // namespace sluice::test
