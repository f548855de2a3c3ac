#include "experts/expert_catalogue.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <functional>

#include "formats/expert_tensors.h"
#include "formats/store_format.h"
#include "tests/experts/fake_checkpoint.h"
#include "tests/formats/temporary_folder.h"
#include "tests/support/nested_source.h"
#include "tests/support/test_data.h"
#include "tests/support/written_store.h"

namespace sluice {
namespace {

using test::Placement;
using ::testing::HasSubstr;

const std::string kGate = "blk.3.ffn_gate_exps.weight";
const std::string kDown = "blk.3.ffn_down_exps.weight";

Checkpoint sound() {
  return test::make_checkpoint({{0, 4}, {3, 6}, {12, 8}}, Placement::kStacked).checkpoint;
}

TEST(ExpertCatalogue, FindsSparseLayersInOrder) {
  for (const Placement placement : {Placement::kStacked, Placement::kApart}) {
    const Checkpoint checkpoint =
        test::make_checkpoint({{0, 4}, {3, 6}, {12, 8}, {20, 2}}, placement).checkpoint;
    const auto built = ExpertCatalogue::build(checkpoint);
    ASSERT_TRUE(built.ok()) << built.status().message();
    const ExpertCatalogue& catalogue = *built;
    ASSERT_EQ(catalogue.layers().size(), 4u);
    EXPECT_EQ(catalogue.total_experts(), 20u);
    EXPECT_EQ(catalogue.find(1), nullptr);
    EXPECT_EQ(catalogue.find(21), nullptr);
    ASSERT_NE(catalogue.find(12), nullptr);
    std::uint64_t bytes = 0;
    for (const auto& [name, tensor] : checkpoint.tensors) bytes += tensor.bytes();
    EXPECT_EQ(catalogue.total_bytes(), bytes);
    const ExpertLayer& layer = *catalogue.find(3);
    EXPECT_EQ(layer.experts, 6u);
    EXPECT_EQ(layer.views[2].matrix.format->type, TensorType::kQ6_K);
    for (std::uint32_t expert = 0; expert < 6; ++expert) {
      const FileRange expected = checkpoint.find(kDown)->slice(expert);
      EXPECT_EQ(layer.ranges[expert][2].file, expected.file);
      EXPECT_EQ(layer.ranges[expert][2].offset, expected.offset);
      EXPECT_EQ(layer.ranges[expert][2].bytes, expected.bytes);
    }
  }
}

TEST(ExpertCatalogue, IsEmptyForADenseModel) {
  Checkpoint checkpoint;
  checkpoint.tensors["blk.0.ffn_gate.weight"] = {};
  checkpoint.tensors["blk.x.ffn_gate_exps.weight"] = {};
  checkpoint.tensors["blk.0.ffn_gate_exps.weights"] = {};
  checkpoint.tensors["blk.99999999999.ffn_gate_exps.weight"] = {};
  const auto built = ExpertCatalogue::build(checkpoint);
  ASSERT_TRUE(built.ok());
  EXPECT_TRUE(built->layers().empty());
  EXPECT_EQ(built->total_bytes(), 0u);
}

TEST(ExpertCatalogue, NamesTheTensorThatDoesNotFit) {
  struct Case {
    std::function<void(Checkpoint&)> harm;
    std::string tensor;
    std::string why;
    ErrorCode code = ErrorCode::kCorrupt;
  };
  const std::vector<Case> cases = {
      {[](Checkpoint& c) { c.tensors.erase(kGate); }, kGate, "missing"},
      {[](Checkpoint& c) { c.tensors.erase(kDown); }, kDown, "missing"},
      {[](Checkpoint& c) {
         c.tensors[kDown].shape = {6, 256};
       },
       kDown, "[6, 256]"},
      {[](Checkpoint& c) {
         c.tensors[kDown].shape = {5, 256, 256};
       },
       kDown, "[6, 256, 256]"},
      {[](Checkpoint& c) {
         c.tensors[kDown].shape = {6, 256, 512};
       },
       kDown, "[6, 256, 256]"},
      {[](Checkpoint& c) {
         c.tensors[kGate].shape = {6, 0, 256};
       },
       kGate, "[experts, rows, columns]"},
      {[](Checkpoint& c) {
         c.tensors[kGate].shape = {6, 256, 1ull << 60};
       },
       kGate, "too large"},
      {[](Checkpoint& c) {
         c.tensors[kGate].shape = {6, 256, 100};
       },
       kGate, "blocks"},
      {[](Checkpoint& c) { c.tensors[kGate].type = static_cast<TensorType>(99); }, kGate,
       "type 99"},
      {[](Checkpoint& c) { c.tensors[kGate].type = TensorType::kF32; }, kGate, "expert 0 takes"},
      {[](Checkpoint& c) { c.tensors[kGate].ranges.clear(); }, kGate, "neither bytes nor planes"},
      {[](Checkpoint& c) { c.tensors[kGate].ranges.resize(2); }, kGate, "2 parts"},
      {[](Checkpoint& c) { c.tensors[kGate].ranges[0].bytes -= 6; }, kGate, "expert 0 takes"},
      {[](Checkpoint& c) { c.tensors[kGate].ranges[0].offset = ~0ull - 5; }, kGate,
       "expert 0 takes"},
      {[](Checkpoint& c) { c.tensors[kGate].ranges[0].file = 1; }, kGate, "file 1 of 1"},
      {[](Checkpoint& c) {
         c.tensors[kGate].shape = {70000, 256, 256};
       },
       kGate, "70000 experts", ErrorCode::kUnsupported},
      {[](Checkpoint& c) {
         c.tensors.erase(kDown);
         c.unreadable[kDown] = "IQ1_S";
       },
       kDown, "IQ1_S", ErrorCode::kUnsupported},
  };
  for (const Case& broken : cases) {
    Checkpoint checkpoint = sound();
    broken.harm(checkpoint);
    const auto built = ExpertCatalogue::build(checkpoint);
    ASSERT_FALSE(built.ok()) << broken.why;
    EXPECT_EQ(built.status().code(), broken.code) << built.status().message();
    EXPECT_THAT(built.status().message(), HasSubstr(broken.tensor));
    EXPECT_THAT(built.status().message(), HasSubstr(broken.why));
  }
}

/// A store whose experts are in planes: floats are kept beside theirs in layers 0 and 3.
class PlanesCatalogue : public ::testing::Test {
 public:
  PlanesCatalogue() {
    const auto plan =
        plan_store(source_.checkpoint, {.nest = [](const std::string&) { return true; }});
    auto store = open_checkpoint(folder_.write("a.slc", test::written_store(*plan)));
    EXPECT_TRUE(store.ok()) << store.status().message();
    if (store.ok()) store_ = std::move(*store);
  }
  TensorInfo& tensor(std::uint32_t layer, std::size_t matrix) {
    return store_.tensors.at(expert_tensor_name(layer, kExpertMatrices[matrix]));
  }
  FileRange& group(std::uint32_t layer, std::size_t matrix, std::size_t expert,
                   std::size_t number) {
    NestedRanges& nested = *tensor(layer, matrix).nested;
    return nested.groups[expert * nested.form->group_count + number];
  }

