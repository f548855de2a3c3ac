// A store is packed of a store: what is damaged of the one never gets a sound checksum in the
// other.

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <map>
#include <string>
#include <vector>

#include "memory_target.h"
#include "pack_trial.h"
#include "store/packer.h"
#include "store/resting_widths.h"
#include "tests/formats/temporary_folder.h"
#include "tests/support/nested_source.h"
#include "tests/support/packed_store.h"

namespace sluice {
namespace {

using test::MemoryTarget;
using test::NestedSource;
using testing::HasSubstr;

class DamagedSource : public testing::Test {
 protected:
  DamagedSource() {
    const NestedSource source(folder_.path("source.bin"));
    path_ = folder_.path("a.slc");
    test::pack_store(source.checkpoint, path_, test::nest_all());
    store_ = *open_checkpoint(path_);
  }

  StorePlan plan(const StoreChoice& choice) const {
    auto planned = plan_store(store_, choice);
    EXPECT_TRUE(planned.ok()) << planned.status().message();
    return std::move(*planned);
  }

  static Status pack(const StorePlan& plan, MemoryTarget& target, std::size_t chunk) {
    const auto reader = test::any_reader();
    return test::pack_into(plan, target, *reader, {.chunk_bytes = chunk, .sync_bytes = 8192})
        .status;
  }

  /// As a disk does, which tells nobody: the file's time stays.
  void turn_over_first_byte(const CheckedBlock& block) const {
    const auto changed = std::filesystem::last_write_time(path_);
    std::fstream file(path_, std::ios::in | std::ios::out | std::ios::binary);
    file.seekg(static_cast<std::streamoff>(block.offset));
    const int byte = file.get();
    file.seekp(static_cast<std::streamoff>(block.offset));
    file.put(static_cast<char>(byte ^ 1));
    file.close();
    ASSERT_TRUE(file.good());
    std::filesystem::last_write_time(path_, changed);
  }

  /// Whether the block is of a group that experts of that many bits have no more.
  bool left_out(const CheckedBlock& block, unsigned width) const {
    for (const auto& [name, tensor] : store_.tensors) {
      if (!tensor.nested) continue;
      const std::size_t groups = tensor.nested->form->group_count;
      for (std::size_t i = 0; i < tensor.nested->groups.size(); ++i) {
        const FileRange& group = tensor.nested->groups[i];
        if (group.bytes == 0 || store_.block_of(group) != &block) continue;
        if (tensor.nested->form->width(i % groups + 1) <= width) return false;
      }
    }
    return true;
  }

  static void expect_named(const Status& status, const CheckedBlock& block) {
    EXPECT_EQ(status.code(), ErrorCode::kCorrupt) << block.offset << ": " << status.message();
    for (const std::string& words :
         {"a.slc: the block of " + std::to_string(block.bytes) + " bytes at offset " +
              std::to_string(block.offset) + " does not fit its checksum",
          std::string("pack it again")}) {
      EXPECT_THAT(status.message(), HasSubstr(words));
    }
    EXPECT_THAT(status.message(),
                testing::AnyOf(HasSubstr("layer "), HasSubstr("tensor 'token_embd.weight'")));
  }

  test::TemporaryFolder folder_;
  std::string path_;
  Checkpoint store_;
};

TEST_F(DamagedSource, ABitOfAnyBlockIsFoundWhateverIsPackedOfIt) {
  const StorePlan all = plan({});
  ASSERT_GT(store_.blocks.size(), 80u);
  for (const std::size_t chunk : {std::size_t{4096}, std::size_t{1} << 22}) {
    MemoryTarget sound;
    ASSERT_TRUE(pack(all, sound, chunk).ok());
    for (const CheckedBlock& block : store_.blocks) {
      turn_over_first_byte(block);
      MemoryTarget target;
      expect_named(pack(all, target, chunk), block);
      EXPECT_FALSE(target.published);
      turn_over_first_byte(block);
      // The same pack goes on, once the store is whole again.
      EXPECT_TRUE(pack(all, target, chunk).ok());
      EXPECT_TRUE(target.published == sound.published);
    }
  }
}

TEST_F(DamagedSource, OnlyWhatIsKeptIsReadOfGroups) {
  StoreChoice choice{.keep_floats = false};
  for (std::uint32_t layer = 0; layer < NestedSource::kLayers; ++layer) {
    choice.widths[layer].assign(NestedSource::kExperts, 3);
  }
  const StorePlan slim = plan(choice);
  MemoryTarget sound;
  ASSERT_TRUE(pack(slim, sound, 1u << 22).ok());
  std::size_t kept = 0;
  for (const CheckedBlock& block : store_.blocks) {
    turn_over_first_byte(block);
    MemoryTarget target;
    const Status status = pack(slim, target, 1u << 22);
    const bool dense = store_.block_of(store_.tensors.at("token_embd.weight").ranges[0]) == &block;
    if (!dense && left_out(block, 3)) {
      EXPECT_TRUE(status.ok()) << status.message();
      EXPECT_TRUE(target.published == sound.published);
    } else {
      kept += 1;
      expect_named(status, block);
      EXPECT_FALSE(target.published);
    }
    turn_over_first_byte(block);
  }
  EXPECT_EQ(kept, slim.blocks.size());
}

TEST_F(DamagedSource, WidthsAreNotPlannedByIt) {
  const StorePlan all = plan({.keep_floats = false});
  const auto reader = test::any_reader();
  const RestingOptions options{.bits = 4};
  const auto widths = plan_resting_widths(store_, all, *reader, options);
  ASSERT_TRUE(widths.ok()) << widths.status().message();
  std::size_t found = 0;
  for (const CheckedBlock& block : store_.blocks) {
    if (left_out(block, 8)) continue;
    turn_over_first_byte(block);
    const auto again = test::any_reader();
    expect_named(plan_resting_widths(store_, all, *again, options).status(), block);
    turn_over_first_byte(block);
    found += 1;
  }
  EXPECT_GT(found, 60u);
}

/// Floats of a store become planes.
TEST_F(DamagedSource, FloatsThatAreFittedAreChecked) {
  const NestedSource source(folder_.path("source.bin"));
  path_ = folder_.path("a.slc");
  std::filesystem::remove(path_);
  test::pack_store(source.checkpoint, path_);
  store_ = *open_checkpoint(path_);
  const StorePlan nested = plan(test::nest_all(/*keep_floats=*/false));
  MemoryTarget sound;
  ASSERT_TRUE(pack(nested, sound, 1u << 22).ok());
  for (const CheckedBlock& block : store_.blocks) {
    turn_over_first_byte(block);
    MemoryTarget target;
    expect_named(pack(nested, target, 1u << 22), block);
    EXPECT_FALSE(target.published);
    turn_over_first_byte(block);
  }
}

}  // namespace
}  // namespace sluice
