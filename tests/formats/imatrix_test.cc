// Importance matrices: what llama.cpp writes in either form is read, what we write is the same, and
// nothing that a file says is believed before it is checked.

#include "formats/imatrix.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <limits>

#include "formats/imatrix_writer.h"
#include "tests/formats/gguf_builder.h"
#include "tests/formats/temporary_folder.h"

namespace sluice {
namespace {

using test::GgufBuilder;
using test::raw;
using ::testing::AllOf;
using ::testing::Each;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

constexpr float kNan = std::numeric_limits<float>::quiet_NaN();
constexpr float kInfinity = std::numeric_limits<float>::infinity();
constexpr const char* kGate = "blk.3.ffn_gate_exps.weight";
constexpr const char* kUp = "blk.3.ffn_up_exps.weight";
constexpr const char* kDown = "blk.3.ffn_down_exps.weight";

void add_floats(GgufBuilder& builder, std::string_view name, std::vector<std::uint64_t> extents,
                const std::vector<float>& numbers) {
  builder.tensor(name, std::move(extents), 0, numbers.size() * sizeof(float));
  std::memcpy(builder.data.data() + builder.tensors.back().offset, numbers.data(),
              numbers.size() * sizeof(float));
}

/// As llama-imatrix writes them.
GgufBuilder imatrix() {
  GgufBuilder builder;
  builder.add("general.type", "imatrix");
  builder.add_texts("imatrix.datasets", {"wiki.txt"});
  builder.add("imatrix.chunk_count", std::uint32_t{5});
  builder.add("imatrix.chunk_size", std::uint32_t{512});
  return builder;
}

void add_tensor(GgufBuilder& builder, const std::string& name, std::uint64_t columns,
                const std::vector<float>& sums, const std::vector<float>& counts) {
  add_floats(builder, name + ".in_sum2", {columns, sums.size() / columns}, sums);
  add_floats(builder, name + ".counts", {1, counts.size()}, counts);
}

std::string older_entry(const std::string& name, std::int32_t chunks,
                        const std::vector<float>& values) {
  std::string bytes = raw<std::int32_t>(static_cast<std::int32_t>(name.size())) + name +
                      raw(chunks) + raw<std::int32_t>(static_cast<std::int32_t>(values.size()));
  for (const float value : values) bytes += raw(value);
  return bytes;
}

std::string older_end(std::int32_t chunks, const std::string& text) {
  return raw(chunks) + raw<std::int32_t>(static_cast<std::int32_t>(text.size())) + text;
}

class ImatrixTest : public ::testing::Test {
 protected:
  Result<ImportanceMatrix> open(const std::string& bytes) {
    return ImportanceMatrix::open(folder_.write("im", bytes));
  }
  ImportanceMatrix opened(const std::string& bytes) {
    auto matrix = open(bytes);
    if (!matrix.ok()) throw std::runtime_error(matrix.status().message());
    return *std::move(matrix);
  }
  void expect_refused(const std::string& bytes, ErrorCode code, const std::string& message) {
    const auto matrix = open(bytes);
    ASSERT_FALSE(matrix.ok()) << message;
    EXPECT_EQ(matrix.status().code(), code) << matrix.status().message();
    EXPECT_THAT(matrix.status().message(), AllOf(HasSubstr("/im"), HasSubstr(message)));
  }
  /// It opens, and then what it says of the tensor cannot be used.
  void expect_unread(const std::string& bytes, std::uint64_t experts, std::uint64_t columns,
                     ErrorCode code, const std::string& message) {
    const auto read = opened(bytes).read(kDown, experts, columns);
    ASSERT_FALSE(read.ok()) << message;
    EXPECT_EQ(read.status().code(), code) << read.status().message();
    EXPECT_THAT(read.status().message(),
                AllOf(HasSubstr("/im"), HasSubstr(kDown), HasSubstr(message)));
  }
  test::TemporaryFolder folder_;
};

TEST_F(ImatrixTest, SumsAreDividedByTheirCounts) {
  GgufBuilder builder = imatrix();
  add_tensor(builder, kDown, 2, {1, 2, 30, 6}, {1, 4});
  add_floats(builder, std::string(kDown) + ".in_sum", {2, 2}, {-1, 1, 1, 1});
  add_floats(builder, std::string(kDown) + ".stats", {3}, {kNan, 1, 1});
  add_tensor(builder, "blk.3.attn_q.weight", 3, {3, 6, 9}, {3});
  const ImportanceMatrix matrix = opened(builder.build());
  EXPECT_EQ(matrix.size(), 2u);
  EXPECT_FALSE(matrix.has(kGate));
  const auto down = matrix.read(kDown, 2, 2);
  ASSERT_TRUE(down.ok()) << down.status().message();
  EXPECT_THAT(down->mean_squares, ElementsAre(1, 2, 7.5, 1.5));
  EXPECT_THAT(down->of(1), ElementsAre(7.5, 1.5));
  EXPECT_THAT(down->counts, ElementsAre(1, 4));
  const auto plain = matrix.read("blk.3.attn_q.weight", 1, 3);
  ASSERT_TRUE(plain.ok()) << plain.status().message();
  EXPECT_THAT(plain->mean_squares, ElementsAre(1, 2, 3));
}

TEST_F(ImatrixTest, AnExpertThatWasNotSeenHasTheMeanOfTheOthersRows) {
  GgufBuilder builder = imatrix();
  add_tensor(builder, kDown, 2, {1, 2, 0, 0, 7, 6}, {1, 0, 3});
  add_tensor(builder, kUp, 2, {0, 0, 0, 0}, {0, 0});
  const ImportanceMatrix matrix = opened(builder.build());
  const auto down = matrix.read(kDown, 3, 2);
  ASSERT_TRUE(down.ok()) << down.status().message();
  EXPECT_THAT(down->of(1), ElementsAre(2, 2));
  EXPECT_THAT(down->counts, ElementsAre(1, 0, 3));
  const auto up = matrix.read(kUp, 2, 2);
  ASSERT_TRUE(up.ok()) << up.status().message();
  EXPECT_THAT(up->mean_squares, Each(1.0f));
}

TEST_F(ImatrixTest, OneThatHasCountedNothingIsRefused) {
  GgufBuilder builder = imatrix();
  add_tensor(builder, kDown, 2, {0, 0, 0, 0, 0, 0}, {0, 0, 0});
  add_tensor(builder, kUp, 2, {0, 0, 0, 0}, {0});
  expect_refused(builder.build(), ErrorCode::kInvalidArgument, "all its counts are 0");
  add_tensor(builder, kGate, 2, {0, 0, 0, 0}, {0, 1});
  EXPECT_TRUE(open(builder.build()).ok());
}

TEST_F(ImatrixTest, SumsThatAreAllZerosAreRefusedWhereRowsWereCounted) {
  for (const float nothing : {0.0f, 1e-45f}) {
    GgufBuilder builder = imatrix();
    add_tensor(builder, kDown, 2, {nothing, 0, 0, nothing}, {3, 4});
    add_tensor(builder, kUp, 2, {nothing, 0, 0, 2}, {3, 4});
    add_tensor(builder, kGate, 2, {0, 0, 0, 0}, {0, 0});
    const ImportanceMatrix matrix = opened(builder.build());
    const auto down = matrix.read(kDown, 2, 2);
    ASSERT_FALSE(down.ok());
    EXPECT_THAT(down.status().message(), AllOf(HasSubstr("all sums"), HasSubstr(kDown)));
    EXPECT_TRUE(matrix.read(kUp, 2, 2).ok());
    EXPECT_TRUE(matrix.read(kGate, 2, 2).ok()) << "nobody took these experts";
    const std::string older = raw<std::int32_t>(1) + older_entry(kDown, 1, {nothing, 0});
    EXPECT_FALSE(opened(older).read(kDown, 1, 2).ok());
  }
}

TEST_F(ImatrixTest, OneCountIsOfAllMatrices) {
  GgufBuilder builder = imatrix();
  add_tensor(builder, kDown, 2, {2, 4, 6, 8}, {2});
  const auto down = opened(builder.build()).read(kDown, 2, 2);
  ASSERT_TRUE(down.ok()) << down.status().message();
  EXPECT_THAT(down->mean_squares, ElementsAre(1, 2, 3, 4));
  EXPECT_THAT(down->counts, ElementsAre(2, 2));
}

TEST_F(ImatrixTest, GateAndUpAreFoundWhereAFileHasThemFused) {
  GgufBuilder builder = imatrix();
  add_tensor(builder, "blk.3.ffn_gate_up_exps.weight", 2, {1, 2}, {1});
  const ImportanceMatrix matrix = opened(builder.build());
  for (const char* name : {kGate, kUp}) {
    EXPECT_TRUE(matrix.has(name));
    const auto read = matrix.read(name, 1, 2);
    ASSERT_TRUE(read.ok()) << read.status().message();
    EXPECT_THAT(read->mean_squares, ElementsAre(1, 2));
  }
  EXPECT_FALSE(matrix.has(kDown));
  EXPECT_FALSE(matrix.has("blk.4.ffn_up_exps.weight"));
}

TEST_F(ImatrixTest, TheOlderFormIsRead) {
  const std::string entries =
      raw<std::int32_t>(2) + older_entry(kDown, 2, {2, 4, 6, 8}) + older_entry(kUp, 0, {5, 7});
  for (const std::string& end : {std::string(), raw<std::int32_t>(2), older_end(2, "wiki.txt")}) {
    const ImportanceMatrix matrix = opened(entries + end);
    const auto down = matrix.read(kDown, 2, 2);
    ASSERT_TRUE(down.ok()) << down.status().message();
    EXPECT_THAT(down->mean_squares, ElementsAre(1, 2, 3, 4));
    EXPECT_THAT(down->counts, ElementsAre(0, 0));
    const auto up = matrix.read(kUp, 1, 2);
    ASSERT_TRUE(up.ok()) << up.status().message();
    EXPECT_THAT(up->mean_squares, ElementsAre(5, 7));
  }
}

TEST_F(ImatrixTest, WhatIsWrittenIsReadAgain) {
  const std::vector<ImportanceWriter::Entry> entries = {
      {kGate, 3, 5}, {kDown, 3, 2}, {"blk.3.attn_q.weight", 1, 9}};
  // Exact in float32, so that the means are those of double precision, rounded once.
  std::vector<std::vector<double>> sums;
  std::vector<std::vector<std::uint64_t>> counts;
  double next = 0;
  for (const ImportanceWriter::Entry& entry : entries) {
    sums.emplace_back(entry.experts * entry.columns);
    for (double& sum : sums.back()) sum = next += 0.375;
    counts.emplace_back(entry.experts);
    for (std::uint64_t& count : counts.back()) count = 3 + static_cast<std::uint64_t>(next);
  }
  std::string bytes;
  ImportanceWriter writer([&](std::span<const std::byte> part) {
    bytes.append(reinterpret_cast<const char*>(part.data()), part.size());
    return Status();
  });
  ASSERT_TRUE(writer.begin(entries, {.name = "tales", .chunks = 7, .chunk_size = 512}).ok());
  for (std::size_t i = 0; i < entries.size(); ++i) {
    EXPECT_NE(bytes.size(), 0u);
    EXPECT_EQ(bytes.size() % 32, 0u);
    ASSERT_TRUE(writer.add(sums[i], counts[i]).ok());
  }
  const ImportanceMatrix matrix = opened(bytes);
  EXPECT_EQ(matrix.size(), entries.size());
  for (std::size_t i = 0; i < entries.size(); ++i) {
    const auto read = matrix.read(entries[i].tensor, entries[i].experts, entries[i].columns);
    ASSERT_TRUE(read.ok()) << read.status().message();
    for (std::size_t at = 0; at < sums[i].size(); ++at) {
      const std::uint64_t count = counts[i][at / entries[i].columns];
      EXPECT_EQ(read->counts[at / entries[i].columns], static_cast<float>(count));
      EXPECT_EQ(read->mean_squares[at],
                static_cast<float>(sums[i][at]) / static_cast<float>(count));
    }
  }
}

TEST_F(ImatrixTest, WhatIsNoNumberIsNotWritten) {
  for (const double wrong : {std::nan(""), double{kInfinity}, 1e39}) {
    ImportanceWriter writer([](std::span<const std::byte>) { return Status(); });
    const ImportanceWriter::Entry entry{kDown, 2, 2};
    ASSERT_TRUE(writer.begin({&entry, 1}, {}).ok());
    const std::vector<double> sums = {1, 1, 1, wrong};
    const std::vector<std::uint64_t> counts = {1, 1};
    const Status status = writer.add(sums, counts);
    EXPECT_EQ(status.code(), ErrorCode::kCorrupt);
    EXPECT_THAT(status.message(), AllOf(HasSubstr(kDown), HasSubstr("expert 1")));
  }
}

TEST_F(ImatrixTest, AFullDiskIsTheWritersError) {
  for (int room = 0; room < 4; ++room) {
    int left = room;
    ImportanceWriter writer([&](std::span<const std::byte>) {
      return left-- > 0 ? Status() : Status(ErrorCode::kIo, "full");
    });
    const ImportanceWriter::Entry entry{kDown, 1, 2};
    const std::vector<double> sums = {1, 1};
    const std::vector<std::uint64_t> counts = {1};
    Status status = writer.begin({&entry, 1}, {});
    if (status.ok()) status = writer.add(sums, counts);
    EXPECT_EQ(status.code(), ErrorCode::kIo) << room;
  }
}

TEST_F(ImatrixTest, OtherFilesAreRefused) {
  expect_refused("", ErrorCode::kCorrupt, "magic");
  expect_refused("Once upon a time, there was a fox.", ErrorCode::kInvalidArgument,
                 "no importance matrix");
  GgufBuilder model;
  add_tensor(model, kDown, 2, {1, 1}, {1});
  expect_refused(model.build(), ErrorCode::kInvalidArgument, "general.type");
  model.add("general.type", "model");
  expect_refused(model.build(), ErrorCode::kInvalidArgument, "'model'");
  GgufBuilder empty = imatrix();
  expect_refused(empty.build(), ErrorCode::kCorrupt, "no tensor");
  add_floats(empty, std::string(kDown) + ".stats", {2}, {1, 1});
  expect_refused(empty.build(), ErrorCode::kCorrupt, "no tensor");
  EXPECT_EQ(ImportanceMatrix::open(folder_.path("nowhere")).status().code(), ErrorCode::kNotFound);
}

TEST_F(ImatrixTest, TensorsThatContradictEachOtherAreRefused) {
  const std::string sums = std::string(kDown) + ".in_sum2", counts = std::string(kDown) + ".counts";
  GgufBuilder builder = imatrix();
  add_floats(builder, sums, {2, 3}, {1, 1, 1, 1, 1, 1});
  expect_refused(builder.build(), ErrorCode::kCorrupt, kDown);
  GgufBuilder uneven = builder;
  add_floats(uneven, counts, {1, 4}, {1, 1, 1, 1});
  expect_refused(uneven.build(), ErrorCode::kCorrupt, "4 counts");
  GgufBuilder halves = builder;
  halves.tensor(counts, {1, 3}, 1, 6);  // F16
  expect_refused(halves.build(), ErrorCode::kCorrupt, "not F32");
  GgufBuilder twice = builder;
  add_floats(twice, sums, {2, 3}, {1, 1, 1, 1, 1, 1});
  expect_refused(twice.build(), ErrorCode::kCorrupt, "twice");
  GgufBuilder alone = imatrix();
  add_floats(alone, counts, {1, 3}, {1, 1, 1});
  expect_refused(alone.build(), ErrorCode::kCorrupt, kDown);
}

TEST_F(ImatrixTest, OfAnotherModelItIsToldByItsExtents) {
  GgufBuilder builder = imatrix();
  add_tensor(builder, kDown, 4, std::vector<float>(12, 1.0f), {1, 1, 1});
  const std::uint64_t huge = std::uint64_t{1} << 63;
  for (const auto& [experts, columns] : std::vector<std::pair<std::uint64_t, std::uint64_t>>{
           {4, 3}, {6, 2}, {3, 5}, {2, 4}, {0, 4}, {3, 0}, {huge, 8}, {12, huge}, {huge, huge}}) {
    expect_unread(builder.build(), experts, columns, ErrorCode::kInvalidArgument, "another model");
  }
  const auto none = opened(builder.build()).read(kUp, 3, 4);
  EXPECT_EQ(none.status().code(), ErrorCode::kNotFound);
  EXPECT_THAT(none.status().message(), HasSubstr(kUp));
}

TEST_F(ImatrixTest, NumbersThatCannotBeAreRefused) {
  for (const float wrong : {kNan, kInfinity, -1.0f, -1e-30f}) {
    GgufBuilder sums = imatrix();
    add_tensor(sums, kDown, 2, {1, 1, 1, wrong}, {1, 1});
    expect_unread(sums.build(), 2, 2, ErrorCode::kCorrupt, "number 3");
    GgufBuilder counts = imatrix();
    add_tensor(counts, kDown, 2, {1, 1, 1, 1}, {1, wrong});
    expect_unread(counts.build(), 2, 2, ErrorCode::kCorrupt, "number 1");
    expect_unread(raw<std::int32_t>(1) + older_entry(kDown, 1, {1, wrong}), 1, 2,
                  ErrorCode::kCorrupt, "number 1");
  }
  GgufBuilder parts = imatrix();
  add_tensor(parts, kDown, 2, {1, 1}, {0.5f});
  expect_unread(parts.build(), 1, 2, ErrorCode::kCorrupt, "number of rows");
}

TEST_F(ImatrixTest, TheOlderFormsFieldsAreChecked) {
  const auto refuse = [&](const std::string& bytes, const std::string& field) {
    expect_refused(bytes, ErrorCode::kCorrupt, field);
  };
  const std::string one = raw<std::int32_t>(1), room(64, 'x');
  const std::string name = raw<std::int32_t>(1) + "a";
  for (const std::int32_t count : {0, -1, std::numeric_limits<std::int32_t>::max()}) {
    expect_refused(raw(count) + older_entry(kDown, 1, {1}), ErrorCode::kInvalidArgument,
                   "no importance matrix");
  }
  for (const std::int32_t length : {0, -1, 256}) refuse(one + raw(length) + room, "length");
  refuse(one + raw<std::int32_t>(2) + std::string("a\0", 2) + room, "NUL");
  refuse(one + name + raw<std::int32_t>(-1) + room, "chunks of 'a'");
  for (const std::int32_t values : {0, -1}) {
    refuse(one + name + one + raw(values) + room, "number of values of 'a'");
  }
  refuse(one + name + one + raw(std::numeric_limits<std::int32_t>::max()) + room, "values of 'a'");
  refuse(raw<std::int32_t>(2) + older_entry(kUp, 1, {1, 2}) + older_entry(kUp, 1, {1, 2}), "twice");
  refuse(one + older_entry(kUp, 1, {1, 2}) + older_end(1, "wiki") + "x", "text's name");
  refuse(one + older_entry(kUp, 1, {1, 2}) + one + raw<std::int32_t>(-4), "text's name");
}

/// Nothing worse than a refusal comes of a file that is cut anywhere or wrong in any byte.
TEST_F(ImatrixTest, DamageDoesNoHarm) {
  GgufBuilder builder = imatrix();
  add_tensor(builder, kDown, 2, {1, 2, 3, 4}, {1, 0});
  const std::string older = raw<std::int32_t>(2) + older_entry(kDown, 2, {2, 4, 6, 8}) +
                            older_entry(kUp, 1, {5, 7}) + older_end(2, "wiki.txt");
  for (const std::string& whole : {builder.build(), older}) {
    const auto use = [&](const std::string& bytes) {
      const auto matrix = open(bytes);
      if (!matrix.ok()) return false;
      for (const char* name : {kDown, kUp}) {
        for (const std::uint64_t experts : {1, 2}) {
          const auto read = matrix->read(name, experts, 2);
          if (!read.ok()) continue;
          EXPECT_EQ(read->counts.size(), experts);
          EXPECT_EQ(read->mean_squares.size(), experts * 2);
          for (const float mean : read->mean_squares) EXPECT_TRUE(std::isfinite(mean) && mean >= 0);
        }
      }
      return true;
    };
    EXPECT_TRUE(use(whole));
    for (std::size_t size = 0; size < whole.size(); ++size) use(whole.substr(0, size));
    for (std::size_t at = 0; at < whole.size(); ++at) {
      for (const int change : {0x01, 0x80, 0xff}) {
        std::string wrong = whole;
        wrong[at] = static_cast<char>(wrong[at] ^ change);
        use(wrong);
      }
    }
  }
}

TEST_F(ImatrixTest, AFileThatBecomesShorterIsNoticed) {
  GgufBuilder builder = imatrix();
  add_tensor(builder, kDown, 2, {1, 2, 3, 4}, {1, 1});
  const std::string whole = builder.build();
  const ImportanceMatrix matrix = opened(whole);
  for (const std::size_t size : {whole.size() - 60, std::size_t{16}}) {
    folder_.write("im", whole.substr(0, size));
    EXPECT_EQ(matrix.read(kDown, 2, 2).status().code(), ErrorCode::kCorrupt);
  }
}

}  // namespace
}  // namespace sluice
