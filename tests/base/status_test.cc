#include "base/status.h"

#include <gtest/gtest.h>

#include <memory>

namespace sluice {
namespace {

Result<int> half_of(int value) {
  if (value % 2 != 0) return Status(ErrorCode::kInvalidArgument, std::to_string(value) + " is odd");
  return value / 2;
}

Result<int> quarter_of(int value) {
  SLUICE_ASSIGN(const int half, half_of(value));
  SLUICE_ASSIGN(const int quarter, half_of(half));
  return quarter;
}

Status check_quarter(int value) {
  SLUICE_TRY(quarter_of(value));
  SLUICE_TRY(Status());
  return Status();
}

TEST(StatusTest, DefaultIsSuccess) {
  EXPECT_TRUE(Status().ok());
  EXPECT_EQ(Status().code(), ErrorCode::kOk);
  EXPECT_TRUE(Status().with_context("reading").ok());
}

TEST(StatusTest, ContextStandsBeforeTheMessage) {
  const Status status = Status(ErrorCode::kCorrupt, "bad magic").with_context("x.gguf");
  EXPECT_EQ(status.code(), ErrorCode::kCorrupt);
  EXPECT_EQ(status.message(), "x.gguf: bad magic");
}

TEST(ResultTest, MacrosPassValuesAndErrorsOn) {
  EXPECT_EQ(quarter_of(12).value(), 3);
  EXPECT_EQ(quarter_of(6).status().message(), "3 is odd");
  EXPECT_TRUE(check_quarter(8).ok());
  EXPECT_EQ(check_quarter(5).code(), ErrorCode::kInvalidArgument);
}

TEST(ResultTest, HoldsWhatCanOnlyMove) {
  Result<std::unique_ptr<int>> result = std::make_unique<int>(5);
  ASSERT_TRUE(result.ok());
  EXPECT_EQ(**result, 5);
  const std::unique_ptr<int> taken = std::move(result).value();
  EXPECT_EQ(*taken, 5);
}

}  // namespace
}  // namespace sluice