  test::TemporaryFolder folder_;
  const test::NestedSource source_{folder_.path("source.bin")};
  Checkpoint store_;
};

TEST_F(PlanesCatalogue, ReadsAnExpertsGroupsInOnePiece) {
  std::uint64_t last = 0;
  for (const unsigned width : expert_widths()) {
    const auto built = ExpertCatalogue::build(store_, width);
    ASSERT_TRUE(built.ok()) << built.status().message();
    EXPECT_EQ(built->layers_in_planes(), test::NestedSource::kLayers);
    EXPECT_FALSE(built->exact());  // floats are kept
    EXPECT_GT(built->total_bytes(), last);
    last = built->total_bytes();
    for (const ExpertLayer& layer : built->layers()) {
      ASSERT_EQ(layer.blocks.size(), layer.experts);
      for (std::size_t expert = 0; expert < layer.experts; ++expert) {
        const FileRange& range = layer.ranges[expert][0];
        for (std::size_t i = 0; i < 3; ++i) {
          const WeightMatrix& matrix = layer.views[i].matrix;
          EXPECT_EQ(layer.ranges[expert][i].offset, range.offset);
          EXPECT_EQ(layer.ranges[expert][i].bytes, range.bytes);
          const NestedForm& form = *tensor(layer.layer, i).nested->form;
          ASSERT_EQ(matrix.nested.form, &form);
          EXPECT_EQ(matrix.nested.width, std::min<unsigned>(width, form.bits));
          for (std::size_t number = 0; number < form.groups_of(matrix.nested.width); ++number) {
            EXPECT_EQ(range.offset + layer.views[i].offset + matrix.nested.at[number],
                      group(layer.layer, i, expert, number).offset);
          }
        }
      }
    }
  }
}

TEST_F(PlanesCatalogue, IsExactWhereTheFileHasItExactly) {
  const auto exact = ExpertCatalogue::build(store_);
  ASSERT_TRUE(exact.ok());
  EXPECT_TRUE(exact->exact());
  EXPECT_EQ(exact->layers_in_planes(), 4u);  // of integers nothing else is there
  for (std::size_t matrix = 0; matrix < 3; ++matrix) {
    tensor(0, matrix).ranges.clear();
    tensor(3, matrix).ranges.clear();
  }
  const auto dropped = ExpertCatalogue::build(store_);
  ASSERT_TRUE(dropped.ok());
  EXPECT_TRUE(dropped->reads_all());
  EXPECT_FALSE(dropped->exact());  // what planes are fitted to is gone
  EXPECT_EQ(dropped->layers_in_planes(), 6u);
  EXPECT_TRUE(ExpertCatalogue::build(store_, 8)->reads_all());
  EXPECT_FALSE(ExpertCatalogue::build(store_, 6)->reads_all());
}

TEST_F(PlanesCatalogue, IsNotExactWhereAnExpertRestsNarrower) {
  for (std::size_t matrix = 0; matrix < 3; ++matrix) {
    store_.tensors.erase(tensor(0, matrix).name);  // floats, whose planes are never exact
    store_.tensors.erase(tensor(3, matrix).name);
  }
  for (const unsigned width : {kExactWidth, 8u}) {
    EXPECT_TRUE(ExpertCatalogue::build(store_, width)->exact()) << width;
  }
  EXPECT_FALSE(ExpertCatalogue::build(store_, 6)->exact());
  // One of all experts, the last bit of Q8_0's eight.
  for (std::size_t matrix = 0; matrix < 3; ++matrix) {
    group(1, matrix, 2, tensor(1, matrix).nested->form->group_count - 1u) = {};
  }
  for (const unsigned width : {kExactWidth, 8u}) {
    const auto slimmed = ExpertCatalogue::build(store_, width);
    ASSERT_TRUE(slimmed.ok()) << slimmed.status().message();
    EXPECT_TRUE(slimmed->reads_all()) << width;
    EXPECT_FALSE(slimmed->exact()) << width;
  }
}

TEST_F(PlanesCatalogue, ALayerThatIsNotWhollyInPlanesIsReadAsItIs) {
  tensor(0, 1).nested.reset();
  const auto built = ExpertCatalogue::build(store_, 2);
  ASSERT_TRUE(built.ok()) << built.status().message();
  EXPECT_FALSE(built->find(0)->planes());
  EXPECT_EQ(built->layers_in_planes(), test::NestedSource::kLayers - 1);
}

TEST_F(PlanesCatalogue, NamesPlanesThatDoNotFit) {
  struct Case {
    std::function<void(PlanesCatalogue&)> harm;
    const char* words;
  };
  const Case cases[] = {
      {[](auto& t) { t.tensor(1, 1).nested.reset(); }, "neither bytes nor planes"},
      {[](auto& t) { t.group(1, 0, 1, 1).offset += 64; }, "of expert 1 do not lie as"},
      {[](auto& t) { t.group(1, 2, 2, 5).offset -= 64; }, "of expert 2 do not lie as"},
      {[](auto& t) { t.group(1, 1, 0, 0).offset = 4096; }, "of expert 0 do not lie as"},
      {[](auto& t) { t.group(1, 1, 0, 3).offset += 1 << 20; }, "of expert 0 do not lie as"},
      {[](auto& t) { std::swap(t.group(1, 0, 2, 1), t.group(1, 0, 2, 2)); }, "expert 2 do not"},
      {[](auto& t) { std::swap(t.group(1, 0, 0, 0), t.group(1, 0, 1, 0)); }, "do not lie as"},
  };
  const Checkpoint sound = store_;
  for (const Case& one : cases) {
    store_ = sound;
    one.harm(*this);
    const auto built = ExpertCatalogue::build(store_, 8);
    ASSERT_FALSE(built.ok()) << one.words;
    EXPECT_EQ(built.status().code(), ErrorCode::kCorrupt);
    EXPECT_THAT(built.status().message(), HasSubstr("tensor blk.1.ffn_gate_exps.weight"));
    EXPECT_THAT(built.status().message(), HasSubstr(one.words));
  }
}

TEST(ExpertCatalogue, ReadsRealCheckpoints) {
  const auto folder = test::test_data("oracle/mixtral/model.safetensors").parent_path();
  const auto gguf = test::test_data("oracle/mixtral/model.gguf");
  if (folder.empty() || gguf.empty()) GTEST_SKIP() << "needs SLUICE_TEST_DATA";
  for (const auto& path : {folder, gguf}) {
    const auto checkpoint = open_checkpoint(path.string());
    ASSERT_TRUE(checkpoint.ok()) << checkpoint.status().message();
    const auto built = ExpertCatalogue::build(*checkpoint);
    ASSERT_TRUE(built.ok()) << built.status().message();
    const auto experts = checkpoint->integer("expert_count");
    const auto layers = checkpoint->integer("block_count");
    ASSERT_TRUE(experts.ok() && *experts && layers.ok() && *layers);
    ASSERT_EQ(std::ssize(built->layers()), **layers);
    for (const ExpertLayer& layer : built->layers()) EXPECT_EQ(layer.experts, **experts);
  }
}

}  // namespace
}  // namespace sluice
