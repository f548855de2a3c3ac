// A model whose experts are in planes computes, at every width, what one computes whose experts'
// floats are those that the planes stand for.

#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "tests/engine/nested_models.h"

namespace sluice {
namespace {

std::vector<float> logits(Checkpoint checkpoint, bool compute_f32, unsigned width = kExactWidth) {
  auto outline = ModelOutline::from(std::move(checkpoint), width);
  auto runtime = Runtime::create({.threads = 2});
  if (!outline.ok() || !runtime.ok()) throw std::runtime_error(outline.status().message());
  auto model = Model::open(**runtime, std::move(*outline),
                           {.context = 64, .compute_f32 = compute_f32, .calibration = ""});
  if (!model.ok()) throw std::runtime_error(model.status().message());
  Session session(**model);
  return test::all_logits(session, test::some_tokens(24));
}

using NestedModel = test::NestedModel;

TEST_P(NestedModel, IsItsSourceWhereItIsExact) {
  const std::string store = pack();
  for (const bool compute_f32 : {false, true}) {
    EXPECT_TRUE(
        test::same_bits(logits(test::opened(store), compute_f32), logits(source(), compute_f32)))
        << compute_f32;
  }
  const auto outline = ModelOutline::open(store);
  ASSERT_TRUE(outline.ok());
  EXPECT_TRUE(outline->catalogue.exact());
}

TEST_P(NestedModel, IsWhatItsPlanesStandForAtEveryWidth) {
  const std::string store = pack();
  const Checkpoint checkpoint = test::opened(store);
  std::vector<float> last;
  for (const unsigned width : expert_widths()) {
    const Checkpoint decoded = test::with_experts(
        checkpoint, test::all_of({TensorType::kF32, test::as_f32}),
        test::decoder_of_planes(checkpoint, width), folder_.path() + "/decoded.bin");
    const std::vector<float> got = logits(checkpoint, /*compute_f32=*/true, width);
    EXPECT_TRUE(test::same_bits(got, logits(decoded, /*compute_f32=*/true))) << width;
    const bool more_bits =
        width <= checkpoint.tensors.at("blk.0.ffn_up_exps.weight").nested->form->bits;
    EXPECT_EQ(test::same_bits(got, last), !more_bits) << width;
    last = got;
    const auto outline = ModelOutline::open(store, width);
    ASSERT_TRUE(outline.ok());
    double codes = 0;  // bits a weight, on average
    for (const std::string_view matrix : kExpertMatrices) {
      const TensorInfo& tensor = checkpoint.tensors.at(expert_tensor_name(0, matrix));
      codes += std::min<unsigned>(width, tensor.nested->form->bits) / 3.0;
    }
    EXPECT_LT(outline->catalogue.mean_bits(), codes + 0.75);
    EXPECT_GT(outline->catalogue.mean_bits(), codes);
  }
}

TEST_P(NestedModel, DependsOnNothingElse) {
  test::Conditions conditions;
  conditions.path = pack();
  conditions.model.width = 3;
  const std::vector<TokenId> tokens = test::some_tokens(40);
  const std::vector<float> want = test::all_logits(conditions, tokens);
  conditions.model.max_rows = 7;
  conditions.threads = 2;
  EXPECT_TRUE(test::same_bits(test::all_logits(conditions, tokens), want));
  conditions.ram = test::smallest_budget(conditions);
  EXPECT_TRUE(test::same_bits(test::all_logits(conditions, tokens), want));
}

TEST_P(NestedModel, WithoutFloatsIsReadWithAllThatIsLeftAndIsNotExact) {
  if (source().tensors.at("blk.0.ffn_up_exps.weight").type != TensorType::kBF16) {
    GTEST_SKIP() << "integers lose nothing";
  }
  const std::string kept = pack(), dropped = pack(/*keep_floats=*/false);
  EXPECT_TRUE(
      test::same_bits(logits(test::opened(dropped), false), logits(test::opened(kept), false, 8)));
  const auto outline = ModelOutline::open(dropped);
  EXPECT_TRUE(outline->catalogue.reads_all());
  EXPECT_FALSE(outline->catalogue.exact());
  EXPECT_FALSE(ModelOutline::open(kept, 8)->catalogue.reads_all());
}

/// A model is what is left of it: each expert's planes up to its resting width, or to one that is
/// asked for.
TEST_P(NestedModel, ExpertsRestAtWidthsOfTheirOwn) {
  const std::string store = folder_.path() + "/slim.slc";
  StoreChoice choice = test::nest_all(/*keep_floats=*/false);
  choice.widths = test::widths_in_turn(source());
  test::pack_store(source(), store, choice);
  const Checkpoint checkpoint = test::opened(store);
  unsigned widest = 0;  // of the source's numbers
  for (const std::string_view matrix : kExpertMatrices) {
    const TensorInfo& tensor = checkpoint.tensors.at(expert_tensor_name(0, matrix));
    widest = std::max<unsigned>(widest, tensor.nested->form->bits);
  }
  std::vector<float> last;
  for (const unsigned width : {2u, 4u, kExactWidth}) {
    const unsigned most = width == kExactWidth ? 8 : width;
    const Checkpoint decoded = test::with_experts(
        checkpoint, test::all_of({TensorType::kF32, test::as_f32}),
        test::decoder_of_planes(checkpoint, most), folder_.path() + "/decoded.bin");
    const std::vector<float> got = logits(checkpoint, /*compute_f32=*/true, width);
    EXPECT_TRUE(test::same_bits(got, logits(decoded, /*compute_f32=*/true))) << width;
    // Of four bits there is no more at any width.
    const bool more = width != kExactWidth || widest > 4;
    EXPECT_EQ(test::same_bits(got, last), !more) << width;
    last = got;
    const auto outline = ModelOutline::open(store, width);
    ASSERT_TRUE(outline.ok());
    std::uint64_t bytes = 0;
    for (const auto& [name, tensor] : checkpoint.tensors) {
      if (!tensor.nested) continue;
      const NestedForm& form = *tensor.nested->form;
      for (std::uint64_t expert = 0; expert < tensor.shape[0]; ++expert) {
        for (std::size_t group = 0; group < form.groups_within(most); ++group) {
          bytes += tensor.nested->group(expert, group).bytes;
        }
      }
    }
    EXPECT_EQ(outline->catalogue.total_bytes(), bytes);
    const bool four_is_all = widest == 4 && width == 4;
    EXPECT_EQ(outline->catalogue.reads_all(), width == kExactWidth || four_is_all);
    EXPECT_FALSE(outline->catalogue.exact());
  }
  test::Conditions conditions;
  conditions.path = store;
  const std::vector<TokenId> tokens = test::some_tokens(40);
  const std::vector<float> want = test::all_logits(conditions, tokens);
  conditions.model.max_rows = 7;
  conditions.ram = test::smallest_budget(conditions);
  EXPECT_TRUE(test::same_bits(test::all_logits(conditions, tokens), want));
}

TEST(NestedWidth, IsOneThatThereIs) {
  const auto refused = ModelOutline::open(test::bundled_model(), 7);
  EXPECT_EQ(refused.status().code(), ErrorCode::kInvalidArgument);
  EXPECT_NE(refused.status().message().find("7 bits: there are 2, 3, 4, 5, 6, 8"),
            std::string::npos)
      << refused.status().message();
}

INSTANTIATE_TEST_SUITE_P(Sources, NestedModel, ::testing::ValuesIn(test::nested_sources()),
                         [](const auto& source) { return std::string(source.param.name); });

}  // namespace
}  // namespace sluice
