// Packs whose experts become planes: the same bytes however they are packed, and what planes stand
// for is what the source has.

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstring>
#include <filesystem>
#include <functional>

#include "formats/imatrix.h"
#include "io/faulty_reader.h"
#include "memory_target.h"
#include "pack_trial.h"
#include "store/packer.h"
#include "tests/formats/temporary_folder.h"
#include "tests/support/expert_numbers.h"
#include "tests/support/nested_source.h"
#include "tests/support/packed_store.h"
#include "tests/support/stopping_reader.h"
#include "tests/support/written_importance.h"

namespace sluice {
namespace {

namespace fs = std::filesystem;
using test::MemoryTarget;
using test::NestedSource;
using Outcome = test::PackOutcome;
using test::TemporaryFolder;
using testing::HasSubstr;

constexpr std::size_t kOneChunk = std::size_t{32} << 20;

/// Small pieces, so that there are many moments at which something can happen.
PackOptions small() { return {.chunk_bytes = 4096 * 3, .sync_bytes = 4096 * 6}; }

class NestedPack : public testing::Test {
 protected:
  StorePlan plan(bool keep_floats = true) const {
    auto planned = plan_store(source.checkpoint, test::nest_all(keep_floats));
    EXPECT_TRUE(planned.ok()) << planned.status().message();
    return std::move(*planned);
  }
  Outcome pack(MemoryTarget& target, BlockReader& reader, PackOptions options = small()) const {
    return test::pack_into(plan(), target, reader, std::move(options));
  }
  Outcome pack(MemoryTarget& target, PackOptions options = small()) const {
    const auto each_its_own = test::any_reader();
    return pack(target, *each_its_own, std::move(options));
  }
  /// Packed at once, with all of it in one chunk.
  std::vector<std::byte> whole(const ImportanceMatrix* importance = nullptr) const {
    MemoryTarget target;
    const Outcome outcome = pack(target, {.chunk_bytes = kOneChunk, .importance = importance});
    EXPECT_TRUE(outcome.status.ok()) << outcome.status.message();
    return *target.published;
  }
  /// Packs what is left and finds the very bytes.
  Outcome finish(MemoryTarget& target, const std::vector<std::byte>& bytes) const {
    const Outcome outcome = pack(target);
    EXPECT_TRUE(outcome.status.ok()) << outcome.status.message();
    EXPECT_TRUE(target.published == bytes);
    return outcome;
  }
  /// An importance for each column of each expert's matrices.
  ImportanceMatrix importance(
      const std::string& name,
      const std::function<double(std::size_t expert, std::size_t column)>& of) const {
    return test::written_importance(folder, name, source.checkpoint,
                                    std::vector<std::uint64_t>(NestedSource::kExperts, 8), of);
  }

