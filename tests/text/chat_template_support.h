#pragma once
// What the tests of chat templates share: rendering, and jinja2's answers.

#include <gtest/gtest.h>

#include <ctime>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "tests/text/tokenizer_support.h"
#include "text/chat_template.h"

namespace sluice::test {

using Json = nlohmann::ordered_json;

/// The time that tests/text/chat_template_oracle.py has, too: Saturday, 7 March 2026, 04:05:09.
inline std::tm test_time() {
  std::tm time{};
  time.tm_year = 126;
  time.tm_mon = 2;
  time.tm_mday = 7;
  time.tm_hour = 4;
  time.tm_min = 5;
  time.tm_sec = 9;
  time.tm_wday = 6;
  time.tm_yday = 65;
  return time;
}

inline Result<std::string> render(const std::string& source, const Json& variables,
                                  const ChatTemplateLimits& limits = {}) {
  auto parsed = ChatTemplate::parse(source);
  if (!parsed.ok()) return parsed.status();
  return parsed->render(variables, test_time(), limits);
}

struct OracleCase {
  std::string source;
  Json variables;
  Json expected;  // {"text": …} or {"error": …}
};

/// Runs the oracle and reads the lines that it wrote; empty after a failure.
inline std::vector<Json> run_template_oracle(const std::string& arguments,
                                             const ScratchFolder& folder) {
  const std::string out = (folder.path() / "out.jsonl").string();
  const std::string command = std::string("'") + std::getenv("SLUICE_PYTHON") +
                              "' '" SLUICE_SOURCE_DIR "/tests/text/chat_template_oracle.py' " +
                              arguments + " '" + out + "'";
  std::vector<Json> lines;
  if (!run_command(command)) {
    ADD_FAILURE() << command;
    return lines;
  }
  std::ifstream file(out);
  for (std::string line; std::getline(file, line);) lines.push_back(Json::parse(line));
  return lines;
}

/// Adds what jinja2 makes of every case ("render"), or apply_chat_template ("apply").
inline void ask_oracle(std::vector<OracleCase>& cases, const std::string& how = "render") {
  const ScratchFolder folder;
  const std::string in = (folder.path() / "cases.jsonl").string();
  {
    std::ofstream file(in);
    for (const OracleCase& one : cases) {
      file << Json{{"template", one.source}, {"variables", one.variables}}.dump() << '\n';
    }
  }
  const auto answers = run_template_oracle(how + " '" + in + "'", folder);
  ASSERT_EQ(answers.size(), cases.size());
  for (std::size_t i = 0; i < cases.size(); ++i) cases[i].expected = answers[i];
}

/// Byte-equal, or an error on both sides.
inline testing::AssertionResult same(const OracleCase& one, const Result<std::string>& ours) {
  const bool theirs = one.expected.contains("text");
  if (ours.ok() == theirs &&
      (!theirs || *ours == one.expected["text"].get_ref<const std::string&>())) {
    return testing::AssertionSuccess();
  }
  return testing::AssertionFailure()
         << one.source.substr(0, 600)
         << "\n  ours:   " << (ours.ok() ? Json(*ours).dump() : "error: " + ours.status().message())
         << "\n  theirs: " << one.expected.dump();
}
inline testing::AssertionResult agrees(const OracleCase& one) {
  return same(one, render(one.source, one.variables));
}

}  // namespace sluice::test
