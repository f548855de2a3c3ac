// A model from a store computes what its source computes, bit for bit; and a store that is damaged
// says so, wherever the damage is.

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cctype>
#include <filesystem>
#include <fstream>
#include <memory>
#include <string>
#include <vector>

#include "experts/expert_store.h"
#include "layers/dense_weights.h"
#include "tests/engine/fixture.h"
#include "tests/engine/oracles.h"
#include "tests/formats/temporary_folder.h"
#include "tests/support/packed_store.h"
#include "tests/support/test_data.h"

namespace sluice {
namespace {

using ::testing::HasSubstr;

/// The store of a model, in a file.
std::string pack(const std::string& path, const test::TemporaryFolder& folder,
                 const StoreChoice& choice = {}) {
  const std::string store = folder.path() + "/model.slc";
  std::filesystem::remove(store);
  test::pack_store(path, store, choice);
  return store;
}

std::vector<float> logits(const test::Conditions& conditions) {
  test::Opened opened = test::open(conditions);
  Session session(*opened.model);
  const auto vocabulary = static_cast<std::uint32_t>(opened.model->description().vocabulary);
  return test::all_logits(session, test::some_tokens(9, 1, vocabulary));
}

void flip_bit(const std::string& path, std::uint64_t at) {
  std::fstream file(path, std::ios::binary | std::ios::in | std::ios::out);
  file.seekg(static_cast<std::streamoff>(at));
  const int byte = file.get();
  file.seekp(static_cast<std::streamoff>(at));
  file.put(static_cast<char>(byte ^ 16));
}

class StoredModel : public ::testing::TestWithParam<std::string> {};

TEST_P(StoredModel, computes_what_its_source_does) {
  const auto path = test::test_data("oracle/" + GetParam());
  if (path.empty()) GTEST_SKIP() << "needs the whole test data";
  const test::TemporaryFolder folder;
  test::Conditions source, store;
  source.path = path.string();
  const std::vector<float> want = logits(source);
  store.path = pack(source.path, folder);
  EXPECT_TRUE(test::same_bits(logits(store), want));
  // The floats that planes are fitted to are kept, and integers' planes are their numbers.
  store.path = pack(source.path, folder, test::nest_all());
  EXPECT_TRUE(test::same_bits(logits(store), want));
}

INSTANTIATE_TEST_SUITE_P(Oracles, StoredModel, ::testing::ValuesIn(test::oracle_models()),
                         [](const auto& name) {
                           std::string text = name.param;
                           for (char& letter : text) letter = std::isalnum(letter) ? letter : '_';
                           return text;
                         });

/// As it was, or in planes.
class DamagedStore : public ::testing::TestWithParam<bool> {
 protected:
  void SetUp() override {
    store_ = pack(test::bundled_model(), folder_, GetParam() ? test::nest_all() : StoreChoice());
    auto outline = ModelOutline::open(store_);
    ASSERT_TRUE(outline.ok()) << outline.status().message();
    outline_ = std::make_unique<ModelOutline>(std::move(*outline));
    auto runtime = Runtime::create({.threads = 2});
    ASSERT_TRUE(runtime.ok());
    runtime_ = std::move(*runtime);
    files_ = *open_files(outline_->checkpoint, runtime_->reader());
  }

  Status load_dense() {
    return DenseWeights::load(outline_->checkpoint, outline_->description, runtime_->reader(),
                              files_)
        .status();
  }

  /// Of expert store `experts`: whether this one can be had.
  Status visit(ExpertStore& experts, std::uint32_t layer, std::uint32_t expert) {
    const std::vector<std::uint32_t> wanted = {expert};
    SLUICE_TRY(experts.begin(layer, wanted));
    const auto ready = experts.ready();
    Status status = ready.ok() ? experts.prepare(*ready, runtime_->compute()) : ready.status();
    if (status.ok()) status = experts.release(*ready);
    experts.end();
    return status;
  }

  std::unique_ptr<ExpertStore> expert_store() {
    const std::size_t all = ExpertStore::full_capacity(outline_->catalogue, runtime_->reader());
    return *ExpertStore::create(outline_->catalogue, runtime_->reader(), {all, "auto", files_});
  }

  std::string place(const CheckedBlock& block) const {
    return store_ + ": the block of " + std::to_string(block.bytes) + " bytes at offset " +
           std::to_string(block.offset);
  }