  TemporaryFolder folder;
  NestedSource source{folder.path("source.bin")};
};

TEST_F(NestedPack, IsTheSameInChunksOfAnySize) {
  const std::vector<std::byte> bytes = whole();
  ASSERT_EQ(bytes.size(), plan().file_bytes);
  for (const std::size_t chunk : {std::size_t{4096}, std::size_t{12288}, std::size_t{1} << 20}) {
    MemoryTarget target;
    std::vector<std::uint64_t> written;
    const Outcome outcome =
        pack(target, {.chunk_bytes = chunk, .sync_bytes = 1u << 16, .progress = [&](auto count) {
                        written.push_back(count);
                      }});
    ASSERT_TRUE(outcome.status.ok()) << outcome.status.message();
    EXPECT_TRUE(target.published == bytes) << chunk;
    EXPECT_TRUE(std::ranges::is_sorted(written));
    EXPECT_EQ(written.back(), bytes.size());
  }
}

TEST_F(NestedPack, GoesOnAfterALossOfPowerAtEveryOperation) {
  const std::vector<std::byte> bytes = whole();
  std::mt19937_64 random(7);
  MemoryTarget counted;
  finish(counted, bytes);
  const std::uint64_t operations = counted.faults.operations;
  ASSERT_GT(operations, 40u);
  test::lose_power_at_each(
      operations, 30, random, [&](MemoryTarget& target) { return pack(target); },
      [&](MemoryTarget& target, std::uint64_t) { return finish(target, bytes); });
}

/// An expert's groups are blocks: what is kept may end between any two.
TEST_F(NestedPack, GoesOnBehindEveryBlock) {
  const std::vector<std::byte> bytes = whole();
  const StorePlan planned = plan();
  for (std::size_t blocks = 1; blocks < planned.blocks.size(); ++blocks) {
    MemoryTarget target;
    const std::uint64_t end = offset_after(planned, blocks);
    target.partial().set_most_bytes(end);
    const Outcome full = pack(target, {.chunk_bytes = 4096, .sync_bytes = 1});
    EXPECT_EQ(full.status.code(), ErrorCode::kIo);
    target.partial().set_most_bytes(test::kNever);
    EXPECT_EQ(finish(target, bytes).resumed, full.kept);
  }
}

TEST_F(NestedPack, StopsWhenAskedAndGoesOn) {
  const std::vector<std::byte> bytes = whole();
  test::StoppingReader counting(test::any_reader());
  MemoryTarget all;
  ASSERT_TRUE(pack(all, counting).status.ok());
  ASSERT_GT(counting.submitted(), 30u);
  for (std::uint64_t nth = 1; nth <= counting.submitted(); nth += 3) {
    std::atomic<bool> cancel = false;
    test::StoppingReader stopping(test::any_reader());
    stopping.stop_at(nth, cancel);
    MemoryTarget target;
    PackOptions options = small();
    options.cancel = &cancel;
    const Outcome stopped = pack(target, stopping, std::move(options));
    // What the last reads bring is all there is left to do.
    if (stopped.status.ok() && nth + 3 > counting.submitted()) break;
    EXPECT_EQ(stopped.status.code(), ErrorCode::kCancelled) << nth;
    EXPECT_FALSE(target.published);
    EXPECT_EQ(finish(target, bytes).resumed, stopped.kept);
  }
}

TEST_F(NestedPack, EveryReadThatFailsIsReported) {
  const std::vector<std::byte> bytes = whole();
  FaultyReader counting(test::any_reader());
  MemoryTarget all;
  ASSERT_TRUE(pack(all, counting).status.ok());
  for (std::uint64_t nth = 1; nth <= counting.fault_counters().submitted; nth += 3) {
    FaultyReader faulty(test::any_reader());
    faulty.add_fault({.kind = ReadFault::Kind::kFail, .nth = nth});
    MemoryTarget target;
    const Outcome outcome = pack(target, faulty);
    EXPECT_EQ(outcome.status.code(), ErrorCode::kIo) << nth;
    EXPECT_THAT(outcome.status.message(), HasSubstr("source.bin"));
    EXPECT_FALSE(target.published);
    EXPECT_EQ(finish(target, bytes).resumed, outcome.kept);
  }
}

TEST_F(NestedPack, AWeightThatIsNoNumberIsNamed) {
  const std::vector<std::byte> bytes = whole();
  const std::string down = "blk.0.ffn_down_exps.weight";
  const float before =
      test::plain_numbers(source.checkpoint, source.checkpoint.tensors.at(down), 2)[5 * 32 + 7];
  for (const float number : {std::nanf(""), HUGE_VALF, -HUGE_VALF}) {
    source.set(down, 2, 5, 7, number);
    MemoryTarget target;
    const Outcome outcome = pack(target);
    EXPECT_EQ(outcome.status.code(), ErrorCode::kInvalidArgument);
    for (const char* words : {"tensor blk.0.ffn_down_exps.weight", "expert 2", "row 5, column 7"}) {
      EXPECT_THAT(outcome.status.message(), HasSubstr(words));
    }
    EXPECT_FALSE(target.published);
    EXPECT_GT(outcome.kept, 0u);  // experts before it
    // Mended, the source is another file than the one that was packed.
    source.set(down, 2, 5, 7, before);
    const fs::path path = source.checkpoint.files[0];
    fs::last_write_time(path, fs::last_write_time(path) + std::chrono::milliseconds(1));
    ASSERT_TRUE(target.partial().truncate(0).ok());  // as the refusal says
    EXPECT_EQ(finish(target, bytes).resumed, 0u);
  }
}

/// The sum of what each column's errors count for.
double error_of(const Checkpoint& store, const Checkpoint& source, const std::string& name,
                std::size_t expert, unsigned width,
                const std::function<double(std::size_t expert, std::size_t column)>& importance) {
  const TensorInfo& tensor = store.tensors.at(name);
  const std::vector<float> right = test::plain_numbers(source, source.tensors.at(name), expert);
  const std::vector<float> got = test::nested_numbers(store, tensor, expert, width);
  double sum = 0;
  for (std::size_t i = 0; i < right.size(); ++i) {
    sum += importance(expert, i % tensor.shape[2]) * std::pow(double{got[i]} - right[i], 2);
  }
  return sum;
}

/// Each expert has columns of its own that matter: a mistake in whose is whose would show.
double of_its_own(std::size_t expert, std::size_t column) {
  return column % NestedSource::kExperts == expert ? 100 : 1;
}

TEST_F(NestedPack, EveryBitBringsFloatsNearer) {
  const std::string path = folder.path("a.slc");
  test::pack_store(source.checkpoint, path, test::nest_all());
  const auto store = open_checkpoint(path);
  ASSERT_TRUE(store.ok()) << store.status().message();
  for (const auto& [name, tensor] : store->tensors) {
    if (!tensor.nested) continue;
    for (std::size_t expert = 0; expert < NestedSource::kExperts; ++expert) {
      double last = HUGE_VAL, power = 0;
      for (const float number :
           test::plain_numbers(source.checkpoint, source.checkpoint.tensors.at(name), expert)) {
        power += std::pow(double{number}, 2);
      }
      for (const unsigned width : {2, 3, 4, 5, 6, 8}) {
        if (width > tensor.nested->form->bits) break;
        const double error =
            error_of(*store, source.checkpoint, name, expert, width, [](auto, auto) { return 1; });
        EXPECT_LT(error, last) << name << " " << expert << " " << width;
        last = error;
      }
      EXPECT_LT(std::sqrt(last / power), 0.01) << name << " " << expert;
    }
  }
}

TEST_F(NestedPack, ErrsLessWhereItMatters) {
  const ImportanceMatrix matrix = importance("own.gguf", of_its_own);
  const std::string plain = folder.path("plain.slc"), weighted = folder.path("weighted.slc");
  test::pack_store(source.checkpoint, plain, test::nest_all());
  test::pack_store(source.checkpoint, weighted, test::nest_all(), {.importance = &matrix});
  const auto stores = {open_checkpoint(plain), open_checkpoint(weighted)};
  for (const auto& store : stores) ASSERT_TRUE(store.ok()) << store.status().message();
  for (const auto& [name, tensor] : stores.begin()->operator*().tensors) {
    if (!tensor.nested || !tensor.nested->form->fitted) continue;
    for (std::size_t expert = 0; expert < NestedSource::kExperts; ++expert) {
      const auto error = [&](const Result<Checkpoint>& store) {
        return error_of(*store, source.checkpoint, name, expert, 2, of_its_own);
      };
      EXPECT_LT(error(*(stores.begin() + 1)), error(*stores.begin())) << name << " " << expert;
    }
  }
}

TEST_F(NestedPack, AnImportanceThatTellsNothingChangesNothing) {
  const ImportanceMatrix alike = importance("alike.gguf", [](auto, auto) { return 0.25; });
  EXPECT_TRUE(whole(&alike) == whole());
}

TEST_F(NestedPack, AnotherImportanceIsRefused) {
  const ImportanceMatrix matrix = importance("own.gguf", of_its_own);
  const std::vector<std::byte> plain = whole(), weighted = whole(&matrix);
  EXPECT_EQ(plain.size(), weighted.size());
  EXPECT_FALSE(plain == weighted);
  const auto pack_half = [&](MemoryTarget& target, const ImportanceMatrix* importance) {
    target.partial().set_most_bytes(plain.size() / 2);
    PackOptions options = small();
    options.importance = importance;
    const Outcome full = pack(target, std::move(options));
    EXPECT_FALSE(full.status.ok());
    EXPECT_GT(full.kept, 0u);
    target.partial().set_most_bytes(test::kNever);
  };
  const auto go_on = [&](MemoryTarget& target, const ImportanceMatrix* importance) {
    PackOptions options = small();
    options.importance = importance;
    const Outcome outcome = pack(target, std::move(options));
    if (outcome.status.ok()) {
      EXPECT_TRUE(target.published == (importance == nullptr ? plain : weighted));
    } else {
      EXPECT_THAT(outcome.status.message(), HasSubstr("another --imatrix"));
    }
    return outcome.status.ok();
  };
  {
    MemoryTarget target;
    pack_half(target, &matrix);
    EXPECT_TRUE(go_on(target, &matrix));
  }
  {
    MemoryTarget target;
    pack_half(target, nullptr);
    EXPECT_FALSE(go_on(target, &matrix));
  }
  {
    MemoryTarget target;
    pack_half(target, &matrix);
    EXPECT_FALSE(go_on(target, nullptr));
  }
  MemoryTarget target;
  pack_half(target, &matrix);
  const fs::path path = matrix.path();
  fs::last_write_time(path, fs::last_write_time(path) + std::chrono::milliseconds(1));
  EXPECT_FALSE(go_on(target, &matrix));
}

}  // namespace
}  // namespace sluice
