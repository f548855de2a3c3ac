// What is read off a chat template besides its text.

#include "text/chat_format.h"

#include <map>

#include "tests/text/chat_template_support.h"

namespace sluice::test {
namespace {

TokenizerData tokens(const std::string& bos, const std::string& eos) {
  TokenizerData data;
  data.tokens.push_back(bos);
  data.tokens.push_back(eos);
  data.bos = 0;
  data.eos = 1;
  return data;
}

ChatFormat format_of(const std::string& file, const TokenizerData& data) {
  auto format = ChatFormat::create(read_text(bundled_data() / "templates" / file), data);
  EXPECT_TRUE(format.ok()) << format.status().message();
  return std::move(*format);
}

TEST(ChatFormat, KnowsHowTurnsEnd) {
  // By the models' own generation_config.json.
  const std::map<std::string, std::string> ends = {
      {"GLM-4.6.jinja", "<|user|>"},
      {"Kimi-K2-Instruct.jinja", "<|im_end|>"},
      {"MiniMax-M2.jinja", "[e~["},
      {"Qwen-Qwen3-0.6B.jinja", "<|im_end|>"},
      {"Qwen3-Coder.jinja", "<|im_end|>"},
      {"deepseek-ai-DeepSeek-V3.1.jinja", "<｜end▁of▁sentence｜>"},
      {"ibm-granite-granite-3.3-2B-Instruct.jinja", "<|end_of_text|>"},
      {"meta-llama-Llama-3.1-8B-Instruct.jinja", "<|eot_id|>"},
      {"mistralai-Mistral-Nemo-Instruct-2407.jinja", "</s>"},
      {"openai-gpt-oss-120b.jinja", "<|return|>"},
  };
  for (const auto& [file, end] : ends) {
    EXPECT_EQ(format_of(file, tokens("<s>", "</s>")).turn_end(test_time()), end) << file;
  }
}

TEST(ChatFormat, TurnsMayEndWithTextOrWithNothing) {
  const auto end = [](const std::string& source) {
    auto format = ChatFormat::create(source, {});
    return format.ok() ? format->turn_end(test_time()) : format.status().message();
  };
  EXPECT_EQ(end("{% for m in messages %}{{ m.role }}: {{ m.content }}\n{% endfor %}"), "\nuser:");
  EXPECT_EQ(end("{% for m in messages %}{{ m.content }} </s>{% endfor %}"), "</s>");
  EXPECT_EQ(end("{% for m in messages %}{{ m.content }}{% endfor %}"), "");
  EXPECT_EQ(end("{{ messages[-1].content }}"), "");
  EXPECT_EQ(end("{{ raise_exception('no') }}"), "");
}

TEST(ChatFormat, AddsWhatTransformersGivesToEveryTemplate) {
  auto format = ChatFormat::create(
      "{{ bos_token }}{{ tools is none }}{{ add_generation_prompt }}{{ eos_token }}{{ pad_token }}",
      tokens("<s>", "</s>"));
  ASSERT_TRUE(format.ok());
  const Json messages = {{{"role", "user"}, {"content", "Hello"}}};
  EXPECT_EQ(*format->render({{"messages", messages}}, test_time()), "<s>TrueFalse</s>");
  EXPECT_EQ(
      *format->render({{"messages", messages}, {"bos_token", ""}, {"pad_token", "p"}}, test_time()),
      "TrueFalse</s>p");
  EXPECT_FALSE(format->render(Json::array(), test_time()).ok());
}

TEST(ChatFormat, ReasoningIsWhereTheTemplateLooksForIt) {
  const Json answer = ChatFormat::answer("2", "1+1");
  EXPECT_EQ(answer, (Json{{"role", "assistant"}, {"content", "2"}, {"reasoning_content", "1+1"}}));
  EXPECT_EQ(ChatFormat::answer("2", ""), (Json{{"role", "assistant"}, {"content", "2"}}));
  const Json messages = {{{"role", "user"}, {"content", "Sum?"}}, answer};
  for (const char* name : {"thinking", "reasoning_content"}) {
    auto format = ChatFormat::create("{{ messages[1]." + std::string(name) + " }}", {});
    ASSERT_TRUE(format.ok());
    EXPECT_EQ(*format->render({{"messages", messages}}, test_time()), "1+1") << name;
  }
}

TEST(ChatFormat, TextsOfSpecialTokensAreThoseOfAddedOnes) {
  TokenizerData data = tokens("Ġx", "</s>");
  data.added.push_back({.id = 0, .text = " x"});
  EXPECT_EQ(special_token_text(data, 0), " x");
  EXPECT_EQ(special_token_text(data, 1), "</s>");
  EXPECT_EQ(special_token_text(data, 2), "");
  EXPECT_EQ(special_token_text(data, -1), "");
}

}  // namespace
}  // namespace sluice::test
