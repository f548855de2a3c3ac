#include "layers/dense_weights.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "formats/checkpoint.h"
#include "tests/engine/fixture.h"

namespace sluice {
namespace {

class DenseWeightsTest : public testing::Test {
 protected:
  Status count(const std::string& extra) {
    auto checkpoint = open_checkpoint(test::Conditions().path);
    if (!checkpoint.ok()) return checkpoint.status();
    auto description = ModelDescription::from(*checkpoint);
    if (!description.ok()) return description.status();
    if (!extra.empty()) {
      TensorInfo tensor = *checkpoint->find("blk.0.attn_norm.weight");
      tensor.name = extra;
      checkpoint->tensors[extra] = tensor;
    }
    return DenseWeights::bytes(*checkpoint, *description).status();
  }
};

TEST_F(DenseWeightsTest, RefusesALayersTensorThatNothingUses) {
  EXPECT_TRUE(count("").ok());
  for (const char* name : {"blk.0.attn_q_a.bias", "blk.1.ffn_up.bias", "blk.0.self_attn.dream"}) {
    const Status status = count(name);
    EXPECT_EQ(status.code(), ErrorCode::kUnsupported) << name;
    EXPECT_THAT(status.message(), testing::HasSubstr(name));
  }
}

TEST_F(DenseWeightsTest, PassesOverWhatIsNoLayers) {
  // Layers that predict ahead come after the model's own.
  for (const char* name : {"blk.99.nextn.eh_proj.weight", "v.blk.0.attn_q.bias", "extra.thing"}) {
    const Status status = count(name);
    EXPECT_TRUE(status.ok()) << status.message();
  }
}

}  // namespace
}  // namespace sluice
