// What Transformers does around a template: the same bytes, or an error on both sides.

#include "text/chat_request.h"

#include "tests/text/chat_template_support.h"
#include "text/chat_format.h"

namespace sluice::test {
namespace {

Json message(const char* role, const Json& members) {
  Json made = {{"role", role}};
  made.update(members);
  return made;
}

/// {"messages": …} of a question and an answer with these members.
Json conversation(const Json& answer, const Json& variables = Json::object()) {
  Json made = {
      {"messages", {message("user", {{"content", "Why? "}}), message("assistant", answer)}}};
  made.update(variables);
  return made;
}

std::vector<std::string> templates() {
  std::vector<std::string> sources = {
      "{% for m in messages %}<{{ m.role }}>{{ m.thinking }}|{{ m.content }}</s>{% endfor %}",
      "{% for m in messages %}<{{ m.role }}>{{ m.reasoning_content }}|{{ m.content|trim }}</s>\n{% "
      "endfor %}",
      "{% for m in messages %}{{ m.content }}{% if m.reasoning %}{{ m.reasoning }}{% endif %}{% "
      "endfor %}",
      "{{ messages|tojson }}{{ tools|tojson }}{{ documents|tojson }}{{ add_generation_prompt }}{{ "
      "continue_final_message is defined }}{{ tokenize is defined }}{{ padding is defined }}",
      "{% for m in messages %}{% if m.content is string %}{{ m.content }}{% else %}{% for p in "
      "m.content %}{{ p.text }};{% endfor %}{% endif %}{% endfor %}{% if add_generation_prompt "
      "%}>{% "
      "endif %}",
      "{% for m in messages %}{{ m.content[:4] }}{% endfor %}",
      "{{ messages[0].content }}",
      "no field at all",
  };
  for (const char* file : {"openai-gpt-oss-120b.jinja", "Qwen-Qwen3-0.6B.jinja", "GLM-4.6.jinja"}) {
    sources.push_back(read_text(bundled_data() / "templates" / file));
  }
  return sources;
}

std::vector<Json> requests() {
  const Json go_on = {{"continue_final_message", true}};
  std::vector<Json> all = {
      conversation({{"content", "Because."}}),
      conversation({{"content", "Because."}, {"reasoning_content", "Hm."}}),
      conversation({{"content", "Because."}, {"thinking", "Hm."}}),
      conversation({{"thinking", "Hm."}, {"content", "Because."}}),
      conversation({{"content", "Because."}, {"reasoning", "Hm."}}),
      conversation({{"reasoning", "one"}, {"thinking", "two"}, {"content", "Because."}}),
      conversation({{"reasoning", "one"}, {"reasoning_content", "two"}, {"content", "B"}}),
      conversation({{"thinking", "one"}, {"reasoning_content", "two"}, {"content", "B"}}),
      conversation({{"content", "B"}, {"reasoning_content", nullptr}, {"thinking", "two"}}),
      conversation({{"content", "B"}, {"reasoning_content", ""}, {"thinking", "two"}}),
      conversation({{"content", nullptr}, {"tool_calls", nullptr}, {"reasoning", "Hm."}}),
      conversation({{"content", "B"}}, {{"add_generation_prompt", true}}),
      conversation({{"content", "B"}}, {{"add_generation_prompt", nullptr}}),
      conversation({{"content", "B"}}, {{"documents", {{{"title", "T"}, {"text", "x"}}}}}),
      conversation({{"content", "B"}}, {{"documents", {"x"}}}),
      conversation({{"content", "B"}}, {{"documents", Json::array()}, {"tools", Json::array()}}),
      conversation({{"content", "B"}}, {{"tools", {"x"}}}),
      conversation({{"content", "B"}}, {{"tools", {{{"name", "f"}, {"x", nullptr}}}}}),
      conversation({{"content", "B"}}, {{"tokenize", false}, {"padding", true}, {"max_length", 3}}),
      conversation({{"content", "Because"}}, go_on),
      conversation({{"content", "Because \n "}}, go_on),
      conversation({{"content", "  Because\u00a0"}}, go_on),
      conversation({{"content", ""}}, go_on),
      conversation({{"content", nullptr}}, go_on),
      conversation({{"content", 3}}, go_on),
      conversation({{"content", Json::array()}}, go_on),
      conversation({{"content", {{{"type", "text"}, {"text", "One "}}, {{"type", "image"}}}}},
                   go_on),
      conversation({{"content", {{{"text", "One"}}, {{"text", "Two "}}}}}, go_on),
      conversation({{"content", "Because"}}, {{"continue_final_message", false}}),
      conversation({{"content", "Because"}}, {{"continue_final_message", ""}}),
      conversation({{"content", "Because"}}, {{"continue_final_message", "content"}}),
      conversation({{"content", "Because"}}, {{"continue_final_message", "thinking"}}),
      conversation({{"content", "B"}, {"other", "x"}}, {{"continue_final_message", "other"}}),
      conversation({{"content", "B"}},
                   {{"continue_final_message", true}, {"add_generation_prompt", true}}),
      conversation({{"content", "B"}},
                   {{"continue_final_message", true}, {"add_generation_prompt", false}}),
      {{"messages", Json::array()}},
      {{"messages", {message("user", {{"content", "Hi"}})}}, {"continue_final_message", true}},
  };
  for (const char* given : {"reasoning_content", "thinking", "reasoning"}) {
    for (const char* field : {"reasoning_content", "thinking", "reasoning"}) {
      all.push_back(conversation({{"content", "Because."}, {given, "Let me see "}},
                                 {{"continue_final_message", field}}));
    }
  }
  return all;
}

TEST(ChatRequest, PromptsAreTransformers) {
  if (!has_python()) GTEST_SKIP() << "SLUICE_PYTHON is not set";
  std::vector<OracleCase> cases;
  for (const std::string& source : templates()) {
    for (const Json& variables : requests()) cases.push_back({source, variables, {}});
  }
  ASSERT_NO_FATAL_FAILURE(ask_oracle(cases, "apply"));
  std::size_t rendered = 0, continued = 0;
  for (const OracleCase& one : cases) {
    const auto format = ChatFormat::create(one.source, {});
    ASSERT_TRUE(format.ok()) << format.status().message();
    const auto text = format->render(one.variables, test_time());
    EXPECT_TRUE(same(one, text)) << one.variables;
    rendered += text.ok();
    continued += text.ok() && one.variables.value("continue_final_message", Json()) == true;
  }
  EXPECT_GT(rendered, cases.size() / 2);
  EXPECT_GT(continued, 20u);
}

TEST(ChatRequest, WhatIsNoConversationIsAnError) {
  for (const Json& variables :
       {Json::array(), Json::object(), Json{{"messages", nullptr}}, Json{{"messages", "x"}},
        Json{{"messages", {"x"}}}, Json{{"messages", {Json::object()}}, {"tools", 3}},
        Json{{"messages", {Json::object()}}, {"documents", Json::object()}},
        Json{{"messages", {Json::object()}}, {"continue_final_message", 1}}}) {
    EXPECT_EQ(prepare_chat(variables, "content").status().code(), ErrorCode::kInvalidArgument)
        << variables;
  }
}

}  // namespace
}  // namespace sluice::test
