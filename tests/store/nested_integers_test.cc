// Packs of a source's integers: with all their bits planes are what the source has.

#include <gtest/gtest.h>

#include <fstream>
#include <stdexcept>

#include "tests/formats/temporary_folder.h"
#include "tests/support/expert_numbers.h"
#include "tests/support/nested_source.h"
#include "tests/support/packed_store.h"

namespace sluice {
namespace {

using test::NestedSource;

class NestedIntegers : public testing::Test {
 protected:
  Checkpoint packed(const Checkpoint& from, const std::string& name) const {
    test::pack_store(from, folder.path(name), test::nest_all());
    auto store = open_checkpoint(folder.path(name));
    if (!store.ok()) throw std::runtime_error(store.status().message());
    return std::move(*store);
  }

  test::TemporaryFolder folder;
  NestedSource source{folder.path("source.bin")};
};

/// What docs/store.md says of a source's form.
struct Layout {
  std::vector<int> bits;                      // of groups
  std::size_t block, scale_bytes, scales_at;  // scales_at: in the source's block
  int first, unit;
};
Layout layout_of(TensorType type) {
  const std::vector<int> eight = {2, 1, 1, 1, 1, 2}, six = {2, 1, 1, 1, 1}, four = {2, 1, 1};
  switch (type) {
    case TensorType::kQ8_0:
      return {eight, 32, 2, 0, -128, 8};
    case TensorType::kQ4_0:
      return {four, 32, 2, 0, -8, 1};
    case TensorType::kMXFP4:
      return {four, 32, 1, 0, 0, 0};
    case TensorType::kQ4_K:
      return {four, 256, 16, 0, 0, 0};
    case TensorType::kQ6_K:
      return {six, 256, 18, 192, -32, 0};
    default:
      throw std::runtime_error("no form of integers");
  }
}

/// What a store's planes have of a weight: its number, and what its block's scales are made of.
struct Weight {
  int number = 0;
  std::vector<std::byte> scales;
};
Weight weight_at(const Checkpoint& store, const TensorInfo& tensor, std::size_t expert,
                 std::size_t row, std::size_t column) {
  const Layout form = layout_of(tensor.type);
  const std::size_t tile = row / 16 * (tensor.shape[2] / form.block) + column / form.block;
  const std::size_t lane = row % 16, in_tile = column % 32, part = column % form.block / 32;
  const std::size_t offset_bytes = form.unit == 0 ? 0 : 8;
  Weight weight;
  int code = 0, offset = 0;
  for (std::size_t group = 0; group < form.bits.size(); ++group) {
    const std::vector<std::byte> bytes =
        test::bytes_of(store, tensor.nested->groups[expert * form.bits.size() + group]);
    const bool two = form.bits[group] == 2;
    const std::size_t codes = (two ? 4 : 2) * form.block;
    const std::byte* const at =
        bytes.data() +
        (group == 0 ? 64 + tile * (codes + 16 * form.scale_bytes + offset_bytes) : tile * codes);
    const std::byte* const words = at + part * (two ? 128 : 64);
    if (two) {
      const auto byte = static_cast<int>(words[in_tile / 16 * 64 + lane * 4 + in_tile % 4]);
      code = code << 2 | (byte >> (in_tile % 16 / 4 * 2) & 3);
    } else {
      const auto byte = static_cast<int>(words[lane * 4 + in_tile % 4]);
      code = code << 1 | (byte >> (in_tile % 16 / 4 * 2 + in_tile / 16) & 1);
    }
    if (group != 0) continue;
    // Words of sixteen rows side by side, then what is left of each.
    const std::byte* const scales = at + codes;
    const std::size_t whole = form.scale_bytes / 4 * 4, rest = form.scale_bytes - whole;
    for (std::size_t i = 0; i < whole; ++i) {
      weight.scales.push_back(scales[i / 4 * 64 + lane * 4 + i % 4]);
    }
    for (std::size_t i = 0; i < rest; ++i) {
      weight.scales.push_back(scales[whole * 16 + lane * rest + i]);
    }
    if (form.unit == 0) continue;
    const auto pair = static_cast<int>(scales[16 * form.scale_bytes + lane % 8]);
    offset = (lane < 8 ? pair & 15 : pair >> 4) - 8;
  }
  constexpr int kFp4[] = {-12, -8, -6, -4, -3, -2, -1, 0, 0, 1, 2, 3, 4, 6, 8, 12};
  weight.number =
      tensor.type == TensorType::kMXFP4 ? kFp4[code] : form.first + code + form.unit * offset;
  return weight;
}

TEST_F(NestedIntegers, KeepTheirNumbers) {
  const Checkpoint store = packed(source.checkpoint, "a.slc");
  std::size_t matrices = 0;
  for (const auto& [name, tensor] : store.tensors) {
    if (!tensor.nested || tensor.nested->form->fitted) continue;
    const TensorInfo& from = source.checkpoint.tensors.at(name);
    const TensorFormat& format = tensor_format(tensor.type);
    const Layout form = layout_of(tensor.type);
    for (std::size_t expert = 0; expert < tensor.shape[0]; ++expert) {
      const std::vector<float> right = test::plain_numbers(source.checkpoint, from, expert);
      EXPECT_EQ(test::nested_numbers(store, tensor, expert, 8), right) << name << " " << expert;
      const std::vector<std::byte> blocks = test::bytes_of(source.checkpoint, from.slice(expert));
      for (std::size_t i = 0; i < right.size(); i += 37) {
        const Weight weight =
            weight_at(store, tensor, expert, i / tensor.shape[2], i % tensor.shape[2]);
        const std::byte* const block = blocks.data() + i / form.block * format.block_bytes;
        std::int8_t numbers[256];
        float scales[16], mins[16];
        format.unpack(block, numbers, scales, mins);
        ASSERT_EQ(weight.number, numbers[i % form.block]) << name << " " << expert << " " << i;
        const std::byte* const own = block + form.scales_at;
        ASSERT_EQ(weight.scales, std::vector(own, own + form.scale_bytes)) << name << " " << i;
      }
      ++matrices;
    }
  }
  EXPECT_EQ(matrices, 13 * NestedSource::kExperts);
}

TEST_F(NestedIntegers, ZerosKeepTheirSigns) {
  const Checkpoint store = packed(source.checkpoint, "a.slc");
  const std::string name = "blk.4.ffn_up_exps.weight";
  const TensorInfo& tensor = source.checkpoint.tensors.at(name);
  ASSERT_EQ(tensor.type, TensorType::kMXFP4);
  std::size_t zeros = 0;
  for (std::size_t expert = 0; expert < tensor.shape[0]; ++expert) {
    const std::vector<std::byte> blocks = test::bytes_of(source.checkpoint, tensor.slice(expert));
    const std::vector<float> two_bits =
        test::nested_numbers(store, store.tensors.at(name), expert, 2);
    for (std::size_t i = 0; i < two_bits.size(); ++i) {
      const auto byte = static_cast<unsigned>(blocks[i / 32 * 17 + 1 + i % 16]);
      const unsigned code = i % 32 < 16 ? byte & 15 : byte >> 4;
      if (code % 8 == 0) ++zeros;
      EXPECT_EQ(two_bits[i] < 0, code >= 8);
    }
  }
  EXPECT_GT(zeros, 0u);
}

/// The checkpoint with MXFP4's exponents apart from its codes, as Hugging Face folders have them.
Checkpoint with_exponents_apart(Checkpoint checkpoint, const std::string& path) {
  std::ofstream file(path, std::ios::binary);
  const Checkpoint whole = checkpoint;
  const auto number = static_cast<std::uint32_t>(checkpoint.files.size());
  checkpoint.files.push_back(path);
  std::uint64_t at = 0;
  const auto write = [&](const std::string& bytes) -> FileRange {
    file.write(bytes.data(), static_cast<std::streamsize>(bytes.size()));
    at += bytes.size();
    return {number, at - bytes.size(), bytes.size()};
  };
  for (auto& [name, tensor] : checkpoint.tensors) {
    if (tensor.type != TensorType::kMXFP4) continue;
    StoredLayout stored;
    stored.code = StoredCode::kSplitMxfp4;
    stored.rows = tensor.shape[1];
    stored.columns = stored.row_stride = stored.stored_columns = tensor.shape[2];
    std::vector<FileRange> ranges;
    for (std::size_t expert = 0; expert < tensor.shape[0]; ++expert) {
      const std::vector<std::byte> blocks = test::bytes_of(whole, tensor.slice(expert));
      std::string codes, exponents;
      for (std::size_t block = 0; block < blocks.size(); block += 17) {
        exponents += static_cast<char>(blocks[block]);
        const auto code = [&](std::size_t i) {
          const auto byte = static_cast<unsigned>(blocks[block + 1 + i % 16]);
          return i < 16 ? byte & 15 : byte >> 4;
        };
        for (std::size_t i = 0; i < 32; i += 2) {
          codes += static_cast<char>(code(i) | code(i + 1) << 4);
        }
      }
      ranges.push_back(write(codes));
      stored.scales.push_back(write(exponents));
    }
    tensor.ranges = ranges;
    tensor.stored = stored;
  }
  return checkpoint;
}

TEST_F(NestedIntegers, ExponentsMayLieApart) {
  const Checkpoint store = packed(source.checkpoint, "a.slc");
  const Checkpoint other =
      packed(with_exponents_apart(source.checkpoint, folder.path("split.bin")), "apart.slc");
  std::size_t groups = 0;
  for (const auto& [name, tensor] : store.tensors) {
    if (tensor.type != TensorType::kMXFP4) continue;
    const TensorInfo& twin = other.tensors.at(name);
    EXPECT_FALSE(twin.stored);
    ASSERT_EQ(twin.nested->groups.size(), tensor.nested->groups.size());
    for (std::size_t i = 0; i < tensor.nested->groups.size(); ++i, ++groups) {
      EXPECT_EQ(test::bytes_of(other, twin.nested->groups[i]),
                test::bytes_of(store, tensor.nested->groups[i]));
    }
  }
  EXPECT_GT(groups, 0u);
}

}  // namespace
}  // namespace sluice
