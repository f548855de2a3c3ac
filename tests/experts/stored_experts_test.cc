// Experts that files keep otherwise than row by row in one piece: what a visit hands out are the
// numbers that formats/ says are there, and in place takes no more room than the file.

#include <gtest/gtest.h>

#include <cstring>
#include <random>

#include "base/half.h"
#include "base/strip_layout.h"
#include "experts/expert_store.h"
#include "formats/stored_layout.h"
#include "formats/tensor_views.h"
#include "tests/experts/allocation_count.h"
#include "tests/experts/fake_device.h"
#include "tests/experts/memory_reader.h"

namespace sluice {
namespace {

constexpr std::uint32_t kExperts = 5;
constexpr std::uint64_t kHidden = 96, kFfn = 64;
constexpr std::uint64_t kBlockRows = 40, kBlockColumns = 33;

struct Stored {
  Checkpoint checkpoint;
  std::vector<std::vector<std::byte>> files = std::vector<std::vector<std::byte>>(1);
  std::mt19937 random{9};

  Stored() { checkpoint.files = {"experts.safetensors"}; }

  /// Appends bytes, at an odd place.
  FileRange add_bytes(std::uint64_t bytes, const auto& make) {
    std::vector<std::byte>& file = files[0];
    file.resize(file.size() + 1 + random() % 900);
    const FileRange range{0, file.size(), bytes};
    for (std::uint64_t i = 0; i < bytes; ++i) file.push_back(static_cast<std::byte>(make()));
    return range;
  }
  FileRange add_floats(TensorType type, std::uint64_t count) {
    std::normal_distribution<float> normal;
    std::vector<std::byte> bytes;
    for (std::uint64_t i = 0; i < count; ++i) {
      const float value = normal(random);
      const std::uint16_t narrow =
          type == TensorType::kBF16 ? float_to_bf16(value) : float_to_half(value);
      const auto* from = type == TensorType::kF32 ? reinterpret_cast<const std::byte*>(&value)
                                                  : reinterpret_cast<const std::byte*>(&narrow);
      bytes.insert(bytes.end(), from, from + tensor_format(type).block_bytes);
    }
    std::size_t next = 0;
    return add_bytes(bytes.size(), [&] { return bytes[next++]; });
  }
  void add(TensorInfo tensor) { checkpoint.tensors[tensor.name] = std::move(tensor); }
  static std::string name(const char* matrix) {
    return "blk.0.ffn_" + std::string(matrix) + "_exps.weight";
  }
  void add_halves(const TensorInfo& both, bool in_turn) {
    for (const bool up : {false, true}) {
      const std::uint64_t first = !up ? 0 : in_turn ? 1 : kFfn;
      TensorInfo part =
          select_rows(both, name(up ? "up" : "gate"), first, kFfn, in_turn ? 2 : 1).value();
      if (part.stored) split_range(part);
      add(std::move(part));
    }
  }
};

/// Llama-4's, or gpt-oss's in BF16.
Stored input_major(TensorType type, bool in_turn) {
  Stored stored;
  const TensorInfo both{"both",
                        type,
                        {kExperts, kHidden, 2 * kFfn},
                        {stored.add_floats(type, kExperts * kHidden * 2 * kFfn)}};
  stored.add_halves(transposed(both), in_turn);
  TensorInfo down = transposed({Stored::name("down"),
                                type,
                                {kExperts, kFfn, kHidden},
                                {stored.add_floats(type, kExperts * kFfn * kHidden)}});
  split_range(down);
  stored.add(std::move(down));
  return stored;
}

StoredLayout coded(StoredCode code, std::uint64_t rows, std::uint64_t columns) {
  StoredLayout layout;
  layout.code = code;
  layout.rows = rows;
  layout.columns = layout.stored_columns = layout.row_stride = columns;
  layout.unit_stride = rows * columns;
  return layout;
}

/// DeepSeek's: a matrix and its scales are tensors of their own.
Stored fp8(TensorType scale_type) {
  Stored stored;
  for (const char* matrix : {"gate", "up", "down"}) {
    const bool is_down = matrix[0] == 'd';
    const std::uint64_t rows = is_down ? kHidden : kFfn, columns = is_down ? kFfn : kHidden;
    TensorInfo tensor{Stored::name(matrix), TensorType::kF32, {kExperts, rows, columns}, {}};
    tensor.stored = coded(StoredCode::kF8E4M3, rows, columns);
    tensor.stored->scale_type = scale_type;
    tensor.stored->block_rows = kBlockRows;
    tensor.stored->block_columns = kBlockColumns;
    for (std::uint32_t expert = 0; expert < kExperts; ++expert) {
      const auto code = [&] { return (stored.random() % 127) | (stored.random() & 128); };
      tensor.ranges.push_back(stored.add_bytes(rows * columns, code));
      tensor.stored->scales.push_back(stored.add_floats(
          scale_type,
          (rows + kBlockRows - 1) / kBlockRows * ((columns + kBlockColumns - 1) / kBlockColumns)));
    }
    stored.add(std::move(tensor));
  }
  return stored;
}

/// gpt-oss's.
Stored split_mxfp4() {
  Stored stored;
  const auto tensor = [&](std::string name, std::uint64_t rows, std::uint64_t columns) {
    TensorInfo info{std::move(name), TensorType::kMXFP4, {kExperts, rows, columns}, {}};
    const std::uint64_t blocks = kExperts * rows * columns / 32;
    info.ranges = {stored.add_bytes(16 * blocks, [&] { return stored.random(); })};
    info.stored = coded(StoredCode::kSplitMxfp4, rows, columns);
    info.stored->scales = {stored.add_bytes(blocks, [&] { return 100 + stored.random() % 30; })};
    return info;
  };
  stored.add_halves(tensor("both", 2 * kFfn, kHidden), /*in_turn=*/true);
  TensorInfo down = tensor(Stored::name("down"), kHidden, kFfn);
  split_range(down);
  stored.add(std::move(down));
  return stored;
}

struct Kind {
  const char* name;
  Stored (*make)();
  bool in_place;
};

std::ostream& operator<<(std::ostream& out, const Kind& kind) { return out << kind.name; }

class StoredExperts : public ::testing::TestWithParam<Kind> {
 protected:
  StoredExperts()
      : stored_(GetParam().make()),
        catalogue_(ExpertCatalogue::build(stored_.checkpoint).value()) {}

