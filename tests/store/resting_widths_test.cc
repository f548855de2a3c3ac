// Resting widths: what each costs against errors of planes decoded from a packed store, and stores
// that are packed with them.

#include "store/resting_widths.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <functional>

#include "formats/expert_tensors.h"
#include "memory_target.h"
#include "pack_trial.h"
#include "store/nested_errors.h"
#include "tests/formats/temporary_folder.h"
#include "tests/support/expert_numbers.h"
#include "tests/support/nested_source.h"
#include "tests/support/packed_store.h"
#include "tests/support/written_importance.h"

namespace sluice {
namespace {

using test::MemoryTarget;
using test::NestedSource;
using testing::HasSubstr;

/// Of expert 2 the text says nothing.
constexpr std::uint64_t kCounts[NestedSource::kExperts] = {40, 9, 0};

double square_of(std::size_t expert, std::size_t column) {
  return expert == 2 ? 1 : 1.0 + static_cast<double>((column + expert) % 5);
}

class Resting : public testing::Test {
 protected:
  StorePlan plan(const Checkpoint& checkpoint, StoreChoice choice = {}) const {
    choice.nest = [](const std::string&) { return true; };
    choice.keep_floats = false;
    auto planned = plan_store(checkpoint, choice);
    EXPECT_TRUE(planned.ok()) << planned.status().message();
    return std::move(*planned);
  }
  Result<RestingWidths> rest(const Checkpoint& checkpoint, RestingOptions options) const {
    return plan_resting_widths(checkpoint, plan(checkpoint), *test::any_reader(), options);
  }
  RestingWidths rested(const Checkpoint& checkpoint, RestingOptions options) const {
    auto widths = rest(checkpoint, options);
    EXPECT_TRUE(widths.ok()) << widths.status().message();
    return std::move(*widths);
  }
  ImportanceMatrix importance() const {
    return test::written_importance(folder, "importance.gguf", source.checkpoint,
                                    {std::begin(kCounts), std::end(kCounts)}, square_of);
  }
  /// With all groups.
  Checkpoint packed(const std::string& name, const ImportanceMatrix* importance = nullptr) const {
    const std::string path = folder.path(name);
    test::pack_store(source.checkpoint, path, test::nest_all(false), {.importance = importance});
    auto store = open_checkpoint(path);
    EXPECT_TRUE(store.ok());
    return std::move(*store);
  }

