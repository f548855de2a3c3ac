#include "engine/generator.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <fstream>
#include <nlohmann/json.hpp>

#include "tests/engine/fixture.h"
#include "tests/support/test_data.h"

namespace sluice {
namespace {

class GeneratorTest : public testing::Test {
 protected:
  test::Opened opened_ = test::open({.ram = std::uint64_t{1} << 30, .threads = 2});
  Model& model_ = *opened_.model;

  Generation run(const std::string& prompt, const GenerateOptions& options,
                 std::string* streamed = nullptr) {
    Session session(model_);
    auto result =
        generate(session, model_.tokenizer()->encode(prompt), options, [&](std::string_view text) {
          if (streamed != nullptr) *streamed += text;
        });
    EXPECT_TRUE(result.ok()) << result.status().message();
    return result.ok() ? *result : Generation{};
  }
};

// The bundled model is the Q8_0 form; Transformers' continuation of the same values is in
// golden.json.
TEST_F(GeneratorTest, GreedyTextIsTransformersWhereTheMarginIsClear) {
  const auto path = test::test_data("models/tales/golden.json");
  if (path.empty()) GTEST_SKIP() << "golden.json is not in the bundled data";
  const auto golden = nlohmann::json::parse(std::ifstream(path));
  std::size_t compared = 0;
  for (const auto& sample : golden.at("greedy")) {
    if (sample.at("weights") != "q8_0" || sample.at("smallest_margin").get<double>() < 0.05)
      continue;
    const auto expected = sample.at("ids").get<std::vector<TokenId>>();
    const Generation result =
        run(sample.at("prompt"), {.max_tokens = static_cast<std::uint32_t>(expected.size())});
    EXPECT_EQ(result.tokens, expected) << result.text;
    ++compared;
  }
  if (compared == 0) GTEST_SKIP() << "no sample of these weights has a clear margin";
}

TEST_F(GeneratorTest, StreamedTextIsTheWholeText) {
  std::string streamed;
  const Generation result = run(
      "Once upon a time", {.max_tokens = 60, .sampling = {.temperature = 1, .seed = 4}}, &streamed);
  EXPECT_EQ(streamed, result.text);
  EXPECT_EQ(model_.tokenizer()->decode(result.tokens), result.text);
  EXPECT_EQ(result.tokens.size(), 60u);
  EXPECT_EQ(result.reason, StopReason::kMaxTokens);
}

TEST_F(GeneratorTest, EndsBeforeAStopStringWhereverTokensCutIt) {
  const Generation whole = run("Once upon a time", {.max_tokens = 60});
  ASSERT_GT(whole.text.size(), 40u);
  for (std::size_t at = 3; at + 6 < whole.text.size(); at += 5) {
    const std::string stop = whole.text.substr(at, 6);
    std::string streamed;
    const Generation result =
        run("Once upon a time", {.max_tokens = 60, .stop = {"never to be seen", stop}}, &streamed);
    EXPECT_EQ(result.text, whole.text.substr(0, whole.text.find(stop)));
    EXPECT_EQ(streamed, result.text);
    EXPECT_EQ(result.reason, StopReason::kStopString);
  }
}

TEST_F(GeneratorTest, AFullContextStopsOrShifts) {
  const auto prompt = test::some_tokens(250);
  const auto continuation = [&](const std::vector<TokenId>& text, const GenerateOptions& options) {
    Session session(model_);  // one at a time: the model was opened for one sequence
    return generate(session, text, options, {});
  };
  auto stopped = continuation(prompt, {.max_tokens = 40, .ignore_end = true});
  ASSERT_TRUE(stopped.ok());
  EXPECT_EQ(stopped->reason, StopReason::kContextFull);
  // The context of 256 holds the prompt and six tokens; the seventh is chosen but not computed.
  EXPECT_EQ(stopped->tokens.size(), 7u);

  auto shifted =
      continuation(prompt, {.max_tokens = 40, .context_shift = true, .ignore_end = true});
  ASSERT_TRUE(shifted.ok());
  EXPECT_EQ(shifted->tokens.size(), 40u);
  EXPECT_EQ(std::vector<TokenId>(shifted->tokens.begin(), shifted->tokens.begin() + 7),
            stopped->tokens);

  // After the shift the text is the newer half, as if it had been given as a prompt.
  std::vector<TokenId> half(prompt.begin() + 128, prompt.end());
  half.insert(half.end(), stopped->tokens.begin(), stopped->tokens.end());
  auto continued = continuation(half, {.max_tokens = 33, .ignore_end = true});
  ASSERT_TRUE(continued.ok());
  EXPECT_EQ(std::vector<TokenId>(shifted->tokens.begin() + 7, shifted->tokens.end()),
            continued->tokens);
}

TEST_F(GeneratorTest, MoreTokensMayEndIt) {
  const Generation whole = run("Once upon a time", {.max_tokens = 20});
  ASSERT_EQ(whole.tokens.size(), 20u);
  const TokenId end = whole.tokens[7];
  const auto first = std::find(whole.tokens.begin(), whole.tokens.end(), end);
  const Generation cut = run("Once upon a time", {.max_tokens = 20, .end_tokens = {end}});
  EXPECT_EQ(cut.tokens, std::vector<TokenId>(whole.tokens.begin(), first));
  EXPECT_EQ(cut.reason, StopReason::kEndOfText);
  const Generation on =
      run("Once upon a time", {.max_tokens = 20, .ignore_end = true, .end_tokens = {end}});
  EXPECT_EQ(on.tokens, whole.tokens);
}

TEST_F(GeneratorTest, ControlTokensAreShownIfAskedFor) {
  const std::string prompt =
      "<|im_start|>user\nTell me a story.<|im_end|>\n<|im_start|>assistant\n";
  const TokenId turn_end = model_.tokenizer()->encode("<|im_end|>").front();
  GenerateOptions options{.max_tokens = 400, .ignore_end = true};
  const Generation hidden = run(prompt, options);
  ASSERT_NE(std::find(hidden.tokens.begin(), hidden.tokens.end(), turn_end), hidden.tokens.end())
      << "the story has no end: the test needs another prompt";
  EXPECT_EQ(hidden.text.find("<|im_end|>"), std::string::npos);
  options.shown_tokens = {turn_end};
  const Generation shown = run(prompt, options);
  EXPECT_EQ(shown.tokens, hidden.tokens);
  EXPECT_NE(shown.text.find("<|im_end|>"), std::string::npos);
}

TEST_F(GeneratorTest, AKeptPrefixChangesNothing) {
  const Tokenizer& tokenizer = *model_.tokenizer();
  const auto logits_of = [&](Session& session, std::span<const TokenId> ids) {
    std::vector<float> last;
    const auto sink = [&](std::size_t, std::span<const float> row) {
      last.assign(row.begin(), row.end());
    };
    EXPECT_TRUE(session.eval(ids, Session::Logits::kLast, sink).ok());
    return last;
  };
  const std::vector<TokenId> first = tokenizer.encode("Once upon a time there was a cat. It ran.");
  for (const char* const text :
       {"Once upon a time there was a dog.", "Once upon a time there was a cat. It ran.",
        "Once upon a time there was a cat. It ran. It sat.", "Once", "A dog"}) {
    const std::vector<TokenId> ids = tokenizer.encode(text);
    Session session(model_), fresh(model_);
    logits_of(session, first);
    const std::size_t kept = session.keep_prefix(ids);
    std::size_t common = 0;
    while (common + 1 < ids.size() && common < first.size() && ids[common] == first[common]) {
      ++common;
    }
    EXPECT_EQ(kept, common) << text;
    EXPECT_EQ(session.length(), kept);
    EXPECT_EQ(logits_of(session, std::span(ids).subspan(kept)), logits_of(fresh, ids)) << text;
    EXPECT_EQ(session.tokens(), ids);
  }
  Session session(model_);
  logits_of(session, first);
  EXPECT_EQ(session.keep_prefix({}), 0u);
}

TEST_F(GeneratorTest, APromptOfNothingIsRefused) {
  Session session(model_);
  EXPECT_EQ(generate(session, {}, {}, {}).status().code(), ErrorCode::kInvalidArgument);
}

TEST_F(GeneratorTest, CancellingKeepsWhatIsThere) {
  std::atomic<bool> cancel{false};
  Session session(model_);
  GenerateOptions options{.max_tokens = 50, .ignore_end = true, .pass = {.cancel = &cancel}};
  int pieces = 0;
  auto result = generate(session, model_.tokenizer()->encode("Once upon a time"), options,
                         [&](std::string_view) { cancel = ++pieces == 5; });
  ASSERT_TRUE(result.ok());
  EXPECT_EQ(result->reason, StopReason::kCancelled);
  EXPECT_GE(result->tokens.size(), 5u);
  EXPECT_LT(result->tokens.size(), 50u);
  EXPECT_FALSE(result->text.empty());
}

}  // namespace
}  // namespace sluice
