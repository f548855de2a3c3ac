#include "io/faulty_reader.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <string>
#include <vector>

#include "tests/io/reader_kinds.h"
#include "tests/io/temporary_file.h"

namespace sluice {
namespace {

constexpr std::size_t kBlock = 4096;
constexpr std::size_t kReads = 12;

class FaultyReaderTest : public testing::TestWithParam<test::ReaderSetup> {
 protected:
  void SetUp() override { renew(); }

  void renew() {
    ReaderOptions options;
    options.direct = GetParam().direct;
    options.depth = 1;  // completions come in the order of submission
    auto inner = test::make_reader(GetParam().kind, options);
    if (!inner.ok()) GTEST_SKIP() << "no such reader here: " << inner.status().message();
    reader_ = std::make_unique<FaultyReader>(std::move(inner).value());
    auto opened = reader_->open(file_.path());
    ASSERT_TRUE(opened.ok());
    index_ = *opened;
  }

  /// Reads all blocks at once; completions by order of arrival.
  std::vector<ReadCompletion> read_all() {
    std::vector<ReadRequest> requests;
    for (std::size_t i = 0; i < kReads; ++i) {
      requests.push_back({index_, i * kBlock, kBlock, kBlock, block(i).data(), i});
    }
    EXPECT_TRUE(reader_->submit(requests).ok());
    std::vector<ReadCompletion> all;
    std::vector<ReadCompletion> some(4);
    while (const std::size_t count = reader_->reap(some, true)) {
      for (std::size_t i = 0; i < count; ++i) all.push_back(some[i]);
    }
    return all;
  }

  std::span<std::byte> block(std::size_t i) { return {buffer_.data() + i * kBlock, kBlock}; }

  test::TemporaryFile file_{kReads * kBlock};
  AlignedBuffer buffer_ = std::move(AlignedBuffer::allocate(kReads * kBlock)).value();
  std::unique_ptr<FaultyReader> reader_;
  FileIndex index_ = 0;
};
INSTANTIATE_TEST_SUITE_P(Readers, FaultyReaderTest, testing::ValuesIn(test::reader_setups()),
                         test::setup_name);

TEST_P(FaultyReaderTest, FailsTheNthReadAndOnlyThat) {
  for (const auto kind : {ReadFault::Kind::kFail, ReadFault::Kind::kShort}) {
    for (std::size_t n = 1; n <= kReads; ++n) {
      renew();
      if (IsSkipped()) return;
      reader_->add_fault({.kind = kind, .nth = n});
      const auto completions = read_all();
      ASSERT_EQ(completions.size(), kReads);
      for (const ReadCompletion& completion : completions) {
        ASSERT_EQ(completion.status.ok(), completion.tag != n - 1);
        ASSERT_EQ(test::matches(block(completion.tag), completion.tag * kBlock),
                  completion.status.ok());
        if (completion.status.ok()) continue;
        EXPECT_NE(completion.status.message().find(file_.path()), std::string::npos);
        EXPECT_NE(completion.status.message().find(std::to_string(completion.tag * kBlock)),
                  std::string::npos);
        if (kind == ReadFault::Kind::kShort) {
          EXPECT_EQ(test::first_difference(block(completion.tag), completion.tag * kBlock),
                    kBlock / 2);
        }
      }
      EXPECT_EQ(reader_->fault_counters().faults, 1u);
      // The next round is right.
      for (const ReadCompletion& completion : read_all()) ASSERT_TRUE(completion.status.ok());
    }
  }
}

TEST_P(FaultyReaderTest, CorruptsSilently) {
  for (std::size_t n = 1; n <= kReads; ++n) {
    renew();
    if (IsSkipped()) return;
    reader_->add_fault({.kind = ReadFault::Kind::kCorrupt, .nth = n});
    for (const ReadCompletion& completion : read_all()) {
      ASSERT_TRUE(completion.status.ok());
      ASSERT_EQ(test::matches(block(completion.tag), completion.tag * kBlock),
                completion.tag != n - 1);
    }
  }
}

TEST_P(FaultyReaderTest, DelaysTheNthReadBehindOthers) {
  for (const std::uint64_t behind : {1u, 3u, 100u}) {
    for (std::size_t n = 1; n <= kReads; ++n) {
      renew();
      if (IsSkipped()) return;
      reader_->add_fault({.kind = ReadFault::Kind::kDelay, .nth = n, .behind = behind});
      const auto completions = read_all();
      ASSERT_EQ(completions.size(), kReads);
      const auto late = std::ranges::find(completions, n - 1, &ReadCompletion::tag);
      ASSERT_NE(late, completions.end());
      const auto place = static_cast<std::size_t>(late - completions.begin());
      EXPECT_GE(place, std::min<std::size_t>(n - 1 + behind, kReads - 1));
      for (const ReadCompletion& completion : completions) {
        ASSERT_TRUE(completion.status.ok());
        ASSERT_TRUE(test::matches(block(completion.tag), completion.tag * kBlock));
      }
    }
  }
}

TEST_P(FaultyReaderTest, HitsARunOfReadsUntilCleared) {
  reader_->add_fault({.kind = ReadFault::Kind::kFail, .nth = 3, .times = 1000});
  const auto failures = [&] {
    const auto all = read_all();
    return std::ranges::count_if(all,
                                 [](const auto& completion) { return !completion.status.ok(); });
  };
  EXPECT_EQ(failures(), static_cast<long>(kReads - 2));
  EXPECT_EQ(failures(), static_cast<long>(kReads));
  reader_->clear_faults();
  EXPECT_EQ(failures(), 0);
  EXPECT_EQ(reader_->fault_counters().submitted, 3 * kReads);
  EXPECT_EQ(reader_->fault_counters().delivered, 3 * kReads);
}

}  // namespace
}  // namespace sluice