  test::TemporaryFolder folder;
  NestedSource source{folder.path("source.bin")};
};

/// What a matrix lacks at a width, of what it has, by the weights of its columns.
double relative_error(const Checkpoint& store, const std::string& name, std::size_t expert,
                      unsigned width, const std::vector<float>& right,
                      const std::function<double(std::size_t column)>& weight) {
  const TensorInfo& tensor = store.tensors.at(name);
  const std::vector<float> got = test::nested_numbers(store, tensor, expert, width);
  double missing = 0, all = 0;
  for (std::size_t i = 0; i < right.size(); ++i) {
    const double by = weight(i % tensor.shape[2]);
    missing += by * std::pow(double{right[i]} - double{got[i]}, 2);
    all += by * std::pow(double{right[i]}, 2);
  }
  return missing / all;
}

TEST_F(Resting, AWidthCostsWhatItsPlanesErr) {
  const ImportanceMatrix known = importance();
  const std::vector<float> sensitivities = {1, 0.5f, 2, 1.5f, 0.75f, 1.25f};
  for (const bool informed : {false, true}) {
    const ImportanceMatrix* const matrix = informed ? &known : nullptr;
    const Checkpoint store = packed(informed ? "known.slc" : "plain.slc", matrix);
    const auto from_source = rested(
        source.checkpoint, {.bits = 5, .importance = matrix, .sensitivities = sensitivities});
    // Of a store in planes, all of its bits are right: those of floats err a little there.
    const auto from_store =
        rested(store, {.bits = 5, .importance = matrix, .sensitivities = sensitivities});
    ASSERT_EQ(from_source.options.size(), NestedSource::kLayers * NestedSource::kExperts);
    for (std::size_t i = 0; i < from_source.options.size(); ++i) {
      const auto layer = static_cast<std::uint32_t>(i / NestedSource::kExperts);
      const std::size_t expert = i % NestedSource::kExperts;
      double share = 1.0 / NestedSource::kExperts;
      if (informed) share = (1.0 + static_cast<double>(kCounts[expert])) / (49 + 3);
      ASSERT_EQ(from_source.widths[i], from_store.widths[i]);
      for (std::size_t option = 0; option < from_source.widths[i].size(); ++option) {
        const unsigned width = from_source.widths[i][option];
        double error = 0, of_store = 0;
        std::uint64_t bytes = 0;
        for (const std::string_view matrix_name : kExpertMatrices) {
          const std::string name = expert_tensor_name(layer, matrix_name);
          const auto weight = [&](std::size_t column) {
            // What is known of the others, where a text says nothing of one.
            if (!informed) return 1.0;
            if (expert != 2) return square_of(expert, column);
            return (40 * square_of(0, column) + 9 * square_of(1, column)) / 49;
          };
          const TensorInfo& tensor = store.tensors.at(name);
          error += relative_error(
              store, name, expert, width,
              test::plain_numbers(source.checkpoint, source.checkpoint.tensors.at(name), expert),
              weight);
          of_store += relative_error(store, name, expert, width,
                                     test::nested_numbers(store, tensor, expert, 8), weight);
          for (std::size_t group = 0; group < tensor.nested->form->groups_within(width); ++group) {
            bytes += tensor.nested->group(expert, group).bytes;
          }
        }
        // Of layer 5's 256 rows of down some are measured.
        const double near = layer == 5 ? 0.1 : 1e-5;
        const double price = share * std::pow(double{sensitivities[layer]}, 2);
        EXPECT_NEAR(from_source.options[i][option].error, price * error, near * price * error);
        EXPECT_NEAR(from_store.options[i][option].error, price * of_store, near * price * of_store);
        EXPECT_EQ(from_source.options[i][option].bytes, bytes);
        EXPECT_EQ(from_store.options[i][option].bytes, bytes);
      }
    }
  }
}

/// Bytes that the file has of experts' planes.
std::uint64_t bytes_of_planes(const Checkpoint& store) {
  std::uint64_t bytes = 0;
  for (const auto& [name, tensor] : store.tensors) {
    if (!tensor.nested) continue;
    for (const FileRange& group : tensor.nested->groups) bytes += group.bytes;
  }
  return bytes;
}

TEST_F(Resting, AStoreHasTheBitsThatWereAskedForAndNoMore) {
  const ImportanceMatrix known = importance();
  double weights = 0;
  for (const auto& [name, tensor] : source.checkpoint.tensors) {
    if (tensor.shape.size() == 3) weights += static_cast<double>(tensor.elements());
  }
  // The widest step of an expert's: a bit of three wide matrices.
  const double step = 3.0 * NestedSource::kWide * NestedSource::kFfn / 8;
  double last = 0;
  for (const double bits : {3.5, 4.0, 4.7, 5.5, 6.0}) {
    const auto widths = rested(source.checkpoint, {.bits = bits, .importance = &known});
    const StorePlan whole = plan(source.checkpoint);
    const std::string path = folder.path("a" + std::to_string(bits) + ".slc");
    StoreChoice choice = test::nest_all(false);
    choice.widths = widths.by_layer(whole);
    test::pack_store(source.checkpoint, path, choice, {.importance = &known});
    const auto store = open_checkpoint(path);
    ASSERT_TRUE(store.ok()) << store.status().message();
    const auto bytes = static_cast<double>(bytes_of_planes(*store));
    EXPECT_LE(bytes, bits * weights / 8);
    EXPECT_GT(bytes, bits * weights / 8 - step);
    EXPECT_NEAR(widths.mean_bits(), 8 * bytes / weights, 1e-9);
    EXPECT_GT(bytes, last);
    last = bytes;
  }
}

TEST_F(Resting, WhoIsTakenMoreIsWider) {
  const ImportanceMatrix known = importance();
  const auto widths = rested(source.checkpoint, {.bits = 4.5, .importance = &known});
  for (std::size_t layer = 0; layer < NestedSource::kLayers; ++layer) {
    const std::size_t first = layer * NestedSource::kExperts;
    EXPECT_GE(widths.width(first), widths.width(first + 1)) << layer;
    EXPECT_GE(widths.width(first + 1), widths.width(first + 2)) << layer;
  }
  EXPECT_GT(widths.width(0), widths.width(2));
}

/// Layers that stay as they are count, too.
TEST_F(Resting, WhatCannotBeIsRefused) {
  for (const auto& [bits, words] :
       {std::pair{1.0, "have 2."}, std::pair{9.0, "bits at the most"}}) {
    const auto refused = rest(source.checkpoint, {.bits = bits});
    EXPECT_EQ(refused.status().code(), ErrorCode::kInvalidArgument);
    EXPECT_THAT(refused.status().message(), HasSubstr(words));
  }
  const StoreChoice some{
      .nest = [](const std::string& tensor) { return tensor == "blk.2.ffn_gate_exps.weight"; },
      .keep_floats = false};
  const auto planned = plan_store(source.checkpoint, some);
  ASSERT_TRUE(planned.ok());
  const auto refused =
      plan_resting_widths(source.checkpoint, *planned, *test::any_reader(), {.bits = 5});
  EXPECT_THAT(refused.status().message(), HasSubstr("layers that are not nested as they are"));
  const auto made =
      plan_resting_widths(source.checkpoint, *planned, *test::any_reader(), {.bits = 8});
  ASSERT_TRUE(made.ok()) << made.status().message();
  EXPECT_LE(made->mean_bits(), 8);
  std::atomic<bool> cancel = true;
  EXPECT_EQ(rest(source.checkpoint, {.bits = 5, .cancel = &cancel}).status().code(),
            ErrorCode::kCancelled);
  source.set("blk.0.ffn_up_exps.weight", 1, 3, 4, std::nanf(""));
  EXPECT_THAT(
      rest(source.checkpoint, {.bits = 5}).status().message(),
      HasSubstr("tensor blk.0.ffn_up_exps.weight, expert 1: the weight in row 3, column 4"));
}

/// Each expert at another width; groups of all layers are left out.
std::map<std::uint32_t, std::vector<std::uint8_t>> some_widths() {
  return {{0, {8, 2, 5}}, {1, {3, 6, 2}}, {2, {3, 4, 2}}, {3, {2, 6, 3}}};
}

PackOptions small() { return {.chunk_bytes = 4096 * 3, .sync_bytes = 4096 * 6}; }

TEST_F(Resting, APackGoesOnAfterALossOfPowerAtEveryOperation) {
  const Checkpoint store = packed("whole.slc");
  const Checkpoint* const sources[] = {&source.checkpoint, &store};
  for (const Checkpoint* const from : sources) {
    const StorePlan slim = plan(*from, {.widths = some_widths()});
    const auto pack = [&](MemoryTarget& target) {
      return test::pack_into(slim, target, *test::any_reader(), small());
    };
    MemoryTarget whole;
    ASSERT_TRUE(pack(whole).status.ok());
    std::mt19937_64 random(7);
    test::lose_power_at_each(whole.faults.operations, 30, random, pack,
                             [&](MemoryTarget& target, std::uint64_t) {
                               const auto outcome = pack(target);
                               EXPECT_TRUE(outcome.status.ok()) << outcome.status.message();
                               EXPECT_TRUE(target.published == whole.published);
                               return outcome;
                             });
  }
}

/// Planes that are there are copied: the same, whether the source is the model or its store.
TEST_F(Resting, AStoreIsSlimmedToWhatItsSourceWouldHaveBeen) {
  const Checkpoint store = packed("whole.slc");
  StoreChoice choice = test::nest_all(false);
  choice.widths = some_widths();
  test::pack_store(source.checkpoint, folder.path("a.slc"), choice);
  test::pack_store(store, folder.path("b.slc"), {.widths = some_widths()});
  const auto right = open_checkpoint(folder.path("a.slc"));
  const auto slimmed = open_checkpoint(folder.path("b.slc"));
  ASSERT_TRUE(right.ok() && slimmed.ok());
  ASSERT_EQ(right->blocks.size(), slimmed->blocks.size());
  for (std::size_t i = 0; i < right->blocks.size(); ++i) {
    EXPECT_EQ(right->blocks[i].checksum, slimmed->blocks[i].checksum);
  }
  for (const auto& [name, tensor] : right->tensors) {
    if (!tensor.nested) continue;
    for (std::size_t expert = 0; expert < NestedSource::kExperts; ++expert) {
      EXPECT_EQ(test::nested_numbers(*right, tensor, expert, 8),
                test::nested_numbers(*slimmed, slimmed->tensors.at(name), expert, 8));
    }
  }
  // Once more, with nothing asked for: the same again.
  test::pack_store(*slimmed, folder.path("c.slc"));
  const auto again = open_checkpoint(folder.path("c.slc"));
  ASSERT_TRUE(again.ok());
  EXPECT_EQ(bytes_of_planes(*again), bytes_of_planes(*right));
}

/// Of a large matrix not all rows are measured, but some from everywhere in it.
TEST(MeasuredErrors, AreOfRowsThatAreEvenlySpread) {
  std::mt19937_64 random(5);
  std::normal_distribution<float> normal(0, 0.02f);
  constexpr std::size_t kRows = 512, kColumns = 64;
  std::vector<float> numbers(kRows * kColumns);
  for (float& number : numbers) number = normal(random);
  const TensorInfo tensor{"a", TensorType::kF32, {1, kRows, kColumns}, {}};
  const auto some = some_rows(tensor, std::as_bytes(std::span(numbers)), {});
  ASSERT_TRUE(some.ok());
  EXPECT_EQ(some->tensor.shape, (std::vector<std::uint64_t>{1, 64, kColumns}));
  std::vector<float> harmed = numbers;
  harmed[24 * kColumns + 3] = std::nanf("");
  EXPECT_THAT(some_rows(tensor, std::as_bytes(std::span(harmed)), {}).status().message(),
              HasSubstr("row 24, column 3"));
  for (std::size_t i = 0; i < 64; ++i) {
    EXPECT_TRUE(std::equal(numbers.begin() + static_cast<std::ptrdiff_t>(i * 8 * kColumns),
                           numbers.begin() + static_cast<std::ptrdiff_t>((i * 8 + 1) * kColumns),
                           some->numbers.begin() + static_cast<std::ptrdiff_t>(i * kColumns)));
  }
}

}  // namespace
}  // namespace sluice
