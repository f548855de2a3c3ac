#include "engine/model_description.h"

#include <gtest/gtest.h>

#include "tests/engine/fixture.h"

namespace sluice {
namespace {

// Biases, the head and shared experts are optional: one that cannot be read would silently be left
// out, and one that is needed would be called missing.
TEST(ModelDescription, ATensorInAFormatThatIsLackingIsNamedWithIt) {
  for (const char* name :
       {"token_embd.weight", "output_norm.weight", "output.weight", "blk.0.attn_q.weight",
        "blk.2.attn_q.bias", "blk.3.ffn_gate_inp.weight", "blk.1.ffn_gate_shexp.weight"}) {
    auto checkpoint = open_checkpoint(test::bundled_model());
    ASSERT_TRUE(checkpoint.ok()) << checkpoint.status().message();
    checkpoint->tensors.erase(name);
    checkpoint->unreadable.emplace(name, "XQ9_Z");
    const auto model = ModelOutline::from(std::move(*checkpoint));
    EXPECT_EQ(model.status().code(), ErrorCode::kUnsupported) << name;
    const std::string& message = model.status().message();
    EXPECT_NE(message.find(name), std::string::npos) << message;
    EXPECT_NE(message.find("XQ9_Z"), std::string::npos) << message;
    EXPECT_EQ(message.find("missing"), std::string::npos) << message;
  }
}

TEST(ModelDescription, WhatTheModelDoesNotUseMayBeInAnyFormat) {
  auto checkpoint = open_checkpoint(test::bundled_model());
  ASSERT_TRUE(checkpoint.ok()) << checkpoint.status().message();
  checkpoint->unreadable.emplace("v.blk.0.attn_q.weight", "XQ9_Z");
  checkpoint->unreadable.emplace("blk.99.attn_q.weight", "XQ9_Z");  // past the layers that run
  const auto model = ModelOutline::from(std::move(*checkpoint));
  EXPECT_TRUE(model.ok()) << model.status().message();
}

TEST(ModelDescription, AMissingEmbeddingIsCalledMissing) {
  auto checkpoint = open_checkpoint(test::bundled_model());
  ASSERT_TRUE(checkpoint.ok()) << checkpoint.status().message();
  checkpoint->tensors.erase("token_embd.weight");
  const auto model = ModelOutline::from(std::move(*checkpoint));
  EXPECT_NE(model.status().message().find("'token_embd.weight' is missing"), std::string::npos)
      << model.status().message();
}

}  // namespace
}  // namespace sluice
