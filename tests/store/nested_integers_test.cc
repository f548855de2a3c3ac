// Packs of a source's integers: with all their bits planes are what the source has.

#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <fstream>

#include "base/half.h"
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

/// The number of a weight of integers, with all its bits: the layout that docs/store.md defines,
/// written out once more.
float number_at(const Checkpoint& store, const TensorInfo& tensor, std::size_t expert,
                std::size_t row, std::size_t column) {
  const bool is_q8 = tensor.type == TensorType::kQ8_0, is_fp4 = tensor.type == TensorType::kMXFP4;
  const std::vector<int> bits = is_q8 ? std::vector{2, 1, 1, 1, 1, 2} : std::vector{2, 1, 1};
  const std::size_t scale_bytes = is_fp4 ? 1 : 2, offset_bytes = is_fp4 ? 0 : 8;
  const std::size_t tile = row / 16 * (tensor.shape[2] / 32) + column / 32;
  const std::size_t lane = row % 16, in_tile = column % 32;
  int code = 0, offset = 0;
  float scale = 0;
  for (std::size_t group = 0; group < bits.size(); ++group) {
    const std::vector<std::byte> bytes =
        test::bytes_of(store, tensor.nested->groups[expert * bits.size() + group]);
    const std::size_t codes = bits[group] == 2 ? 128 : 64;
    const std::byte* const at =
        bytes.data() +
        (group == 0 ? 64 + tile * (codes + 16 * scale_bytes + offset_bytes) : tile * codes);
    if (bits[group] == 2) {
      const auto byte = static_cast<int>(at[in_tile / 16 * 64 + lane * 4 + in_tile % 4]);
      code = code << 2 | (byte >> (in_tile % 16 / 4 * 2) & 3);
    } else {
      const auto byte = static_cast<int>(at[lane * 4 + in_tile % 4]);
      code = code << 1 | (byte >> (in_tile % 16 / 4 * 2 + in_tile / 16) & 1);
    }
    if (group != 0) continue;
    if (is_fp4) {
      scale = std::ldexp(1.0f, static_cast<int>(at[codes + lane]) - 128);
      continue;
    }
    std::uint16_t half = 0;
    std::memcpy(&half, at + codes + 2 * lane, sizeof(half));
    scale = half_to_float(half);
    const auto pair = static_cast<int>(at[codes + 32 + lane % 8]);
    offset = (lane < 8 ? pair & 15 : pair >> 4) - 8;
  }
  if (is_fp4) {
    constexpr float kTwice[] = {-12, -8, -6, -4, -3, -2, -1, 0, 0, 1, 2, 3, 4, 6, 8, 12};
    return scale * kTwice[code];
  }
  return scale * static_cast<float>(is_q8 ? code - 128 + 8 * offset : code - 8 + offset);
}

TEST_F(NestedIntegers, KeepTheirNumbers) {
  const Checkpoint store = packed(source.checkpoint, "a.slc");
  std::size_t matrices = 0;
  for (const auto& [name, tensor] : store.tensors) {
    if (!tensor.nested || tensor.nested->form->fitted) continue;
    for (std::size_t expert = 0; expert < tensor.shape[0]; ++expert) {
      const std::vector<float> right =
          test::plain_numbers(source.checkpoint, source.checkpoint.tensors.at(name), expert);
      EXPECT_EQ(test::nested_numbers(store, tensor, expert, 8), right) << name << " " << expert;
      for (std::size_t i = 0; i < right.size(); i += 7) {
        const std::size_t row = i / tensor.shape[2], column = i % tensor.shape[2];
        ASSERT_EQ(number_at(store, tensor, expert, row, column), right[i])
            << name << " " << expert << " " << row << " " << column;
      }
      ++matrices;
    }
  }
  EXPECT_EQ(matrices, 10 * NestedSource::kExperts);
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
