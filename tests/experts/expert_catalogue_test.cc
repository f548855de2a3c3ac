#include "experts/expert_catalogue.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <functional>

#include "tests/experts/fake_checkpoint.h"
#include "tests/support/test_data.h"

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
      {[](Checkpoint& c) { c.tensors[kGate].ranges.clear(); }, kGate, "0 parts"},
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
