// What measures the machine can be stopped before it starts and at any read.

#include "apps/ceilings.h"

#include <gtest/gtest.h>

#include "tests/support/stopping_reader.h"

namespace sluice::apps {
namespace {

constexpr std::uint64_t kUnderWay = 24;  // reads in flight at a time

class CeilingsTest : public testing::Test {
 protected:
  void SetUp() override {
    auto inner = make_block_reader(ReaderKind::kAuto);
    ASSERT_TRUE(inner.ok()) << inner.status().message();
    auto stopping = std::make_unique<test::StoppingReader>(std::move(*inner));
    reader_ = stopping.get();
    auto runtime = Runtime::create({.ram = 64 << 20, .threads = 2}, std::move(stopping));
    ASSERT_TRUE(runtime.ok()) << runtime.status().message();
    runtime_ = std::move(*runtime);
    auto checkpoint = open_checkpoint(std::string(SLUICE_SOURCE_DIR) + "/models/tales.gguf");
    ASSERT_TRUE(checkpoint.ok()) << checkpoint.status().message();
    checkpoint_ = std::move(*checkpoint);
  }

  ErrorCode measure() { return measure_ceilings(*runtime_, checkpoint_, cancel_).status().code(); }

  std::unique_ptr<Runtime> runtime_;
  test::StoppingReader* reader_ = nullptr;
  Checkpoint checkpoint_;
  std::atomic<bool> cancel_ = false;
};

TEST_F(CeilingsTest, ARequestBeforeItStartsReadsNothing) {
  cancel_ = true;
  EXPECT_EQ(measure(), ErrorCode::kCancelled);
  EXPECT_EQ(reader_->submitted(), 0u);
}

TEST_F(CeilingsTest, ARequestAtAnyReadStopsItAfterThoseUnderWay) {
  for (const std::uint64_t n : {1, 2, 23, 24, 25, 100}) {
    SCOPED_TRACE(n);
    cancel_ = false;
    const std::uint64_t before = reader_->submitted();
    reader_->stop_at(n, cancel_);
    EXPECT_EQ(measure(), ErrorCode::kCancelled);
    EXPECT_LE(reader_->submitted() - before, n + kUnderWay);
  }
}

}  // namespace
}  // namespace sluice::apps
