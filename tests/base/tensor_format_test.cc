#include "base/tensor_format.h"

#include <gtest/gtest.h>

#include <bit>
#include <cmath>
#include <filesystem>
#include <set>
#include <string>
#include <vector>

#include "tests/base/python_oracle.h"
#include "tests/support/test_data.h"

namespace sluice {
namespace {

// The same bits, or NaN in both: which NaN is the processor's affair.
bool same(float a, float b) {
  return std::bit_cast<std::uint32_t>(a) == std::bit_cast<std::uint32_t>(b) ||
         (std::isnan(a) && std::isnan(b));
}

// Decodes NAME.blocks of every format in `folder` and compares with NAME.floats
// (tests/data/quants/make.py).
void expect_decodes(const std::filesystem::path& folder) {
  for (const TensorFormat& format : tensor_formats()) {
    const std::string name(format.name);
    SCOPED_TRACE(name);
    const auto blocks = test::read_values<std::byte>(folder / (name + ".blocks"));
    const auto expected = test::read_values<float>(folder / (name + ".floats"));
    ASSERT_FALSE(expected.empty());
    ASSERT_EQ(blocks.size(), format.bytes(expected.size()));
    std::vector<float> decoded(expected.size());
    format.decode(blocks.data(), decoded.data(), decoded.size());
    for (std::size_t i = 0; i < expected.size(); ++i) {
      ASSERT_TRUE(same(decoded[i], expected[i]))
          << "element " << i << ": " << decoded[i] << " instead of " << expected[i];
    }
  }
}

TEST(TensorFormatTest, DecodesTheFrozenBlocks) { expect_decodes(test::bundled_data() / "quants"); }

TEST(TensorFormatTest, DecodesRandomBlocksAsGgufDoes) {
  const auto interpreter = test::python();
  if (!interpreter) GTEST_SKIP() << "SLUICE_PYTHON is unset";
  const test::TemporaryFolder folder;
  ASSERT_EQ(test::run_python(*interpreter, "tests/data/quants/make.py",
                             {folder.path(), "--seed", "3", "--random", "1000"}),
            0);
  expect_decodes(folder.path());
}

// With fma, because the header promises that the product is exact.
TEST(TensorFormatTest, UnpackedBlocksAreTheDecodedOnes) {
  for (const TensorFormat& format : tensor_formats()) {
    const std::string name(format.name);
    SCOPED_TRACE(name);
    EXPECT_EQ(format.quantised(), format.unpack != nullptr);
    if (!format.quantised()) continue;
    const auto blocks =
        test::read_values<std::byte>(test::bundled_data() / "quants" / (name + ".blocks"));
    const auto expected =
        test::read_values<float>(test::bundled_data() / "quants" / (name + ".floats"));
    ASSERT_TRUE(format.group == 16 || format.group == 32);
    std::vector<std::int8_t> codes(format.block_elements);
    const std::size_t groups = format.block_elements / format.group;
    for (std::size_t block = 0; block * format.block_bytes < blocks.size(); ++block) {
      // What unpack leaves unwritten stays NaN.
      std::vector<float> scales(groups, NAN), mins(groups, NAN);
      format.unpack(blocks.data() + block * format.block_bytes, codes.data(), scales.data(),
                    mins.data());
      for (std::size_t i = 0; i < format.block_elements; ++i) {
        const float min = mins[i / format.group];
        ASSERT_TRUE(format.has_min || min == 0.0f) << min;
        const float scale = scales[i / format.group];
        const auto code = static_cast<float>(codes[i]);
        const float weight = format.has_min ? std::fma(scale, code, min) : scale * code;
        ASSERT_TRUE(same(weight, expected[block * format.block_elements + i])) << "block " << block;
      }
    }
  }
}

TEST(TensorFormatTest, ReadsBlocksAtAnyAddress) {
  for (const TensorFormat& format : tensor_formats()) {
    const std::string name(format.name);
    SCOPED_TRACE(name);
    auto blocks =
        test::read_values<std::byte>(test::bundled_data() / "quants" / (name + ".blocks"));
    const auto expected =
        test::read_values<float>(test::bundled_data() / "quants" / (name + ".floats"));
    blocks.insert(blocks.begin(), std::byte{});
    std::vector<float> decoded(expected.size());
    format.decode(blocks.data() + 1, decoded.data(), decoded.size());
    for (std::size_t i = 0; i < expected.size(); ++i) ASSERT_TRUE(same(decoded[i], expected[i]));
    format.decode(blocks.data() + 1, nullptr, 0);
  }
}

TEST(TensorFormatTest, LooksUpByNumber) {
  std::set<TensorType> types;
  for (const TensorFormat& format : tensor_formats()) {
    EXPECT_TRUE(types.insert(format.type).second) << format.name;
    EXPECT_EQ(find_tensor_format(format.type), &format);
    EXPECT_EQ(&tensor_format(format.type), &format);
  }
  EXPECT_EQ(types.size(), 31u);
  EXPECT_EQ(tensor_format(static_cast<TensorType>(12)).name, "Q4_K");
  EXPECT_EQ(find_tensor_format(static_cast<TensorType>(4)), nullptr);
  EXPECT_EQ(find_tensor_format(static_cast<TensorType>(0xffffffffu)), nullptr);
  EXPECT_EQ(find_gguf_format(12), &tensor_format(TensorType::kQ4_K));
  EXPECT_EQ(find_gguf_format(4), nullptr);
  EXPECT_EQ(find_gguf_format(0xffffffffu), nullptr);
  // A format that GGUF lacks is not to be had by writing its number into a file.
  EXPECT_EQ(find_gguf_format(static_cast<std::uint32_t>(TensorType::kF8_E4M3)), nullptr);
}

}  // namespace
}  // namespace sluice