  /// Room for two experts.
  std::size_t least() const {
    const std::vector<test::MemoryReader::File> none;
    return ExpertStore::minimum_capacity(catalogue_, test::MemoryReader({}, none, 1), 1);
  }

  void open(std::size_t alignment, std::size_t capacity) {
    store_.reset();
    reader_ =
        std::make_unique<test::MemoryReader>(stored_.checkpoint.files, stored_.files, alignment);
    store_ = ExpertStore::create(catalogue_, *reader_, {capacity, "auto", {}}).value();
  }

  std::vector<float> wanted(const char* matrix, std::uint32_t expert) const {
    const TensorInfo& tensor = stored_.checkpoint.tensors.at(Stored::name(matrix));
    const auto bytes = [&](const FileRange& range) {
      return std::span(stored_.files[range.file]).subspan(range.offset, range.bytes);
    };
    std::span<const std::byte> scales;
    if (!tensor.stored->scales.empty()) scales = bytes(tensor.stored->scales[expert]);
    std::vector<float> values(kHidden * kFfn);
    const Status status = decode_range(tensor, bytes(tensor.ranges[expert]), scales, values);
    EXPECT_TRUE(status.ok()) << status.message();
    return values;
  }

  /// What kernels would read. The fake device turned over every bit of what it repacked.
  static std::vector<float> values(WeightMatrix matrix) {
    std::vector<std::byte> turned;
    if (matrix.layout == WeightLayout::kStrips) {
      for (std::size_t i = 0; i < matrix.bytes(); ++i) turned.push_back(~matrix.data[i]);
      matrix.data = turned.data();
      matrix.layout = WeightLayout::kRows;
    }
    std::vector<float> values(matrix.rows * matrix.columns);
    for (std::size_t row = 0; row < matrix.rows; ++row) {
      decode_row(matrix, row, values.data() + row * matrix.columns);
    }
    return values;
  }

