#include "engine/session.h"

#include <gtest/gtest.h>

#include "tests/engine/fixture.h"
#include "tests/support/test_data.h"

namespace sluice {
namespace {

/// Whoever links the library has no command line.
void expect_no_option(const std::string& message) {
  EXPECT_EQ(message.find("--"), std::string::npos) << message;
}

TEST(Session, WhatDoesNotFitNamesTheLibrarysRemedies) {
  test::Conditions conditions;
  conditions.model.context = 8;
  const test::Opened opened = test::open(conditions);
  Session session(*opened.model);
  ASSERT_TRUE(session.eval(test::some_tokens(5), Session::Logits::kNone, {}).ok());
  const Status status = session.eval(test::some_tokens(4), Session::Logits::kNone, {});
  EXPECT_EQ(status.code(), ErrorCode::kInvalidArgument);
  EXPECT_NE(status.message().find("needs 9 tokens"), std::string::npos) << status.message();
  EXPECT_NE(status.message().find("truncate"), std::string::npos) << status.message();
  expect_no_option(status.message());
  EXPECT_EQ(session.length(), 5u);
  // As it says.
  session.truncate(4);
  EXPECT_TRUE(session.eval(test::some_tokens(4), Session::Logits::kNone, {}).ok());
}

TEST(Session, AModelThatDoesNotFitNamesNoOption) {
  const auto runtime = Runtime::create({.ram = 1 << 20, .threads = 1});
  ASSERT_TRUE(runtime.ok()) << runtime.status().message();
  const Status small =
      Model::open(**runtime, test::bundled_model(), test::small_context()).status();
  EXPECT_EQ(small.code(), ErrorCode::kBudget);
  EXPECT_NE(small.message().find("smaller context"), std::string::npos) << small.message();
  expect_no_option(small.message());

  const auto whole = Runtime::create({.threads = 1});
  ASSERT_TRUE(whole.ok()) << whole.status().message();
  ModelOptions options = test::small_context();
  options.kv_type = KvType::kQ8_0;  // heads of 16
  const auto path = test::test_data("oracle/qwen2_moe").string();
  const Status narrow = Model::open(**whole, path, options).status();
  EXPECT_EQ(narrow.code(), ErrorCode::kUnsupported);
  expect_no_option(narrow.message());
}

}  // namespace
}  // namespace sluice
