// The store over the real readers and real files.

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <map>
#include <random>

#include "experts/expert_store.h"
#include "io/faulty_reader.h"
#include "io/reader_options.h"
#include "tests/experts/store_bench.h"
#include "tests/support/test_data.h"

namespace sluice {
namespace {

using test::Placement;
using ::testing::HasSubstr;

struct Kind {
  const char* name;
  bool ring;
  bool direct;
};

/// Null where this machine refuses the ring.
std::unique_ptr<BlockReader> make_reader(const Kind& kind) {
  ReaderOptions options;
  options.depth = 16;
  options.piece_bytes = 16384;  // small experts, and yet reads in several pieces
  options.direct = kind.direct;
  auto reader = kind.ring ? make_uring_reader(options) : make_pread_reader(options);
  if (!reader.ok()) return nullptr;
  return std::move(reader).value();
}

class RealReaders : public ::testing::TestWithParam<Kind> {
 protected:
  void SetUp() override {
    folder_ = std::filesystem::temp_directory_path() /
              ("sluice-experts-" + std::to_string(getpid()) + "-" + GetParam().name);
    std::filesystem::create_directories(folder_);
    fake_ = test::make_checkpoint(
        {{0, 16}, {2, 12, {TensorType::kQ8_0, TensorType::kQ8_0, TensorType::kQ8_0}}},
        Placement::kApart);
    for (std::size_t i = 0; i < fake_.files.size(); ++i) {
      std::string& name = fake_.checkpoint.files[i];
      name = (folder_ / name).string();
      std::ofstream file(name, std::ios::binary);
      file.write(reinterpret_cast<const char*>(fake_.files[i].data()), std::ssize(fake_.files[i]));
    }
    catalogue_ = ExpertCatalogue::build(fake_.checkpoint).value();
  }
  void TearDown() override { std::filesystem::remove_all(folder_); }

  Status visit(ExpertStore& store, std::uint32_t layer, const std::vector<std::uint32_t>& experts) {
    if (Status status = store.begin(layer, experts); !status.ok()) return status;
    Status status;
    std::size_t seen = 0;
    while (status.ok()) {
      const auto ready = store.ready();
      if (!ready.ok()) {
        status = ready.status();
        break;
      }
      if (ready->empty()) break;
      const std::vector<std::uint32_t> group(ready->begin(), ready->end());
      seen += group.size();
      for (const std::uint32_t index : group) {
        const ExpertWeights weights = store.weights(index);
        const auto& ranges = catalogue_.find(layer)->ranges[experts[index]];
        EXPECT_TRUE(test::same_bytes(weights.gate, ranges[0], fake_.files));
        EXPECT_TRUE(test::same_bytes(weights.up, ranges[1], fake_.files));
        EXPECT_TRUE(test::same_bytes(weights.down, ranges[2], fake_.files));
      }
      status = store.release(group);
    }
    store.end();
    if (status.ok()) {
      EXPECT_EQ(seen, experts.size());
    }
    return status;
  }

