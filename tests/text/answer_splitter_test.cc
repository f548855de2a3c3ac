// Answers in the formats of published models, cut anywhere, fall into the same two parts.

#include "text/answer_splitter.h"

#include <gtest/gtest.h>

#include <string>
#include <vector>

namespace sluice::test {
namespace {

struct Parts {
  std::string reasoning, text;
  std::string order;  // "rt": reasoning came first
  bool operator==(const Parts&) const = default;
};

/// `cuts` says after which bytes a piece ends: bit i for byte i.
template <typename CutAfter>
Parts split(const std::string& prompt, const std::string& answer, CutAfter cut_after) {
  Parts parts;
  AnswerSplitter splitter(prompt, [&](AnswerPart part, std::string_view piece) {
    EXPECT_FALSE(piece.empty());
    const bool text = part == AnswerPart::kText;
    (text ? parts.text : parts.reasoning) += piece;
    const char letter = text ? 't' : 'r';
    if (parts.order.empty() || parts.order.back() != letter) parts.order += letter;
  });
  std::string piece;
  for (std::size_t i = 0; i < answer.size(); ++i) {
    piece += answer[i];
    if (!cut_after(i)) continue;
    splitter.push(piece);
    piece.clear();
  }
  splitter.push(piece);
  splitter.finish();
  return parts;
}

struct Case {
  const char* name;
  const char* prompt;
  const char* answer;
  Parts parts;
};

const Case kCases[] = {
    {"plain", "<|im_start|>assistant\n", "Hello <b>you</b>.\n", {"", "Hello <b>you</b>.\n", "t"}},
    {"spaces first", "[/INST]", "  Hello", {"", "  Hello", "t"}},
    {"nothing", "", "", {"", "", ""}},
    {"tags",
     "<|im_start|>assistant\n",
     "<think>\nIt is 2.\n\nSure.\n</think>\n\nTwo.\n",
     {"It is 2.\n\nSure.", "Two.\n", "rt"}},
    {"tags after a line", "<|assistant|>", "\n<think>Hm</think>\nYes", {"Hm", "Yes", "rt"}},
    {"opened by the prompt",
     "]~b]ai\n<think>\n",
     "So.\n</think>\n\nWell <think> it.",
     {"So.", "Well <think> it.", "rt"}},
    {"closed by the prompt", "<think>\n\n</think>\n\n", "Well", {"", "Well", "t"}},
    {"empty reasoning", "x", "<think>\n\n</think>\n\nYes", {"", "Yes", "t"}},
    {"never closed", "<think>", "I wonder </thin", {"I wonder </thin", "", "r"}},
    {"tags later are text", "x", "See <think>this</think>", {"", "See <think>this</think>", "t"}},
    {"nearly a tag", "x", "<thinker> said", {"", "<thinker> said", "t"}},
    {"the beginning of a tag alone", "x", " <th", {"", " <th", "t"}},
    {"channels",
     "<|start|>assistant",
     "<|channel|>analysis<|message|>User greets.<|end|><|start|>assistant<|channel|>final"
     "<|message|>Hello!",
     {"User greets.", "Hello!", "rt"}},
    {"several messages on a channel",
     "<|start|>assistant",
     "<|channel|>analysis<|message|>A<|end|><|start|>assistant<|channel|>commentary<|message|>"
     "I look.<|end|><|start|>assistant<|channel|>analysis<|message|>B<|end|><|start|>assistant"
     "<|channel|>final<|message|>C < D",
     {"A\n\nB", "I look.\n\nC < D", "rtrt"}},
    {"final alone", "<|start|>assistant", "<|channel|>final<|message|>Hi", {"", "Hi", "t"}},
    {"a turn's thought",
     "<|turn>model\n",
     "<|channel>thought\nHm.\n<channel|>Yes.",
     {"Hm.", "Yes.", "rt"}},
    {"numbered marks", "x", "[unused16] Hm [unused17]Yes", {" Hm ", "Yes", "rt"}},
};

TEST(AnswerSplitter, FormatsOfModels) {
  for (const Case& one : kCases) {
    EXPECT_EQ(split(one.prompt, one.answer, [](std::size_t) { return false; }), one.parts)
        << one.name;
    EXPECT_EQ(split(one.prompt, one.answer, [](std::size_t) { return true; }), one.parts)
        << one.name;
  }
}

TEST(AnswerSplitter, OneCutAnywhereChangesNothing) {
  for (const Case& one : kCases) {
    for (std::size_t cut = 0; cut < std::string(one.answer).size(); ++cut) {
      EXPECT_EQ(split(one.prompt, one.answer, [=](std::size_t i) { return i == cut; }), one.parts)
          << one.name << " at " << cut;
    }
  }
}

TEST(AnswerSplitter, ShowsWhatIsCertainAtOnce) {
  std::string shown;
  AnswerSplitter splitter("", [&](AnswerPart, std::string_view piece) { shown += piece; });
  splitter.push("<think>Wait");
  EXPECT_EQ(shown, "Wait");
  splitter.push(" 1 < 2 </th");
  EXPECT_EQ(shown, "Wait 1 < 2 ");
  splitter.push("ink>");
  splitter.push("So");
  EXPECT_EQ(shown, "Wait 1 < 2 So");
}

}  // namespace
}  // namespace sluice::test
