// A model that is being opened can be stopped at any read, and after few more.

#include <gtest/gtest.h>

#include "tests/engine/fixture.h"
#include "tests/support/stopping_reader.h"
#include "tests/support/test_data.h"

namespace sluice {
namespace {

// Of GGUF most lies as it is used; of the other folder some is widened or re-laid.
class LoadingTest : public testing::TestWithParam<const char*> {
 protected:
  void SetUp() override {
    path_ = GetParam() == std::string("tales") ? test::bundled_model()
                                               : test::test_data(GetParam()).string();
    if (path_.empty()) GTEST_SKIP() << "not in the bundled data";
    auto inner = make_block_reader(ReaderKind::kAuto);
    ASSERT_TRUE(inner.ok()) << inner.status().message();
    auto stopping = std::make_unique<test::StoppingReader>(std::move(*inner));
    reader_ = stopping.get();
    auto runtime = Runtime::create({.threads = 2}, std::move(stopping));
    ASSERT_TRUE(runtime.ok()) << runtime.status().message();
    runtime_ = std::move(*runtime);
  }

  Status open() {
    ModelOptions options = test::small_context();
    options.cancel = &cancel_;
    return Model::open(*runtime_, path_, options).status();
  }

  static constexpr std::uint64_t kUnderWay = 16;  // blocks that read_ranges has in flight
  std::string path_;
  std::unique_ptr<Runtime> runtime_;
  test::StoppingReader* reader_ = nullptr;
  std::atomic<bool> cancel_ = false;
};

TEST_P(LoadingTest, ARequestBeforeItStartsReadsNothing) {
  cancel_ = true;
  EXPECT_EQ(open().code(), ErrorCode::kCancelled);
  EXPECT_EQ(reader_->submitted(), 0u);
}

// How many reads a model takes differs from one opening to the next: a block lands in place or by
// way of the bounce memory, as the allocator has aligned its destination. So the reads around the
// last are all tried, and those that are never made raise no request.
TEST_P(LoadingTest, ARequestAtAnyReadStopsItAfterThoseUnderWay) {
  ASSERT_TRUE(open().ok());
  const std::uint64_t reads = reader_->submitted();
  ASSERT_GT(reads, 2 * kUnderWay);
  for (std::uint64_t n = 1; n <= reads + kUnderWay; n += n < reads - kUnderWay ? 1 + n / 4 : 1) {
    SCOPED_TRACE(n);
    cancel_ = false;
    const std::uint64_t before = reader_->submitted();
    reader_->stop_at(n, cancel_);
    const Status status = open();
    const bool requested = cancel_;
    EXPECT_EQ(status.code(), requested ? ErrorCode::kCancelled : ErrorCode::kOk);
    EXPECT_TRUE(requested || n > reads / 2);
    EXPECT_LE(reader_->submitted() - before, n + kUnderWay);
  }
  reader_->never_stop();
  cancel_ = false;
  const Status status = open();
  EXPECT_TRUE(status.ok()) << status.message();
}

INSTANTIATE_TEST_SUITE_P(Models, LoadingTest,
                         testing::Values("tales", "oracle/qwen2_moe", "oracle/deepseek_v3_fp8"),
                         [](const auto& instance) {
                           const std::string name = instance.param;
                           return name.substr(name.find('/') + 1);
                         });

}  // namespace
}  // namespace sluice
