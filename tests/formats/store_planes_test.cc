// Stores whose experts are in planes: what their index says of them, and what is made of one that
// says something else.

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include <nlohmann/json.hpp>

#include "formats/checkpoint.h"
#include "formats/expert_tensors.h"
#include "formats/store_format.h"
#include "tests/formats/hostile_store.h"
#include "tests/support/expert_numbers.h"
#include "tests/support/nested_source.h"

namespace sluice {
namespace {

using nlohmann::json;
using ::testing::HasSubstr;
using Bytes = std::vector<std::byte>;

Bytes bytes_of(const Checkpoint& checkpoint, const TensorInfo& tensor) {
  Bytes all;
  for (const FileRange& range : tensor.ranges) {
    const Bytes bytes = test::bytes_of(checkpoint, range);
    all.insert(all.end(), bytes.begin(), bytes.end());
  }
  return all;
}

/// Where an expert's groups of planes are: each group of its three matrices is a block, and these
/// follow one another.
void expect_groups(const Checkpoint& store, std::uint32_t layer, std::uint64_t expert) {
  std::uint64_t end = 0;
  for (std::size_t group = 0; group < kMostNestedGroups; ++group) {
    const CheckedBlock* block = nullptr;
    std::uint64_t at = 0;
    for (const std::string_view matrix : kExpertMatrices) {
      const TensorInfo& tensor = *store.find(expert_tensor_name(layer, matrix));
      const NestedForm& form = *tensor.nested->form;
      if (group >= form.group_count) continue;
      const FileRange& range = tensor.nested->groups[expert * form.group_count + group];
      EXPECT_EQ(range.offset % kStoreRangeAlignment, 0u);
      EXPECT_EQ(range.bytes, form.group_bytes(group, tensor.shape[1], tensor.shape[2]));
      if (block == nullptr) {
        block = store.block_of(range);
        ASSERT_NE(block, nullptr);
        EXPECT_EQ(block->offset, range.offset);
        at = range.offset;
      }
      EXPECT_EQ(store.block_of(range), block);
      EXPECT_GE(range.offset, at);
      EXPECT_LT(range.offset - at, kStoreRangeAlignment);
      at = range.offset + range.bytes;
    }
    if (block == nullptr) continue;
    EXPECT_EQ(at, block->offset + block->bytes);
    if (group == 0) {
      EXPECT_EQ(block->offset % kStoreBlockAlignment, 0u);
    } else {
      EXPECT_GE(block->offset, end);
      EXPECT_LT(block->offset - end, kStoreRangeAlignment);
    }
    end = at;
  }
}

TEST(StoreOfPlanes, says_what_each_tensor_has) {
  const test::TemporaryFolder folder;
  const test::NestedSource source(folder.path("source.bin"));
  for (const bool keep_floats : {true, false}) {
    const StoreChoice choice{
        .nest = [](const std::string& tensor) { return tensor != "blk.1.ffn_gate_exps.weight"; },
        .keep_floats = keep_floats};
    const auto plan = plan_store(source.checkpoint, choice);
    ASSERT_TRUE(plan.ok()) << plan.status().message();
    EXPECT_EQ(plan_store(source.checkpoint, choice)->head, plan->head);
    const auto store = open_checkpoint(folder.write("a.slc", test::written_store(*plan)));
    ASSERT_TRUE(store.ok()) << store.status().message();
    ASSERT_EQ(store->tensors.size(), source.checkpoint.tensors.size());
    for (const auto& [name, tensor] : source.checkpoint.tensors) {
      const TensorInfo& stored = *store->find(name);
      const auto layer = layer_of_experts(name);
      const bool nested = layer && *layer != 1;
      ASSERT_EQ(stored.nested.has_value(), nested) << name;
      EXPECT_EQ(stored.type, tensor.type) << name;
      EXPECT_EQ(stored.shape, tensor.shape) << name;
      // Layer 3 has floats and integers: what is kept of it is kept of all three.
      const bool kept = !nested || (keep_floats && (*layer == 0 || *layer == 3));
      EXPECT_EQ(bytes_of(*store, stored), kept ? bytes_of(source.checkpoint, tensor) : Bytes())
          << name;
      if (!nested) continue;
      const bool is_float = tensor_format(tensor.type).is_float();
      EXPECT_EQ(stored.nested->form->fitted, is_float) << name;
      EXPECT_EQ(stored.nested->form->source, is_float ? TensorType::kF32 : tensor.type) << name;
      for (std::uint64_t expert = 0; expert < tensor.shape[0]; ++expert) {
        expect_groups(*store, *layer, expert);
      }
    }
    // Packed again, it is what it was, as far as there are places in it.
    const auto again = plan_store(*store);
    ASSERT_TRUE(again.ok()) << again.status().message();
    EXPECT_EQ(again->blocks.size(), plan->blocks.size());
    EXPECT_EQ(again->nested.size(), plan->nested.size());
  }
}

/// Groups beyond an expert's resting width are not there; what is there lies as it always does.
TEST(StoreOfPlanes, experts_rest_at_widths_of_their_own) {
  const test::TemporaryFolder folder;
  const test::NestedSource source(folder.path("source.bin"));
  const std::map<std::uint32_t, std::vector<std::uint8_t>> widths = {
      {0, {8, 2, 5}}, {2, {3, 4, 2}}, {3, {2, 6, 3}}};
  const auto plan = plan_store(
      source.checkpoint,
      {.nest = [](const std::string&) { return true; }, .widths = widths, .keep_floats = false});
  ASSERT_TRUE(plan.ok()) << plan.status().message();
  const auto store = open_checkpoint(folder.write("a.slc", test::written_store(*plan)));
  ASSERT_TRUE(store.ok()) << store.status().message();
  for (const auto& [name, tensor] : store->tensors) {
    const auto layer = layer_of_experts(name);
    if (!layer) continue;
    ASSERT_TRUE(tensor.nested);
    const NestedForm& form = *tensor.nested->form;
    for (std::uint64_t expert = 0; expert < tensor.shape[0]; ++expert) {
      const auto chosen = widths.find(*layer);
      const unsigned width = chosen == widths.end() ? form.bits : chosen->second[expert];
      EXPECT_EQ(tensor.nested->width(expert), std::min<unsigned>(width, form.bits)) << name;
      for (std::size_t group = 0; group < form.group_count; ++group) {
        const bool there = form.width(group + 1) <= width;
        EXPECT_EQ(tensor.nested->group(expert, group).bytes > 0, there);
        if (!there) continue;
        EXPECT_NE(store->block_of(tensor.nested->group(expert, group)), nullptr);
      }
    }
  }
  // Of a store in planes a narrower one can be made, and none that has more than it.
  const auto narrower = plan_store(*store, {.widths = {{0, {4, 4, 4}}}});
  ASSERT_TRUE(narrower.ok()) << narrower.status().message();
  const auto made = open_checkpoint(folder.write("b.slc", test::written_store(*narrower)));
  ASSERT_TRUE(made.ok()) << made.status().message();
  const NestedRanges& gate = *made->find("blk.0.ffn_gate_exps.weight")->nested;
  EXPECT_EQ(gate.width(0), 4u);
  EXPECT_EQ(gate.width(1), 2u);
  EXPECT_EQ(gate.width(2), 4u);
  EXPECT_EQ(made->find("blk.3.ffn_up_exps.weight")->nested->width(1), 6u);
}

TEST(StoreOfPlanes, planes_without_siblings_are_not_packed) {
  const test::TemporaryFolder folder;
  const test::NestedSource source(folder.path("source.bin"));
  const auto plan =
      plan_store(source.checkpoint, {.nest = [](const std::string&) { return true; }});
  const auto store = open_checkpoint(folder.write("a.slc", test::written_store(*plan)));
  ASSERT_TRUE(store.ok());
  for (const char* const harmed : {"blk.0.ffn_up_exps.weight", "blk.1.ffn_down_exps.weight"}) {
    Checkpoint without = *store;
    without.tensors.erase(harmed);
    EXPECT_EQ(plan_store(without).status().code(), ErrorCode::kCorrupt);
  }
  Checkpoint half = *store;
  half.tensors.at("blk.0.ffn_up_exps.weight").nested.reset();
  EXPECT_THAT(plan_store(half).status().message(), HasSubstr("do not fit together"));
}

/// The same model with its experts in planes.
class HostilePlanes : public test::HostileStore {
 protected:
  StoreChoice choice() const override {
    return {.nest = [](const std::string&) { return true; }};
  }
};

TEST_F(HostilePlanes, what_the_index_says_is_checked) {
  const auto tensor = [](json& index) -> json& {
    return index["tensors"]["blk.1.ffn_gate_exps.weight"];
  };
  const auto nested = [&](json& index) -> json& { return tensor(index)["nested"]; };
  const char* const kNotOfIt = "are of stacked experts of the form's numbers, with rows of whole";
  const std::uint64_t huge = ~std::uint64_t{0};
  json sound = index();
  ASSERT_EQ(nested(sound)["form"], "nested_q8_0");
  ASSERT_FALSE(tensor(sound).contains("ranges"));
  const Case cases[] = {
      {[&](json& i) { nested(i) = 3; }, "is not a map"},
      {[&](json& i) { nested(i).erase("form"); }, "has no 'form'"},
      {[&](json& i) { nested(i)["form"] = 3; }, "is not a text"},
      {[&](json& i) { nested(i)["form"] = "nested_9"; }, "'nested_9' is no form of planes that"},
      {[&](json& i) { nested(i)["form"] = "nested_8"; }, kNotOfIt},
      {[&](json& i) { nested(i)["form"] = "nested_q4_0"; }, kNotOfIt},
      {[&](json& i) { nested(i)["form"] = "nested_q6_k"; }, kNotOfIt},
      {[&](json& i) {
         tensor(i)["type"] = "Q6_K";
         tensor(i)["shape"] = {3, 2, 256};
         nested(i)["form"] = "nested_q4_k";
       },
       kNotOfIt},
      {[&](json& i) {
         tensor(i)["type"] = "Q6_K";
         tensor(i)["shape"] = {3, 2, 256};
         nested(i)["form"] = "nested_q6_k";
       },
       "18 groups of planes for 3 experts"},
      {[&](json& i) { tensor(i)["type"] = "F32"; }, kNotOfIt},
      {[&](json& i) {
         tensor(i)["shape"] = {6, 32};
       },
       kNotOfIt},
      {[&](json& i) {
         tensor(i)["type"] = "F16";
         tensor(i)["shape"] = {3, 2, 48};
         nested(i)["form"] = "nested_8";
       },
       kNotOfIt},
      {[&](json& i) { i["tensors"]["token_embd.weight"]["nested"] = nested(i); }, kNotOfIt},
      {[&](json& i) {
         tensor(i)["shape"] = {4, 2, 32};
       },
       "18 groups of planes for 4 experts"},
      {[&](json& i) {
         tensor(i)["shape"] = {3, 17, 32};
       },
       "where form and shape make"},
      {[&](json& i) { nested(i).erase("ranges"); }, "has no 'ranges'"},
      {[&](json& i) { nested(i)["ranges"] = json::array(); }, "does not hold pairs"},
      {[&](json& i) { nested(i)["ranges"].erase(0); }, "does not hold pairs"},
      {[&](json& i) {
         nested(i)["ranges"].erase(0);
         nested(i)["ranges"].erase(0);
       },
       "17 groups of planes for 3 experts"},
      {[&](json& i) {
         nested(i)["ranges"].push_back(nested(i)["ranges"][0]);
         nested(i)["ranges"].push_back(nested(i)["ranges"][1]);
       },
       "19 groups of planes for 3 experts"},
      {[&](json& i) { nested(i)["ranges"][1] = nested(i)["ranges"][1].get<int>() - 1; },
       "of the planes of expert 0 has"},
      {[&](json& i) { nested(i)["ranges"][1] = nested(i)["ranges"][1].get<int>() + 1; },
       "of the planes of expert 0 has"},
      {[&](json& i) { std::swap(nested(i)["ranges"][1], nested(i)["ranges"][3]); },
       "of the planes of expert 0 has"},
      {[&](json& i) { nested(i)["ranges"][1] = 0; }, "0 bytes at"},
      {[&](json& i) { nested(i)["ranges"][0] = nested(i)["ranges"][1] = 0; },
       "group 0 of the planes of expert 0 has 0 bytes where the first is always there"},
      {[&](json& i) { nested(i)["ranges"][6] = nested(i)["ranges"][7] = 0; },
       "group 4 of the planes of expert 0 has 64 bytes where there are none before it"},
      {[&](json& i) { nested(i)["ranges"][1] = 1 << 20; }, "bytes at"},
      {[&](json& i) { nested(i)["ranges"][0] = huge; }, "nested.ranges"},
      {[&](json& i) { nested(i)["ranges"][0] = nested(i)["ranges"][2].get<int>() + 64; },
       "not in one block"},
      {[&](json& i) { tensor(i).erase("nested"); }, "has no 'ranges'"},
      {[&](json& i) {
         tensor(i)["stored"] = {{"code", "type"},      {"type", "Q8_0"},     {"rows", 2},
                                {"columns", 32},       {"offset", 0},        {"unit_stride", 64},
                                {"row_stride", 32},    {"column_stride", 1}, {"stored_columns", 32},
                                {"arithmetic", "none"}};
       },
       "has a layout and no bytes of it"},
  };
  expect_refused(cases);
  json unknown = index();
  nested(unknown)["form"] = "nested_9";
  EXPECT_EQ(open(with_index(unknown)).status().code(), ErrorCode::kUnsupported);
}

TEST_F(HostilePlanes, random_changes_do_no_harm) { change_at_random(index(), 4000); }

}  // namespace
}  // namespace sluice