  void visit(const std::vector<std::uint32_t>& experts) {
    ASSERT_TRUE(store_->begin(0, experts).ok());
    for (std::size_t seen = 0; seen < experts.size();) {
      const auto ready = store_->ready();
      ASSERT_TRUE(ready.ok()) << ready.status().message();
      ASSERT_FALSE(ready->empty());
      ASSERT_TRUE(store_->prepare(*ready, device_).ok());
      for (const std::uint32_t index : *ready) {
        const ExpertWeights weights = store_->weights(index);
        EXPECT_EQ(values(weights.gate), wanted("gate", experts[index])) << experts[index];
        EXPECT_EQ(values(weights.up), wanted("up", experts[index])) << experts[index];
        EXPECT_EQ(values(weights.down), wanted("down", experts[index])) << experts[index];
        ++seen;
      }
      ASSERT_TRUE(store_->release(*ready).ok());
    }
    store_->end();
    EXPECT_TRUE(reader_->violations.empty()) << reader_->violations.front();
  }

  Stored stored_;
  ExpertCatalogue catalogue_;
  std::unique_ptr<test::MemoryReader> reader_;
  std::unique_ptr<ExpertStore> store_;
  test::FakeDevice device_;
};

TEST_P(StoredExperts, AreTheNumbersOfTheFile) {
  for (const std::size_t alignment : {1, 512, 4096}) {
    for (const std::size_t capacity : {least(), 8 * least()}) {
      open(alignment, capacity);
      visit({3, 0});
      visit({0, 4, 1, 2, 3});
      visit({4, 3, 2});
      EXPECT_GT(store_->statistics().hits, 0u);
    }
  }
}

TEST_P(StoredExperts, AreRightAfterAVisitThatLeftThem) {
  open(512, std::size_t{1} << 20);
  ASSERT_TRUE(store_->begin(0, std::vector<std::uint32_t>{1, 2}).ok());
  ASSERT_TRUE(store_->ready().ok());
  store_->end();  // what was handed out was not even prepared
  visit({2, 1});
  EXPECT_EQ(store_->statistics().loads, 2u);
}

TEST_P(StoredExperts, TakeNoMoreRoomInPlaceThanInTheFile) {
  EXPECT_EQ(catalogue_.layers()[0].relaid(), !GetParam().in_place);
  if (!GetParam().in_place) return;
  const std::size_t six_slices_apart = catalogue_.layers()[0].expert_bytes() + 6 * 2 * 4096;
  EXPECT_LE(least(), 2 * (six_slices_apart + 4096));
}

TEST_P(StoredExperts, AllocateNothingOnTheirWay) {
  open(512, least());
  const std::vector<std::uint32_t> pairs[] = {{0, 1}, {2, 3}, {4, 0}};
  std::uint64_t counted = 0;
  for (int pass = 0; pass < 60; ++pass) {
    const std::uint64_t before = test::allocation_count();
    bool ok = store_->begin(0, pairs[pass % 3]).ok();
    while (ok) {
      const auto ready = store_->ready();
      ok = ready.ok() && !ready->empty();
      if (!ok) break;
      ok = store_->prepare(*ready, device_).ok() && store_->release(*ready).ok();
    }
    store_->end();
    if (pass >= 30) counted += test::allocation_count() - before;
  }
  EXPECT_EQ(counted, 0u);
  EXPECT_GT(store_->statistics().loads, 30u);
}

INSTANTIATE_TEST_SUITE_P(
    Kinds, StoredExperts,
    ::testing::Values(Kind{"halves", [] { return input_major(TensorType::kBF16, false); }, true},
                      Kind{"in_turn", [] { return input_major(TensorType::kF16, true); }, true},
                      Kind{"in_turn_f32", [] { return input_major(TensorType::kF32, true); }, true},
                      Kind{"fp8", [] { return fp8(TensorType::kF32); }, true},
                      Kind{"fp8_bf16_scales", [] { return fp8(TensorType::kBF16); }, true},
                      Kind{"split_mxfp4", split_mxfp4, false}),
    [](const auto& kind) { return std::string(kind.param.name); });

}  // namespace
}  // namespace sluice