  test::TemporaryFolder folder_;
  std::string store_;
  std::unique_ptr<ModelOutline> outline_;
  std::unique_ptr<Runtime> runtime_;
  std::vector<FileIndex> files_;
};

TEST_P(DamagedStore, a_flipped_bit_is_found_in_every_block) {
  ASSERT_TRUE(load_dense().ok()) << load_dense().message();
  std::size_t experts_seen = 0, dense_seen = 0;
  const auto damaged = [&](const CheckedBlock& block, auto&& read) {
    // Another bit of each block: its first and last, and what lies between.
    const std::uint64_t at = block.offset + (block.offset / 4096 * 7919) % block.bytes;
    flip_bit(store_, at);
    const Status status = read();
    EXPECT_EQ(status.code(), ErrorCode::kCorrupt) << block.offset;
    EXPECT_THAT(status.message(), HasSubstr(place(block)));
    EXPECT_THAT(status.message(), HasSubstr("copy it again, or pack it again"));
    flip_bit(store_, at);
    return status;
  };
  auto experts = expert_store();
  std::vector<std::uint64_t> of_experts;
  for (const ExpertLayer& layer : outline_->catalogue.layers()) {
    ASSERT_EQ(layer.blocks.size(), layer.experts);
    for (std::uint32_t expert = 0; expert < layer.experts; ++expert) {
      ASSERT_EQ(layer.blocks[expert].size(), GetParam() ? 6u : 1u);
      for (const CheckedBlock& block : layer.blocks[expert]) {
        of_experts.push_back(block.offset);
        const Status status = damaged(block, [&] { return visit(*experts, layer.layer, expert); });
        EXPECT_THAT(status.message(), HasSubstr("layer " + std::to_string(layer.layer) +
                                                ", expert " + std::to_string(expert) + ": "));
        EXPECT_FALSE(experts->resident({layer.layer, expert}));
        ++experts_seen;
      }
      // The copy was given up, the file is whole again, and the others were never in doubt.
      EXPECT_TRUE(visit(*experts, layer.layer, expert).ok());
      EXPECT_TRUE(experts->resident({layer.layer, expert}));
    }
  }
  for (const CheckedBlock& block : outline_->checkpoint.blocks) {
    if (std::ranges::count(of_experts, block.offset) != 0) continue;
    (void)damaged(block, [&] { return load_dense(); });
    ++dense_seen;
  }
  EXPECT_EQ(experts_seen + dense_seen, outline_->checkpoint.blocks.size());
  EXPECT_GT(dense_seen, 10u);
  EXPECT_GT(experts_seen, 10u);
}

TEST_P(DamagedStore, others_in_the_same_visit_are_not_to_blame) {
  auto experts = expert_store();
  const ExpertLayer& layer = outline_->catalogue.layers()[0];
  const CheckedBlock& block = layer.blocks[1].back();
  flip_bit(store_, block.offset);
  const std::vector<std::uint32_t> wanted = {0, 1, 2};
  ASSERT_TRUE(experts->begin(layer.layer, wanted).ok());
  Status status;
  while (status.ok()) {
    const auto ready = experts->ready();
    ASSERT_TRUE(ready.ok() && !ready->empty());
    status = experts->prepare(*ready, runtime_->compute());
    if (status.ok()) {
      ASSERT_TRUE(experts->release(*ready).ok());
    } else {
      EXPECT_FALSE(experts->ready().ok());
    }
  }
  experts->end();
  EXPECT_THAT(status.message(), HasSubstr("expert 1: "));
  EXPECT_FALSE(experts->resident({layer.layer, 1}));
  EXPECT_TRUE(visit(*experts, layer.layer, 0).ok());
  EXPECT_TRUE(visit(*experts, layer.layer, 2).ok());
  EXPECT_FALSE(visit(*experts, layer.layer, 1).ok());
  flip_bit(store_, block.offset);
  EXPECT_TRUE(visit(*experts, layer.layer, 1).ok());
}

TEST_P(DamagedStore, a_request_fails_and_the_next_one_is_right) {
  test::Conditions conditions;
  conditions.path = store_;
  test::Opened opened = test::open(conditions);
  const std::vector<TokenId> tokens = test::some_tokens(12);
  Session session(*opened.model);
  for (const std::vector<CheckedBlock>& blocks : outline_->catalogue.layers()[0].blocks) {
    flip_bit(store_, blocks.back().offset + blocks.back().bytes - 1);
  }
  const Status status =
      session.eval(tokens, Session::Logits::kLast, [](std::size_t, std::span<const float>) {});
  EXPECT_EQ(status.code(), ErrorCode::kCorrupt);
  EXPECT_THAT(status.message(), HasSubstr("model.slc: the block of "));
  for (const std::vector<CheckedBlock>& blocks : outline_->catalogue.layers()[0].blocks) {
    flip_bit(store_, blocks.back().offset + blocks.back().bytes - 1);
  }
  EXPECT_TRUE(test::same_bits(test::all_logits(session, tokens),
                              test::all_logits(test::Conditions(), tokens)));
}

INSTANTIATE_TEST_SUITE_P(Stores, DamagedStore, ::testing::Bool(),
                         [](const auto& planes) { return planes.param ? "planes" : "as_it_was"; });

}  // namespace
}  // namespace sluice
