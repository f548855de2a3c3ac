// A model whose experts are in planes computes, at every width, what one computes whose experts'
// floats are those that the planes stand for.

#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <fstream>
#include <functional>
#include <string>
#include <vector>

#include "base/half.h"
#include "base/quant_blocks.h"
#include "formats/expert_tensors.h"
#include "tests/engine/fixture.h"
#include "tests/formats/temporary_folder.h"
#include "tests/support/expert_numbers.h"
#include "tests/support/packed_store.h"

namespace sluice {
namespace {

/// Numbers of a tensor's expert, row after row.
using Decoder = std::function<std::vector<float>(const TensorInfo& tensor, std::uint64_t expert)>;
using Encoder = std::function<std::vector<std::byte>(const std::vector<float>& numbers)>;

/// The checkpoint with other numbers in its experts' places, in a file of their own.
Checkpoint with_experts(Checkpoint checkpoint, TensorType type, const Decoder& decode,
                        const Encoder& encode, const std::string& path) {
  std::ofstream file(path, std::ios::binary);
  std::uint64_t at = 0;
  const auto number = static_cast<std::uint32_t>(checkpoint.files.size());
  for (auto& [name, tensor] : checkpoint.tensors) {
    if (!layer_of_experts(name)) continue;
    std::vector<FileRange> ranges;
    for (std::uint64_t expert = 0; expert < tensor.shape[0]; ++expert) {
      const std::vector<std::byte> bytes = encode(decode(tensor, expert));
      file.write(reinterpret_cast<const char*>(bytes.data()),
                 static_cast<std::streamsize>(bytes.size()));
      ranges.push_back({number, at, bytes.size()});
      at += bytes.size();
    }
    tensor = {name, type, tensor.shape, ranges};
  }
  checkpoint.files.push_back(path);
  return checkpoint;
}

std::vector<std::byte> as_f32(const std::vector<float>& numbers) {
  std::vector<std::byte> bytes(numbers.size() * sizeof(float));
  std::memcpy(bytes.data(), numbers.data(), bytes.size());
  return bytes;
}

std::vector<std::byte> as_bf16(const std::vector<float>& numbers) {
  std::vector<std::byte> bytes(numbers.size() * 2);
  for (std::size_t i = 0; i < numbers.size(); ++i) {
    const std::uint16_t bits = float_to_bf16(numbers[i]);
    std::memcpy(bytes.data() + 2 * i, &bits, 2);
  }
  return bytes;
}

/// The largest magnitude is -8 scales.
std::vector<std::byte> as_q4_0(const std::vector<float>& numbers) {
  std::vector<std::byte> bytes;
  for (std::size_t at = 0; at < numbers.size(); at += 32) {
    float largest = 0;
    for (std::size_t i = at; i < at + 32; ++i) {
      if (std::fabs(numbers[i]) > std::fabs(largest)) largest = numbers[i];
    }
    Q4_0Block block = {};
    const std::uint16_t half = float_to_half(largest / -8);
    std::memcpy(&block.scale, &half, sizeof(half));
    const float scale = half_to_float(half);
    for (std::size_t i = 0; i < 32; ++i) {
      const float code = scale == 0 ? 8 : std::nearbyint(numbers[at + i] / scale) + 8;
      const auto nibble = static_cast<unsigned>(std::fmin(std::fmax(code, 0.0f), 15.0f));
      block.nibbles[i % 16] =
          static_cast<std::uint8_t>(block.nibbles[i % 16] | nibble << (i < 16 ? 0 : 4));
    }
    const auto* const from = reinterpret_cast<const std::byte*>(&block);
    bytes.insert(bytes.end(), from, from + sizeof(block));
  }
  return bytes;
}

Checkpoint opened(const std::string& path) {
  auto checkpoint = open_checkpoint(path);
  if (!checkpoint.ok()) throw std::runtime_error(checkpoint.status().message());
  return std::move(*checkpoint);
}

/// What the file has of a tensor that is not in planes.
Decoder plain_numbers(const Checkpoint& checkpoint) {
  return [&checkpoint](const TensorInfo& tensor, std::uint64_t expert) {
    return test::plain_numbers(checkpoint, tensor, expert);
  };
}

/// What planes stand for at a width.
Decoder nested_numbers(const Checkpoint& checkpoint, unsigned width) {
  return [&checkpoint, width](const TensorInfo& tensor, std::uint64_t expert) {
    return test::nested_numbers(checkpoint, tensor, expert, width);
  };
}

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

struct Source {
  const char* name;
  TensorType type;
  Encoder encode;  // empty: as the bundled model has it
};

class NestedModel : public ::testing::TestWithParam<Source> {
 protected:
  /// The bundled model's experts as numbers of the source's type.
  Checkpoint source() {
    Checkpoint bundled = opened(test::bundled_model());
    if (!GetParam().encode) return bundled;
    const Checkpoint from = bundled;
    return with_experts(std::move(bundled), GetParam().type, plain_numbers(from), GetParam().encode,
                        folder_.path() + "/source.bin");
  }
  std::string pack(bool keep_floats = true) {
    const std::string store = folder_.path() + (keep_floats ? "/kept.slc" : "/dropped.slc");
    test::pack_store(source(), store, test::nest_all(keep_floats));
    return store;
  }
  test::TemporaryFolder folder_;
};

TEST_P(NestedModel, IsItsSourceWhereItIsExact) {
  const std::string store = pack();
  for (const bool compute_f32 : {false, true}) {
    EXPECT_TRUE(test::same_bits(logits(opened(store), compute_f32), logits(source(), compute_f32)))
        << compute_f32;
  }
  const auto outline = ModelOutline::open(store);
  ASSERT_TRUE(outline.ok());
  EXPECT_TRUE(outline->catalogue.exact());
}

TEST_P(NestedModel, IsWhatItsPlanesStandForAtEveryWidth) {
  const std::string store = pack();
  const Checkpoint checkpoint = opened(store);
  std::vector<float> last;
  for (const unsigned width : expert_widths()) {
    const Checkpoint decoded =
        with_experts(checkpoint, TensorType::kF32, nested_numbers(checkpoint, width), as_f32,
                     folder_.path() + "/decoded.bin");
    const std::vector<float> got = logits(checkpoint, /*compute_f32=*/true, width);
    EXPECT_TRUE(test::same_bits(got, logits(decoded, /*compute_f32=*/true))) << width;
    const bool more_bits =
        width <= checkpoint.tensors.at("blk.0.ffn_up_exps.weight").nested->form->bits;
    EXPECT_EQ(test::same_bits(got, last), !more_bits) << width;
    last = got;
    const auto outline = ModelOutline::open(store, width);
    ASSERT_TRUE(outline.ok());
    EXPECT_LT(outline->catalogue.mean_bits(), std::min(width, 8u) + 0.75);
    EXPECT_GT(outline->catalogue.mean_bits(), std::min(width, more_bits ? width : 4u));
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

TEST_P(NestedModel, IsExactWithAllThatIsLeftOfIt) {
  if (GetParam().type != TensorType::kBF16) GTEST_SKIP() << "integers lose nothing";
  const std::string kept = pack(), dropped = pack(/*keep_floats=*/false);
  EXPECT_TRUE(test::same_bits(logits(opened(dropped), false), logits(opened(kept), false, 8)));
  EXPECT_TRUE(ModelOutline::open(dropped)->catalogue.exact());
  EXPECT_FALSE(ModelOutline::open(kept, 8)->catalogue.exact());
}

TEST(NestedWidth, IsOneThatThereIs) {
  const auto refused = ModelOutline::open(test::bundled_model(), 7);
  EXPECT_EQ(refused.status().code(), ErrorCode::kInvalidArgument);
  EXPECT_NE(refused.status().message().find("7 bits: there are 2, 3, 4, 5, 6, 8"),
            std::string::npos)
      << refused.status().message();
}

INSTANTIATE_TEST_SUITE_P(Sources, NestedModel,
                         ::testing::Values(Source{"q8_0", TensorType::kQ8_0, {}},
                                           Source{"q4_0", TensorType::kQ4_0, as_q4_0},
                                           Source{"bf16", TensorType::kBF16, as_bf16}),
                         [](const auto& source) { return std::string(source.param.name); });

}  // namespace
}  // namespace sluice
