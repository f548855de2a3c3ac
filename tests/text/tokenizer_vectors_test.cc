// Ids and texts that other implementations made: the vectors of llama.cpp's vocabulary files, and
// the tokenizers package.

#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "tests/text/tokenizer_support.h"
#include "text/pre_tokenizers.h"
#include "text/splitter.h"
#include "text/utf8.h"

namespace sluice::test {
namespace {

using nlohmann::json;
using Ids = std::vector<TokenId>;

std::vector<std::string> split_lines(const std::string& text, const std::string& separator) {
  std::vector<std::string> parts;
  std::size_t begin = 0;
  for (std::size_t end; (end = text.find(separator, begin)) != std::string::npos;
       begin = end + separator.size()) {
    parts.push_back(text.substr(begin, end - begin));
  }
  parts.push_back(text.substr(begin));
  return parts;
}

/// The texts of name.inp have the ids of name.out.
void check_vocabulary_vectors(const Tokenizer& tokenizer, const std::string& name) {
  const std::string base = "tokenizers/vocab/" + name;
  auto texts = split_lines(read_text(test_data(base + ".inp")), "\n__ggml_vocab_test__\n");
  ASSERT_EQ(texts.back(), "");  // nothing follows the last separator
  texts.pop_back();
  const auto lines = split_lines(read_text(test_data(base + ".out")), "\n");
  ASSERT_GE(texts.size(), 40u);
  ASSERT_EQ(texts.size() + 1, lines.size());  // the last line ends
  for (std::size_t i = 0; i < texts.size(); ++i) {
    Ids expected;
    std::istringstream line(lines[i]);
    for (TokenId id; line >> id;) expected.push_back(id);
    const Ids ids = tokenizer.encode(texts[i], {.add_special = false, .parse_special = false});
    EXPECT_EQ(ids, expected) << name << ": " << texts[i];
    const Tokenizer::EncodeOptions plain{.add_special = false, .parse_special = false};
    for (const std::size_t bytes : {1, 2, 5}) {
      EXPECT_EQ(encode_in_parts(tokenizer, texts[i], plain, bytes), expected) << texts[i];
    }
    EXPECT_EQ(tokenizer.decode(ids), texts[i]);
    EXPECT_EQ(stream(tokenizer, ids), texts[i]);
  }
}

TEST(TokenizerVectors, Gpt2) {
  const auto path = test_data("tokenizers/vocab/ggml-vocab-gpt-2.gguf.gz");
  if (path.empty()) GTEST_SKIP() << "needs the whole data set";
  const auto tokenizer = open_tokenizer(path);
  ASSERT_NE(tokenizer, nullptr);
  EXPECT_EQ(tokenizer->size(), 50257u);
  check_vocabulary_vectors(*tokenizer, "ggml-vocab-gpt-2.gguf");
}

TEST(TokenizerVectors, LlamaSentencePiece) {
  const auto path = test_data("tokenizers/vocab/ggml-vocab-llama-spm.gguf.gz");
  ASSERT_FALSE(path.empty());
  const auto tokenizer = open_tokenizer(path);
  ASSERT_NE(tokenizer, nullptr);
  EXPECT_EQ(tokenizer->size(), 32000u);
  check_vocabulary_vectors(*tokenizer, "ggml-vocab-llama-spm.gguf");
}

// The vectors came without their GGUF; Qwen3's vocabulary has Qwen2's ids.
TEST(TokenizerVectors, Qwen2) {
  const auto path = test_data("tokenizers/qwen3/tokenizer.json.gz");
  if (path.empty()) GTEST_SKIP() << "needs the whole data set";
  const auto tokenizer = open_tokenizer(path);
  ASSERT_NE(tokenizer, nullptr);
  check_vocabulary_vectors(*tokenizer, "ggml-vocab-qwen2.gguf");
}

struct Case {
  std::string source;
  std::string variant;
  int count;
};

std::ostream& operator<<(std::ostream& out, const Case& c) {
  return out << c.source << ' ' << c.variant;
}

bool is_replaced(const std::string& text) { return text.find("\xEF\xBF\xBD") != std::string::npos; }

// Vectors of the tokenizers package that are there without it.
TEST(TokenizerVectors, TalesFrozen) {
  const ScratchFolder folder;
  const auto tokenizer = open_tokenizer(test_data("tokenizers/tales/tokenizer.json.gz"));
  ASSERT_NE(tokenizer, nullptr);
  const auto vectors = test_data("tokenizers/tales/vectors.jsonl.gz");
  const auto plain = folder.path() / "vectors.jsonl";
  ASSERT_TRUE(run_command("gunzip -c '" + vectors.string() + "' > '" + plain.string() + "'"));
  std::ifstream lines(plain);
  int texts = 0;
  for (std::string line; std::getline(lines, line); ++texts) {
    const json vector = json::parse(line);
    const Ids ids = vector["ids"].get<Ids>();
    ASSERT_EQ(tokenizer->encode(vector["text"].get<std::string>()), ids) << vector["text"];
    const auto decoded = vector["decoded"].get<std::string>();
    ASSERT_TRUE(is_replaced(decoded) || tokenizer->decode(ids) == decoded) << vector;
  }
  EXPECT_EQ(texts, 220);
}

// The same vocabulary, once from GGUF and once from tokenizer.json.
TEST(TokenizerVectors, TalesGgufIsItsTokenizerJson) {
  const auto gguf = test_data("models/tales/tales-q8_0.gguf");
  const auto text = test_data("models/tales/valid.txt");
  if (gguf.empty() || text.empty()) GTEST_SKIP() << "needs the whole data set";
  const auto from_gguf = open_tokenizer(gguf);
  const auto from_json = open_tokenizer(test_data("tokenizers/tales/tokenizer.json.gz"));
  ASSERT_NE(from_gguf, nullptr);
  ASSERT_NE(from_json, nullptr);
  const std::string story = read_text(text);
  const Ids ids = from_gguf->encode(story);
  EXPECT_GT(ids.size(), 10000u);
  EXPECT_EQ(ids, from_json->encode(story));
  EXPECT_EQ(from_gguf->decode(ids, true), story);
  const std::string decomposed = "e\u0301 <|im_start|>A\u030a \u1100\u1161";
  EXPECT_EQ(from_gguf->encode(decomposed), from_json->encode(decomposed));
  EXPECT_TRUE(from_gguf->ends_generation(*from_gguf->data().eos));
}

class TokenizersPackage : public testing::TestWithParam<Case> {};

TEST_P(TokenizersPackage, AgreesOnRandomTexts) {
  if (!has_python()) GTEST_SKIP() << "SLUICE_PYTHON is not set";
  const auto source = test_data(GetParam().source);
  if (source.empty()) GTEST_SKIP() << "needs the whole data set";
  const ScratchFolder folder;
  ASSERT_TRUE(run_script("tokenizer_vectors.py",
                         "texts '" + source.string() + "' " + GetParam().variant + " '" +
                             folder.path().string() + "' " + std::to_string(GetParam().count)));
  const auto tokenizer = open_tokenizer(folder.path());
  ASSERT_NE(tokenizer, nullptr);
  std::ifstream lines(folder.path() / "vectors.jsonl");
  int texts = 0, failures = 0;
  for (std::string line; std::getline(lines, line) && failures < 5; ++texts) {
    const json vector = json::parse(line);
    const auto text = vector["text"].get<std::string>();
    const Ids expected = vector["ids"].get<Ids>();
    const Ids ids = tokenizer->encode(text);
    const auto [ours, theirs] =
        std::mismatch(ids.begin(), ids.end(), expected.begin(), expected.end());
    EXPECT_EQ(ids, expected) << "from " << json(Ids(ours, ids.end())) << " against "
                             << json(Ids(theirs, expected.end())) << " in " << vector["text"];
    EXPECT_EQ(tokenizer->encode(text, {.add_special = false}), vector["bare"].get<Ids>());
    const Ids in_parts =
        encode_in_parts(*tokenizer, text, {}, 1 + static_cast<std::size_t>(texts) % 7);
    const auto [parted, whole] =
        std::mismatch(in_parts.begin(), in_parts.end(), expected.begin(), expected.end());
    EXPECT_EQ(in_parts, expected) << "in parts, from " << json(Ids(parted, in_parts.end()))
                                  << " against " << json(Ids(whole, expected.end())) << " in "
                                  << vector["text"];
    // The package replaces what is no UTF-8, and takes an added "é" for a byte when it decodes.
    const json& decoded = vector["decoded"];
    if (!decoded.is_null() && !is_replaced(decoded)) {
      EXPECT_EQ(tokenizer->decode(expected), decoded.get<std::string>());
      EXPECT_EQ(stream(*tokenizer, expected), decoded.get<std::string>());
    }
    failures += HasFailure();
  }
  EXPECT_EQ(texts, GetParam().count);
}

constexpr const char* kQwen3 = "tokenizers/qwen3/tokenizer.json.gz";
constexpr const char* kLlama2 = "tokenizers/llama2/tokenizer.json.gz";
constexpr const char* kTales = "models/tales/tokenizer.json";

INSTANTIATE_TEST_SUITE_P(Tokenizers, TokenizersPackage,
                         testing::Values(Case{kQwen3, "plain", 4000}, Case{kQwen3, "flags", 500},
                                         Case{kLlama2, "plain", 4000}, Case{kLlama2, "flags", 500},
                                         Case{kLlama2, "metaspace_always", 1000},
                                         Case{kLlama2, "metaspace_first", 1000},
                                         Case{kLlama2, "metaspace_first_split", 1000},
                                         Case{kLlama2, "metaspace_never_split", 1000},
                                         Case{kLlama2, "gemma", 1000}, Case{kTales, "plain", 2000},
                                         Case{kTales, "flags", 500}, Case{kTales, "prefix", 1000},
                                         Case{kTales, "ignore_merges", 1000},
                                         Case{kTales, "splits", 1000}),
                         [](const auto& test) {
                           std::string name = test.param.source + "_" + test.param.variant;
                           name = name.substr(name.find('/') + 1);
                           for (char& c : name)
                             c = std::isalnum(static_cast<unsigned char>(c)) ? c : '_';
                           return name;
                         });

/// The pieces of a text that arrives character by character; what was cut is dropped.
std::vector<std::string> split_in_parts(const Splitter& splitter, std::string_view text,
                                        PatternScratch& scratch) {
  std::vector<std::string> pieces;
  SplitProgress progress;
  std::string held;
  for (std::size_t at = 0; at <= text.size();) {
    const bool final = at == text.size();
    const std::size_t length = final ? 1 : utf8_length(text[at]);
    if (!final) held += text.substr(at, length);
    at += length;
    for (const std::string_view piece : splitter.advance(held, final, progress, scratch)) {
      pieces.emplace_back(piece);
    }
    const std::size_t taken = progress.taken();
    const std::size_t drop = character_floor(held, taken - std::min(taken, splitter.context()));
    progress.drop(drop);
    held.erase(0, drop);
  }
  return pieces;
}

/// Lists of patterns cut texts as Oniguruma does, in one go and in parts.
void compare_cutting(const json& rows, const std::vector<Splitter>& splitters,
                     const std::vector<std::string>& names, int count) {
  const ScratchFolder folder;
  std::ofstream(folder.path() / "patterns.json") << rows.dump();
  const std::string base = folder.path().string();
  ASSERT_TRUE(run_script("tokenizer_vectors.py", "pieces '" + base + "/patterns.json' '" + base +
                                                     "/out' " + std::to_string(count)));
  std::ifstream lines(folder.path() / "out");
  PatternScratch scratch;
  int texts = 0;
  for (std::string line; std::getline(lines, line); ++texts) {
    const json vector = json::parse(line);
    const auto text = vector["text"].get<std::string>();
    for (std::size_t i = 0; i < names.size(); ++i) {
      std::vector<std::string> pieces;
      for (const std::string_view piece : splitters[i].split(text, scratch)) {
        pieces.emplace_back(piece);
      }
      EXPECT_EQ(split_in_parts(splitters[i], text, scratch), pieces) << names[i] << ": " << text;
      const auto expected = vector["pieces"][i].get<std::vector<std::string>>();
      if (pieces == expected) continue;
      const auto [ours, theirs] =
          std::mismatch(pieces.begin(), pieces.end(), expected.begin(), expected.end());
      FAIL() << names[i] << ": " << json(*ours) << " where \"" << json(*theirs)
             << " is expected in " << vector["text"];
    }
  }
  EXPECT_EQ(texts, count);
}

// Every row of the table cuts as Oniguruma does with the model's own patterns.
TEST(PreTokenizerTable, CutsLikeTheTokenizersPackage) {
  if (!has_python()) GTEST_SKIP() << "SLUICE_PYTHON is not set";
  json rows = json::array();
  std::vector<Splitter> splitters;
  std::vector<std::string> names;
  for (const std::string_view name : pre_tokenizer_names()) {
    auto row = pre_tokenizer(name);
    ASSERT_TRUE(row.ok());
    json patterns = json::array();
    for (const SplitStep& step : row->splits) {
      patterns.push_back(step.pattern == R"((?<!\s)\s+\z)" ? R"(\s+$)" : step.pattern);
    }
    if (std::find(rows.begin(), rows.end(), patterns) != rows.end()) continue;  // names share rows
    names.emplace_back(name);
    rows.push_back(patterns);
    auto splitter = Splitter::create(row->splits);
    ASSERT_TRUE(splitter.ok()) << splitter.status().message();
    splitters.push_back(std::move(splitter).value());
  }
  compare_cutting(rows, splitters, names, 600);
}

// What published patterns do not have yet but their syntax does.
TEST(TranslatedPatterns, CutLikeTheTokenizersPackage) {
  if (!has_python()) GTEST_SKIP() << "SLUICE_PYTHON is not set";
  json rows = json::array();
  std::vector<Splitter> splitters;
  std::vector<std::string> names;
  for (const char* pattern :
       {R"([\p{L}&&[^\p{Han}]]+)", R"([a-z&&[^aeiou]])", R"([\w&&[^\d]&&[^_]]+)", R"(\W+\w)",
        R"(\D\d|\H{2,3})", R"([\p{L}\p{N}&&\S&&[^a-f]]{1,3})",
        R"([^\s]&&|[\S&&[^\p{P}\p{S}]]*\p{Han})", R"((?<=[\p{Lu}&&[A-M]])[\p{Ll}]|[\]&&[\[\]]])"}) {
    names.emplace_back(pattern);
    rows.push_back({pattern});
    auto splitter = Splitter::create({{.pattern = pattern}});
    ASSERT_TRUE(splitter.ok()) << splitter.status().message();
    splitters.push_back(std::move(splitter).value());
  }
  compare_cutting(rows, splitters, names, 600);
}

}  // namespace
}  // namespace sluice::test
