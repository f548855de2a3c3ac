// Corners of the template language, and what its errors say.

#include "tests/text/chat_template_support.h"
#include "tests/text/expression_snippets.h"
#include "tests/text/statement_snippets.h"
#include "text/utf8.h"

namespace sluice::test {
namespace {

Json snippet_variables() {
  return {{"s", "some Text"},
          {"l", {3, 1, 2}},
          {"d", {{"b", 1}, {"a", "x"}, {"_under", "u"}, {"items", 5}, {"é", {{"k", nullptr}}}}},
          {"tree",
           {{{"n", "a"},
             {"sub", {{{"n", "b"}, {"sub", Json::array()}}, {{"n", "c"}, {"sub", Json::array()}}}}},
            {{"n", "d"}, {"sub", {{{"n", "e"}, {"sub", {{{"n", "f"}}}}}}}}}},
          {"ds", {{{"n", "x"}, {"v", 3}}, {{"n", "Y"}, {"v", 1}}, {{"n", "x"}, {"v", 1}}}}};
}

TEST(ChatTemplate, SnippetsAgreeWithJinja2) {
  if (!has_python()) GTEST_SKIP() << "SLUICE_PYTHON is not set";
  std::vector<OracleCase> cases;
  for (const char* snippet : kExpressionSnippets)
    cases.push_back({snippet, snippet_variables(), {}});
  for (const char* snippet : kStatementSnippets)
    cases.push_back({snippet, snippet_variables(), {}});
  ASSERT_GE(cases.size(), 300u);
  ASSERT_NO_FATAL_FAILURE(ask_oracle(cases));
  for (const OracleCase& one : cases) EXPECT_TRUE(agrees(one));
}

// All that has a case in Unicode's older blocks; newer ones depend on the version that each side
// knows.
TEST(ChatTemplate, CasesAreUnicodes) {
  if (!has_python()) GTEST_SKIP() << "SLUICE_PYTHON is not set";
  Json rows = Json::array();
  for (char32_t c = 0x20; c < 0x2C00; c += 0x100) {
    std::string row;
    for (char32_t i = c; i < c + 0x100; ++i) {
      append_utf8(row, i);
      row += ' ';
    }
    rows.push_back(row);
  }
  std::vector<OracleCase> cases;
  for (const char* mapping : {"upper", "lower", "title", "capitalize", "swapcase"}) {
    for (const Json& row : rows) {
      cases.push_back({std::string("{{ s.") + mapping + "() }} {% for c in s.split() %}{{ c." +
                           mapping + "() }}{% endfor %}",
                       {{"s", row}},
                       {}});
    }
  }
  ASSERT_NO_FATAL_FAILURE(ask_oracle(cases));
  for (const OracleCase& one : cases) EXPECT_TRUE(agrees(one));
}

std::string error_of(const std::string& source) {
  const auto text = render(source, snippet_variables());
  return text.ok() ? "no error" : text.status().message();
}

TEST(ChatTemplate, ErrorsNameTheLineAndTheReason) {
  EXPECT_EQ(error_of("a\nb {{ d.zz.y }}"),
            "chat template, line 2: 'dict object' has no attribute 'zz'");
  EXPECT_EQ(error_of("{{ nope() }}"), "chat template, line 1: 'nope' is undefined");
  EXPECT_EQ(
      error_of("\n\n{% for i in l %}\n{{ raise_exception('Roles must alternate') }}{% endfor %}"),
      "chat template, line 4: Roles must alternate");
  EXPECT_EQ(error_of("{{ 1 +\n 'a' }}"),
            "chat template, line 1: unsupported operand type(s) for +: 'int' and 'str'");
  EXPECT_EQ(error_of("a\n{% if x %}\n"),
            "line 2: expected '{% endif %}' before the end of the template");
  EXPECT_EQ(error_of("\n{{ x | nope }}"), "line 2: No filter named 'nope'.");
  EXPECT_EQ(error_of("{% frobnicate %}"), "line 1: Encountered unknown tag 'frobnicate'.");
  EXPECT_EQ(error_of("{% include 'x' %}"), "line 1: the tag 'include' is not supported");
  EXPECT_EQ(error_of("{% block b required %}{% endblock %}"),
            "line 1: required blocks are not supported");
  EXPECT_EQ(error_of("{{ 'a \\N{BULLET}' }}"), "line 1: a string names a character with \\N");
  EXPECT_EQ(error_of("{{ cycler(1) }}"), "chat template, line 1: a cycler cannot be written");
  EXPECT_EQ(error_of("{{ s.upper }}"),
            "chat template, line 1: the function 'upper' cannot be written");
  EXPECT_EQ(error_of("{{ l|map('string') }}"),
            "chat template, line 1: a generator cannot be written; use |list");
  EXPECT_EQ(error_of("{# no end"), "line 1: Missing end of comment tag");
}

TEST(ChatTemplate, ErrorCodesTellWhoseFaultItIs) {
  EXPECT_EQ(ChatTemplate::parse("{% if %}").status().code(), ErrorCode::kCorrupt);
  EXPECT_EQ(ChatTemplate::parse("{% extends 'x' %}").status().code(), ErrorCode::kUnsupported);
  EXPECT_EQ(render("{{ raise_exception('no') }}", Json::object()).status().code(),
            ErrorCode::kInvalidArgument);
  EXPECT_EQ(render("x", Json::array()).status().code(), ErrorCode::kInvalidArgument);
  EXPECT_EQ(render("abc", Json::object(), {.output_bytes = 2}).status().code(), ErrorCode::kBudget);
  EXPECT_EQ(render("{{ 1 + 1 }}", Json::object(), {.steps = 1}).status().code(),
            ErrorCode::kBudget);
}

TEST(ChatTemplate, RendersManyTimesAndKeepsTheOrderOfKeys) {
  auto parsed = ChatTemplate::parse(
      "{% set ns = namespace(n=0) %}{% set ns.n = ns.n + 1 %}{{ ns.n }}{{ v|tojson }}");
  ASSERT_TRUE(parsed.ok());
  for (int i = 0; i < 3; ++i) {
    const auto text = parsed->render({{"v", {{"z", 1}, {"a", 2}}}}, test_time());
    ASSERT_TRUE(text.ok()) << text.status().message();
    EXPECT_EQ(*text, R"(1{"z": 1, "a": 2})");
  }
}

TEST(ChatTemplate, TheTimeIsTheCallers) {
  std::tm time = test_time();
  time.tm_year = 99;
  const auto parsed = ChatTemplate::parse("{{ strftime_now('%d %B %Y') }}");
  ASSERT_TRUE(parsed.ok());
  const auto text = parsed->render(Json::object(), time);
  ASSERT_TRUE(text.ok());
  EXPECT_EQ(*text, "07 March 1999");
}

}  // namespace
}  // namespace sluice::test
