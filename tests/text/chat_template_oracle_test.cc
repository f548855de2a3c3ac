// Templates of real models, and random ones, render as jinja2 renders them in Transformers'
// configuration.

#include "tests/text/chat_template_support.h"

namespace sluice::test {
namespace {

std::vector<std::filesystem::path> model_templates() {
  std::vector<std::filesystem::path> files;
  for (const auto& entry : std::filesystem::directory_iterator(bundled_data() / "templates")) {
    if (entry.path().extension() == ".jinja") files.push_back(entry.path());
  }
  std::sort(files.begin(), files.end());
  return files;
}

/// Lists of conversations, each with the variables that an application gives.
Json conversations() {
  std::ifstream file(SLUICE_SOURCE_DIR "/tests/text/chat_conversations.json");
  return Json::parse(file);
}

TEST(ChatTemplateOracle, TemplatesOfModels) {
  if (!has_python()) GTEST_SKIP() << "SLUICE_PYTHON is not set";
  const auto templates = model_templates();
  ASSERT_GE(templates.size(), 10u);
  const Json all = conversations();
  ASSERT_GE(all.size(), 24u);
  std::vector<OracleCase> cases;
  for (const auto& path : templates) {
    const std::string source = read_text(path);
    for (const Json& conversation : all) {
      for (const bool prompt : {false, true}) {
        Json variables = {{"tools", nullptr},
                          {"documents", nullptr},
                          {"add_generation_prompt", prompt},
                          {"bos_token", "<s>"},
                          {"eos_token", "</s>"}};
        variables.update(conversation["variables"]);
        cases.push_back({source, std::move(variables), {}});
      }
    }
  }
  ASSERT_NO_FATAL_FAILURE(ask_oracle(cases));
  std::size_t index = 0;
  for (const auto& path : templates) {
    std::size_t rendered = 0;
    for (const Json& conversation : all) {
      for (int prompt = 0; prompt < 2; ++prompt, ++index) {
        EXPECT_TRUE(agrees(cases[index])) << path.filename() << ", " << conversation["name"];
        rendered += cases[index].expected.contains("text");
      }
    }
    EXPECT_GE(rendered, 12u) << path.filename()
                             << " is hardly tested: most conversations are errors";
  }
}

class RandomTemplates : public testing::TestWithParam<int> {};

TEST_P(RandomTemplates, AgreeWithJinja2) {
  if (!has_python()) GTEST_SKIP() << "SLUICE_PYTHON is not set";
  const ScratchFolder folder;
  const auto lines = run_template_oracle("random " + std::to_string(GetParam()) + " 1200", folder);
  ASSERT_EQ(lines.size(), 1200u);
  int failures = 0, rendered = 0;
  for (const Json& line : lines) {
    const OracleCase one{line["template"], line["variables"], line};
    rendered += line.contains("text");
    const auto result = agrees(one);
    EXPECT_TRUE(result);
    if (!result && ++failures == 10) break;
  }
  EXPECT_TRUE(failures > 0 || rendered > 800) << rendered;
}

INSTANTIATE_TEST_SUITE_P(Seeds, RandomTemplates, testing::Values(1, 2, 3));

}  // namespace
}  // namespace sluice::test