  std::filesystem::path folder_;
  test::FakeCheckpoint fake_;
  ExpertCatalogue catalogue_;
};

TEST_P(RealReaders, LoadTheFilesBytes) {
  auto reader = make_reader(GetParam());
  if (reader == nullptr) GTEST_SKIP() << "no ring on this machine";
  const std::size_t least = ExpertStore::minimum_capacity(catalogue_, *reader, 3);
  for (const std::size_t capacity :
       {least / 6, least, ExpertStore::full_capacity(catalogue_, *reader)}) {
    const std::uint64_t before = reader->counters().bytes;
    auto store = ExpertStore::create(catalogue_, *reader, {capacity, "auto", {}});
    ASSERT_TRUE(store.ok()) << store.status().message();
    std::mt19937 random(9);
    for (int pass = 0; pass < 30; ++pass) {
      for (const ExpertLayer& layer : catalogue_.layers()) {
        auto experts = test::all_experts(layer.experts);
        std::shuffle(experts.begin(), experts.end(), random);
        if (pass % 10 != 0) experts.resize(3);
        const Status status = visit(**store, layer.layer, experts);
        ASSERT_TRUE(status.ok()) << status.message();
      }
    }
    const ExpertStatistics statistics = (*store)->statistics();
    EXPECT_EQ(statistics.hits + statistics.loads, statistics.requests);
    EXPECT_EQ(statistics.bytes_read, reader->counters().bytes - before);
  }
}

TEST_P(RealReaders, FailForEveryNAndRecover) {
  const std::vector<std::pair<std::uint32_t, std::vector<std::uint32_t>>> visits = {
      {0, {3, 1, 9}}, {2, test::all_experts(12)}, {0, {3, 2, 15}}};
  for (const auto fault :
       {ReadFault::Kind::kFail, ReadFault::Kind::kShort, ReadFault::Kind::kDelay}) {
    std::uint64_t reads = 1;
    for (std::uint64_t nth = 1; nth <= reads; ++nth) {
      auto inner = make_reader(GetParam());
      if (inner == nullptr) GTEST_SKIP() << "no ring on this machine";
      FaultyReader reader(std::move(inner));
      reader.add_fault({fault, nth, 1, 4});
      const std::size_t capacity = ExpertStore::minimum_capacity(catalogue_, reader, 3) * 2 / 3;
      auto store = ExpertStore::create(catalogue_, reader, {capacity, "auto", {}});
      ASSERT_TRUE(store.ok()) << store.status().message();
      int failures = 0;
      for (const auto& [layer, experts] : visits) {
        Status status = visit(**store, layer, experts);
        if (status.ok()) continue;
        failures += 1;
        EXPECT_THAT(status.message(), HasSubstr("layer " + std::to_string(layer) + ", expert "));
        EXPECT_THAT(status.message(), HasSubstr(folder_.string()));
        EXPECT_THAT(status.message(), HasSubstr("at offset "));
        status = visit(**store, layer, experts);
        ASSERT_TRUE(status.ok()) << status.message();
      }
      const bool hit = reader.fault_counters().faults > 0;
      EXPECT_EQ(failures, hit && fault != ReadFault::Kind::kDelay ? 1 : 0);
      reader.clear_faults();
      reads = std::max(reads, std::min<std::uint64_t>(reader.fault_counters().submitted, 60));
      for (const ExpertLayer& layer : catalogue_.layers()) {
        ASSERT_TRUE(visit(**store, layer.layer, test::all_experts(layer.experts)).ok());
      }
    }
    EXPECT_GT(reads, 40u);
  }
}

TEST_P(RealReaders, AFileThatShrankIsAnErrorThatNamesIt) {
  auto reader = make_reader(GetParam());
  if (reader == nullptr) GTEST_SKIP() << "no ring on this machine";
  const auto file = catalogue_.layers()[1].ranges[11][0].file;
  auto store = ExpertStore::create(catalogue_, *reader,
                                   {ExpertStore::full_capacity(catalogue_, *reader), "auto", {}});
  ASSERT_TRUE(store.ok());
  std::filesystem::resize_file(catalogue_.files()[file], 4096);
  const Status status = visit(**store, 2, {11});
  EXPECT_FALSE(status.ok());
  EXPECT_THAT(status.message(), HasSubstr("layer 2, expert 11"));
  EXPECT_THAT(status.message(), HasSubstr(catalogue_.files()[file]));
}

INSTANTIATE_TEST_SUITE_P(All, RealReaders,
                         ::testing::Values(Kind{"ring", true, true},
                                           Kind{"buffered_ring", true, false},
                                           Kind{"pool", false, true},
                                           Kind{"buffered_pool", false, false}),
                         [](const auto& kind) { return kind.param.name; });

TEST(RealCheckpoints, BothContainersHoldTheSameExperts) {
  const auto gguf = test::test_data("models/tales/tales-bf16.gguf");
  const auto folder = test::test_data("models/tales/model.safetensors").parent_path();
  if (gguf.empty() || folder.empty()) GTEST_SKIP() << "needs SLUICE_TEST_DATA";
  struct Opened {
    Checkpoint checkpoint;
    ExpertCatalogue catalogue;
    std::unique_ptr<BlockReader> reader;
    std::unique_ptr<ExpertStore> store;
  };
  std::array<Opened, 2> opened;
  for (std::size_t i = 0; i < 2; ++i) {
    auto checkpoint = open_checkpoint((i == 0 ? gguf : folder).string());
    ASSERT_TRUE(checkpoint.ok()) << checkpoint.status().message();
    opened[i].checkpoint = std::move(checkpoint).value();
    opened[i].catalogue = ExpertCatalogue::build(opened[i].checkpoint).value();
    opened[i].reader = make_block_reader(ReaderKind::kAuto).value();
    const std::size_t least =
        ExpertStore::minimum_capacity(opened[i].catalogue, *opened[i].reader, 4);
    auto store = ExpertStore::create(opened[i].catalogue, *opened[i].reader, {least, "auto", {}});
    ASSERT_TRUE(store.ok()) << store.status().message();
    opened[i].store = std::move(store).value();
  }
  ASSERT_EQ(opened[0].catalogue.layers().size(), 6u);
  ASSERT_EQ(opened[0].catalogue.total_experts(), 6u * 32);
  for (std::uint32_t layer = 0; layer < 6; ++layer) {
    for (std::uint32_t expert = 0; expert < 32; ++expert) {
      std::array<ExpertWeights, 2> weights;
      for (std::size_t i = 0; i < 2; ++i) {
        ASSERT_TRUE(opened[i].store->begin(layer, std::array{expert}).ok());
        const auto ready = opened[i].store->ready();
        ASSERT_TRUE(ready.ok()) << ready.status().message();
        ASSERT_EQ(ready->size(), 1u);
        weights[i] = opened[i].store->weights(0);
      }
      for (const auto matrix : {&ExpertWeights::gate, &ExpertWeights::up, &ExpertWeights::down}) {
        const WeightMatrix& left = weights[0].*matrix;
        const WeightMatrix& right = weights[1].*matrix;
        ASSERT_EQ(left.format, right.format);
        ASSERT_EQ(left.rows, right.rows);
        ASSERT_EQ(left.columns, right.columns);
        ASSERT_EQ(std::memcmp(left.data, right.data, left.bytes()), 0) << layer << " " << expert;
      }
      for (Opened& one : opened) one.store->end();
    }
  }
}

}  // namespace
}  // namespace sluice
