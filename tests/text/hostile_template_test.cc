// Templates that would take the machine down if they could: each ends with an error, soon and
// within its memory.

#include <sys/resource.h>

#include "tests/text/chat_template_support.h"

namespace sluice::test {
namespace {

double processor_seconds() {
  rusage usage{};
  getrusage(RUSAGE_SELF, &usage);
  return static_cast<double>(usage.ru_utime.tv_sec) +
         static_cast<double>(usage.ru_utime.tv_usec) * 1e-6;
}

std::string repeated(const std::string& text, std::size_t count) {
  std::string out;
  for (std::size_t i = 0; i < count; ++i) out += text;
  return out;
}

/// An error, not later than what the limits allow.
void expect_refused(const std::string& source, const Json& variables = Json::object()) {
  ChatTemplateLimits limits;
  limits.steps = 5'000'000;
  limits.memory_bytes = std::size_t{64} << 20;
  limits.output_bytes = std::size_t{16} << 20;
  const double start = processor_seconds();
  const auto text = render(source, variables, limits);
  EXPECT_FALSE(text.ok()) << source.substr(0, 200);
  EXPECT_FALSE(text.status().message().empty());
  EXPECT_LT(processor_seconds() - start, 20.0) << source.substr(0, 200);
}

TEST(HostileTemplate, NestedSyntax) {
  for (const std::size_t depth : {std::size_t{300}, std::size_t{100'000}}) {
    expect_refused("{{ " + repeated("(", depth) + "1" + repeated(")", depth) + " }}");
    expect_refused("{{ " + repeated("[", depth) + repeated("]", depth) + " }}");
    expect_refused("{{ " + repeated("{1:", depth) + "1" + repeated("}", depth) + " }}");
    expect_refused("{{ " + repeated("not ", depth) + "1 }}");
    expect_refused("{{ " + repeated("-", depth) + "1 }}");
    expect_refused("{{ 1" + repeated(" + 1", depth) + " }}");
    expect_refused("{{ 1" + repeated(" and 1", depth) + " }}");
    expect_refused("{{ x" + repeated(".y", depth) + " }}");
    expect_refused("{{ x" + repeated("|list", depth) + " }}");
    expect_refused("{{ x" + repeated("()", depth) + " }}");
    expect_refused("{{ x" + repeated("[x", depth) + repeated("]", depth) + " }}");
    expect_refused("{{ " + repeated("x(", depth) + repeated(")", depth) + " }}");
    expect_refused("{{ 1" + repeated(" if 1 else 1", depth) + " }}");
    expect_refused(repeated("{% if 1 %}", depth) + repeated("{% endif %}", depth));
    expect_refused(repeated("{% for x in y %}", depth) + repeated("{% endfor %}", depth));
    expect_refused(repeated("{% macro m() %}", depth) + repeated("{% endmacro %}", depth));
    expect_refused("{% set " + repeated("(", depth) + "x" + repeated(")", depth) + " = 1 %}");
  }
}

TEST(HostileTemplate, LoopsWithoutEnd) {
  expect_refused("{% for i in range(99999) %}{% for j in range(99999) %}{% endfor %}{% endfor %}");
  expect_refused("{{ range(100000000000) }}");
  expect_refused("{% for i in range(0, 9223372036854775807, 2) %}{% endfor %}");
  expect_refused("{% for i in range(99999) %}{% set x = range(99999)|list %}{% endfor %}");
  expect_refused("{% for i in range(99999) %}{{ range(99999)|sort|last }}{% endfor %}");
  expect_refused("{% for i in range(99999) %}{{ range(99999)|map('string')|join }}{% endfor %}");
}

TEST(HostileTemplate, TextsAndListsWithoutEnd) {
  expect_refused("{{ 'x' * 9223372036854775807 }}");
  expect_refused("{{ 'ab' * 4611686018427387904 }}");
  expect_refused("{{ [1] * 9223372036854775807 }}");
  expect_refused("{{ '%1000000000d' % 1 }}");
  expect_refused("{{ '%.1000000000f' % 1.5 }}");
  expect_refused("{{ '{:>1000000000}'.format(1) }}");
  expect_refused("{{ 'x'|center(1000000000) }}");
  expect_refused("{{ 'x'.ljust(1000000000) }}");
  expect_refused("{{ 'x'.zfill(1000000000) }}");
  expect_refused("{{ [1]|batch(1000000000, 'x')|list }}");
  expect_refused("{{ [1]|slice(1000000000)|list }}");
  const std::string doubling =
      "{% set ns = namespace(s='xxxxxxxxxxxxxxxx', l=[1]) %}{% for i in range(60) %}";
  expect_refused(doubling + "{% set ns.s = ns.s + ns.s %}{% endfor %}");
  expect_refused(doubling + "{% set ns.s = ns.s ~ ns.s %}{% endfor %}");
  expect_refused(doubling + "{% set ns.s = ns.s.replace('x', 'xx') %}{% endfor %}");
  expect_refused(doubling + "{% set ns.s = ns.s|replace('', 'xx') %}{% endfor %}");
  expect_refused(doubling + "{% set ns.s = ns.s.join(ns.s) %}{% endfor %}");
  expect_refused(doubling + "{% set ns.l = ns.l + ns.l %}{% endfor %}");
  expect_refused(doubling + "{% set ns.l = [ns.l, ns.l] %}{% endfor %}{{ ns.l }}");
  expect_refused(doubling + "{% set ns.l = [ns.l, ns.l] %}{% endfor %}{{ ns.l|tojson }}");
  expect_refused(
      "{% set ns = namespace(a=[1], b=[1]) %}{% for i in range(60) %}{% set ns.a = [ns.a, ns.a] %}"
      "{% set ns.b = [ns.b, ns.b] %}{% endfor %}{{ ns.a == ns.b }}");
  expect_refused(
      "{% for i in range(99999) %}{{ 'xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx' * 999 }}{% endfor %}");
  expect_refused("{% macro m(n) %}{{ 'x' * 1000000 }}{{ m(n + 1) }}{% endmacro %}{{ m(0) }}");
}

TEST(HostileTemplate, RecursiveLoops) {
  expect_refused("{% for i in [1] recursive %}{{ loop([1]) }}{% endfor %}");
  expect_refused("{% for i in [1, 2] recursive %}{{ loop([i]) }}{{ loop([i, i]) }}{% endfor %}");
  expect_refused("{% for i in [[]] recursive %}{{ loop([i, [i]]) ~ loop([i]) }}{% endfor %}");
  expect_refused(
      "{% set ns = namespace() %}{% for i in [1] recursive %}{% set ns.l = loop %}{% endfor %}{% "
      "macro m() %}{{ ns.l([m()]) }}{% endmacro %}{{ m() }}");
  expect_refused(
      "{% for i in range(9) recursive %}{% filter upper %}{{ loop(range(9)) }}{% endfilter %}{% "
      "endfor %}");
}

TEST(HostileTemplate, RecursiveMacros) {
  expect_refused("{% macro m() %}{{ m() }}{% endmacro %}{{ m() }}");
  expect_refused("{% macro m(x) %}{{ m([x]) }}{% endmacro %}{{ m(1) }}");
  expect_refused("{% macro m(x=m()) %}{% endmacro %}{{ m() }}");
  expect_refused("{% macro m() %}{{ m() }}{{ m() }}{% endmacro %}{{ m() }}");
  expect_refused("{% macro m() %}{% call m() %}{% endcall %}{% endmacro %}{{ m() }}");
  expect_refused(
      "{% macro m() %}{% for i in [1] %}{% if 1 %}{% filter upper %}{{ m() }}{% endfilter %}{% "
      "endif %}{% endfor %}{% endmacro %}{{ m() }}");
  expect_refused(
      "{% macro a() %}{{ b() }}{% endmacro %}{% macro b() %}{{ a() }}{% endmacro %}{{ a() }}");
}

// Threads of other programs have less stack than the main one.
TEST(HostileTemplate, RecursionFitsASmallStack) {
  pthread_attr_t attributes;
  ASSERT_EQ(pthread_attr_init(&attributes), 0);
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
  constexpr std::size_t kStack = std::size_t{8} << 20;
#else
  constexpr std::size_t kStack = std::size_t{1} << 20;
#endif
  ASSERT_EQ(pthread_attr_setstacksize(&attributes, kStack), 0);
  pthread_t thread;
  const auto work = [](void*) -> void* {
    expect_refused(
        "{% macro m(x) %}{% if 1 %}{{ '' ~ (m([x])|upper) }}{% endif %}{% endmacro %}{{ m(1) }}");
    expect_refused("{{ " + repeated("(", 100'000));
    expect_refused("{{ " + repeated("[", 100'000));
    expect_refused(
        "{% set ns = namespace(x=1) %}{% for i in range(1000) %}{% set ns.x = [ns.x] %}{% endfor "
        "%}");
    expect_refused("{% set ns = namespace() %}{% set ns.x = [ns] %}{{ ns }}");
    return nullptr;
  };
  ASSERT_EQ(pthread_create(&thread, &attributes, work, nullptr), 0);
  ASSERT_EQ(pthread_join(thread, nullptr), 0);
  pthread_attr_destroy(&attributes);
}

TEST(HostileTemplate, ValuesThatHoldThemselves) {
  expect_refused("{% set ns = namespace() %}{% set ns.x = [ns] %}{{ ns }}");
  expect_refused(
      "{% set ns = namespace(x=1) %}{% for i in range(1000) %}{% set ns.x = [ns.x] %}{% endfor %}");
  expect_refused(
      "{% set ns = namespace(x=1) %}{% for i in range(1000) %}{% set ns.x = {1: ns.x} %}{% endfor "
      "%}");
  expect_refused(
      "{% set ns = namespace(x='a') %}{% for i in range(1000) %}{% set ns.x = [ns.x]|map('list') "
      "%}{% endfor %}");
  expect_refused(
      "{% set ns = namespace(x=[]) %}{% for i in range(1000) %}{% set ns.x = [ns.x.index] %}{% "
      "endfor %}");
  // Nothing is left behind by these, as the leak checker sees.
  const char* harmless =
      "{% set ns = namespace() %}{% set ns.a = ns %}{% macro m() %}{% macro inner() %}{{ m }}{% "
      "endmacro %}{% set ns.m = inner %}"
      "{% endmacro %}{{ m() }}{% set ns.self = m %}{% for i in [1, 2] %}{% set ns.l = loop %}{% "
      "set ns.c = loop.changed %}"
      "{% set ns.d = ns.c(ns.c) %}{% endfor %}{% set ns.e = ns.c(ns.c) %}{% call m() %}{{ ns.e "
      "}}{% endcall %}";
  auto parsed = ChatTemplate::parse(harmless);
  ASSERT_TRUE(parsed.ok()) << parsed.status().message();
  (void)parsed->render(Json::object(), test_time());
}

TEST(HostileTemplate, WhatIsNoText) {
  expect_refused("\xFF\xFE");
  expect_refused("{{ '\xC3' }}");
  expect_refused("{{ x }}", {{"x", "\xC3"}});
  expect_refused("{{ x }}", {{"x", 18446744073709551615u}});
  expect_refused("{{ '\\ud800' }}");
  expect_refused("{{ '\\x4' }}");
  expect_refused(std::string("{{ \0 }}", 7));
  EXPECT_FALSE(ChatTemplate::parse(std::string(ChatTemplate::kMaxSourceBytes + 1, 'x')).ok());
}

TEST(HostileTemplate, TheSandboxHolds) {
  const Json variables = {{"s", "text"}, {"l", {1}}, {"d", {{"k", 1}}}};
  for (const std::string attribute :
       {"__class__", "__init__", "__globals__", "__subclasses__", "__mro__"}) {
    for (const std::string value :
         {"s", "l", "d", "1", "range", "namespace()", "raise_exception", "s.upper"}) {
      expect_refused("{{ " + value + "." + attribute + "() }}", variables);
      expect_refused("{{ " + value + "['" + attribute + "'].x }}", variables);
      expect_refused("{{ (" + value + "|attr('" + attribute + "')).x }}", variables);
    }
  }
  for (const std::string change :
       {"l.append(1)", "l.pop()", "l.clear()", "l.sort()", "d.update({})", "d.pop('k')",
        "d.setdefault('x', 1)", "d.clear()"}) {
    expect_refused("{{ " + change + " }}", variables);
  }
}

}  // namespace
}  // namespace sluice::test
