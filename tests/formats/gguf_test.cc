// GGUF files written by the test, right and wrong in every field.

#include "formats/gguf.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <functional>

#include "tests/formats/gguf_builder.h"
#include "tests/formats/temporary_folder.h"

namespace sluice {
namespace {

using test::GgufBuilder;
using test::raw;
using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

class GgufTest : public ::testing::Test {
 protected:
  Result<Checkpoint> open(const GgufBuilder& builder,
                          CheckpointParts parts = CheckpointParts::kEverything) {
    return open_checkpoint(folder_.write("m.gguf", builder.build()), parts);
  }
  void expect_error(const GgufBuilder& builder, ErrorCode code, const std::string& message) {
    const auto result = open(builder);
    ASSERT_FALSE(result.ok()) << message;
    EXPECT_EQ(result.status().code(), code) << result.status().message();
    EXPECT_THAT(result.status().message(), AllOf(HasSubstr("m.gguf"), HasSubstr(message)));
  }
  test::TemporaryFolder folder_;
};

TEST_F(GgufTest, EveryKindOfValueIsKeptOrSkipped) {
  GgufBuilder builder;
  builder.pair("llama.u8", 0, raw<std::uint8_t>(200));
  builder.pair("llama.i8", 1, raw<std::int8_t>(-100));
  builder.pair("llama.u16", 2, raw<std::uint16_t>(60000));
  builder.pair("llama.i16", 3, raw<std::int16_t>(-30000));
  builder.pair("llama.u32", 4, raw<std::uint32_t>(4000000000));
  builder.pair("llama.i32", 5, raw<std::int32_t>(-2000000000));
  builder.pair("llama.f32", 6, raw<float>(0.5f));
  builder.pair("llama.bool", 7, raw<std::uint8_t>(1));
  builder.pair("llama.text", 8, test::text("word"));
  builder.pair("llama.u64", 10, raw<std::uint64_t>(std::uint64_t{1} << 62));
  builder.pair("llama.i64", 11, raw<std::int64_t>(-(std::int64_t{1} << 62)));
  builder.pair("llama.f64", 12, raw<double>(0.1));
  builder.pair("llama.huge", 10, raw<std::uint64_t>(~std::uint64_t{0}));
  builder.add_list<std::int16_t>("llama.list", 3, {1, -2, 3});
  builder.add_list<float>("llama.reals", 6, {0.5f, -1.5f});
  builder.add_list<std::uint8_t>("llama.truths", 7, {1, 0});
  builder.add_texts("general.tags", {"a", "b"});
  builder.pair("llama.nested", 9,
               raw<std::uint32_t>(9) + raw<std::uint64_t>(2) + raw<std::uint32_t>(4) +
                   raw<std::uint64_t>(1) + raw<std::uint32_t>(7) + raw<std::uint32_t>(8) +
                   raw<std::uint64_t>(1) + test::text("in"));
  builder.add("general.name", "after the arrays");
  const auto file = open(builder);
  ASSERT_TRUE(file.ok()) << file.status().message();
  EXPECT_EQ(*file->integer("u8"), 200);
  EXPECT_EQ(*file->integer("i8"), -100);
  EXPECT_EQ(*file->integer("u16"), 60000);
  EXPECT_EQ(*file->integer("i16"), -30000);
  EXPECT_EQ(*file->integer("u32"), 4000000000);
  EXPECT_EQ(*file->integer("i32"), -2000000000);
  EXPECT_EQ(*file->real("f32"), 0.5);
  EXPECT_EQ(*file->real("i8"), -100.0);
  EXPECT_EQ(*file->boolean("bool"), true);
  EXPECT_EQ(*file->text("text"), "word");
  EXPECT_EQ(*file->integer("u64"), std::int64_t{1} << 62);
  EXPECT_EQ(*file->integer("i64"), -(std::int64_t{1} << 62));
  EXPECT_EQ(*file->real("f64"), 0.1);
  EXPECT_EQ(file->integer("huge").status().code(), ErrorCode::kCorrupt);
  EXPECT_THAT(**file->integers("list"), ElementsAre(1, -2, 3));
  EXPECT_THAT(**file->reals("list"), ElementsAre(1.0, -2.0, 3.0));
  EXPECT_THAT(**file->reals("reals"), ElementsAre(0.5, -1.5));
  EXPECT_THAT(**file->integers("truths"), ElementsAre(1, 0));
  EXPECT_EQ(*file->text("general.name"), "after the arrays");
  EXPECT_EQ(*file->integer("absent"), std::nullopt);
  EXPECT_THAT(file->integer("text").status().message(), HasSubstr("text"));
}

TEST_F(GgufTest, TensorsHaveShapesOutermostFirstAndRangesInTheFile) {
  for (const std::uint32_t version : {2u, 3u}) {
    GgufBuilder builder;
    builder.version = version;
    builder.tensor("token_embd.weight", {64, 320}, 0, 64 * 320 * 4);
    builder.tensor("blk.0.ffn_up_exps.weight", {64, 32, 5}, 8, 64 / 32 * 34 * 32 * 5);
    const std::string bytes = builder.build();
    const auto file = open(builder);
    ASSERT_TRUE(file.ok()) << file.status().message();
    EXPECT_EQ(file->container, "GGUF v" + std::to_string(version));
    const TensorInfo* tensor = file->find("blk.0.ffn_up_exps.weight");
    ASSERT_NE(tensor, nullptr);
    EXPECT_THAT(tensor->shape, ElementsAre(5, 32, 64));
    EXPECT_EQ(tensor->type, TensorType::kQ8_0);
    EXPECT_EQ(tensor->bytes(), 10880u);
    EXPECT_EQ(tensor->elements(), 10240u);
    EXPECT_EQ(bytes[tensor->ranges[0].offset], 'c');
    EXPECT_EQ(bytes[tensor->ranges[0].offset - 1], 'b');
    const FileRange slice = tensor->slice(3);
    EXPECT_EQ(slice.bytes, 2176u);
    EXPECT_EQ(slice.offset, tensor->ranges[0].offset + 3 * 2176);
    EXPECT_EQ(*file->integer("vocab_size"), 320);
  }
}

TEST_F(GgufTest, ExpertsThatAnOldFileKeepsApartBecomeOneTensor) {
  GgufBuilder builder;
  for (const char* expert : {"1", "0", "2", "10", "9", "8", "7", "6", "5", "4", "3"}) {
    builder.tensor("blk.4.ffn_gate." + std::string(expert) + ".weight", {32, 8}, 0, 1024);
  }
  const auto file = open(builder);
  ASSERT_TRUE(file.ok()) << file.status().message();
  const TensorInfo* tensor = file->find("blk.4.ffn_gate_exps.weight");
  ASSERT_NE(tensor, nullptr);
  EXPECT_THAT(tensor->shape, ElementsAre(11, 8, 32));
  ASSERT_EQ(tensor->ranges.size(), 11u);
  EXPECT_EQ(tensor->slice(1).offset + 1024, tensor->slice(0).offset);
  EXPECT_EQ(tensor->slice(10).offset, tensor->slice(1).offset + 3 * 1024);
  EXPECT_EQ(tensor->bytes(), 11u * 1024);
  EXPECT_EQ(file->tensors.size(), 1u);

  builder.tensors[4].name = "blk.4.ffn_gate.11.weight";
  expect_error(builder, ErrorCode::kCorrupt, "expert 9 is missing");
  builder.tensors[4].name = "blk.4.ffn_gate.0.weight";
  expect_error(builder, ErrorCode::kCorrupt, "expert 0 appears twice");
  builder.tensors[4].name = "blk.4.ffn_gate.9.weight";
  builder.tensors[4].extents = {8, 32};
  expect_error(builder, ErrorCode::kCorrupt, "another type or shape");
}

TEST_F(GgufTest, AFormatThatTheBuildLacksIsNamedWhereTheTensorIsNeeded) {
  GgufBuilder builder;
  builder.tensor("blk.0.attn_q.weight", {256, 2}, 40, 288);
  const auto file = open(builder);
  ASSERT_TRUE(file.ok()) << file.status().message();
  EXPECT_EQ(file->find("blk.0.attn_q.weight"), nullptr);
  const auto tensor = file->require("blk.0.attn_q.weight");
  EXPECT_EQ(tensor.status().code(), ErrorCode::kUnsupported);
  EXPECT_THAT(tensor.status().message(), HasSubstr("NVFP4"));
  EXPECT_EQ(file->require("blk.0.attn_k.weight").status().code(), ErrorCode::kNotFound);
}

TEST_F(GgufTest, TakesEveryFormatOfTheTable) {
  GgufBuilder builder;
  for (const TensorFormat& format : tensor_formats()) {
    if (find_gguf_format(static_cast<std::uint32_t>(format.type)) == nullptr) continue;
    builder.tensor(format.name, {2 * format.block_elements, 3},
                   static_cast<std::uint32_t>(format.type), 6 * format.block_bytes);
  }
  ASSERT_GT(builder.tensors.size(), 29u);
  const auto file = open(builder);
  ASSERT_TRUE(file.ok()) << file.status().message();
  EXPECT_TRUE(file->unreadable.empty());
  for (const GgufBuilder::Tensor& tensor : builder.tensors) {
    SCOPED_TRACE(tensor.name);
    const TensorInfo* found = file->find(tensor.name);
    ASSERT_NE(found, nullptr);
    const auto type = static_cast<TensorType>(tensor.type);
    EXPECT_EQ(found->type, type);
    EXPECT_EQ(found->bytes(), 6 * tensor_format(type).block_bytes);
  }
}

GgufBuilder plain() {
  GgufBuilder builder;
  builder.add("llama.block_count", 2u);
  builder.tensor("a", {32, 2}, 0, 256);
  builder.tensor("b", {32, 2}, 8, 68);
  return builder;
}

struct HostileField {
  const char* name;
  std::function<void(GgufBuilder&)> spoil;
  const char* message;
  ErrorCode code = ErrorCode::kCorrupt;
};

TEST_F(GgufTest, EachFieldMadeHostileIsNamedWithItsOffset) {
  constexpr std::uint64_t kHuge = ~std::uint64_t{0};
  ASSERT_TRUE(open(plain()).ok());
  const HostileField fields[] = {
      {"magic", [](auto& b) { b.magic = "GGML"; }, "magic at byte 0"},
      {"version 1", [](auto& b) { b.version = 1; }, "version at byte 4: GGUF version 1",
       ErrorCode::kUnsupported},
      {"version 4", [](auto& b) { b.version = 4; }, "version at byte 4", ErrorCode::kUnsupported},
      {"big-endian", [](auto& b) { b.version = 0x03000000; }, "big-endian",
       ErrorCode::kUnsupported},
      {"tensor count", [=](auto& b) { b.extra_tensors = kHuge - 2; }, "tensor count at byte 8"},
      {"pair count", [=](auto& b) { b.pair_count = kHuge; }, "key-value count at byte 16"},
      {"one pair too many", [](auto& b) { b.pair_count += 1; }, "at byte"},
      {"one tensor too many", [](auto& b) { b.extra_tensors = 1; }, "at byte"},
      {"kind", [](auto& b) { b.pair("llama.x", 13, raw<std::uint64_t>(0)); },
       "llama.x at byte 117: value kind 13"},
      {"empty key", [](auto& b) { b.pair("", 4, raw<std::uint32_t>(0)); }, "length of a key"},
      {"NUL in key", [](auto& b) { b.pair(std::string("a\0b", 3), 4, raw<std::uint32_t>(0)); },
       "NUL"},
      {"truth value", [](auto& b) { b.pair("llama.x", 7, raw<std::uint8_t>(2)); }, "truth value"},
      {"text length", [=](auto& b) { b.pair("llama.x", 8, raw(kHuge)); }, "llama.x at byte"},
      {"array length", [=](auto& b) { b.pair("llama.x", 9, raw<std::uint32_t>(0) + raw(kHuge)); },
       "cannot fit"},
      {"array of texts length",
       [=](auto& b) {
         b.pair("tokenizer.ggml.tokens", 9, raw<std::uint32_t>(8) + raw<std::uint64_t>(1000000));
       },
       "cannot fit"},
      {"array kind",
       [](auto& b) { b.pair("llama.x", 9, raw<std::uint32_t>(77) + raw<std::uint64_t>(0)); },
       "value kind 77"},
      {"array depth",
       [](auto& b) {
         std::string nested;
         for (int i = 0; i < 100; ++i) nested += raw<std::uint32_t>(9) + raw<std::uint64_t>(1);
         b.pair("llama.x", 9, nested);
       },
       "nested too deeply"},
      {"duplicate key", [](auto& b) { b.add("llama.block_count", 2u); }, "appears twice"},
      {"the same key without prefix", [](auto& b) { b.add("block_count", 2u); }, "appears twice"},
      {"architecture kind",
       [](auto& b) {
         b.add("general.architecture.x", 1u);
         b.tensors[0].name = "";
       },
       "length of a tensor's name"},
      {"alignment 0", [](auto& b) { b.add("general.alignment", 0u); }, "general.alignment 0"},
      {"alignment 24", [](auto& b) { b.add("general.alignment", 24u); },
       "power of two up to 1048576, as tensors need it: convert the model again"},
      {"alignment huge", [](auto& b) { b.add("general.alignment", 0x80000000u); }, "power of two"},
      {"alignment kind", [](auto& b) { b.add("general.alignment", "32"); }, "wrong kind"},
      {"block count", [](auto& b) { b.add("llama.expert_count", -1); }, "'expert_count' is -1"},
      {"used experts",
       [](auto& b) {
         b.add("llama.expert_count", 4u);
         b.add("llama.expert_used_count", 5u);
       },
       "'expert_used_count' is 5"},
      {"NaN", [](auto& b) { b.add("llama.rope.freq_base", std::stof("nan")); }, "rope.freq_base"},
      {"tensor's long name", [](auto& b) { b.tensors[0].name = std::string(256, 'n'); },
       "length of a tensor's name"},
      {"no dimensions", [](auto& b) { b.tensors[0].extents = {}; }, "'a', dimensions at byte"},
      {"five dimensions",
       [](auto& b) {
         b.tensors[0].extents = {1, 1, 1, 1, 1};
       },
       "dimensions"},
      {"extent 0",
       [](auto& b) {
         b.tensors[0].extents = {32, 0};
       },
       "extent at byte"},
      {"extents overflow",
       [](auto& b) {
         b.tensors[0].extents = {1u << 31, 1u << 31, 1u << 31};
       },
       "overflows"},
      {"bytes overflow", [](auto& b) { b.tensors[0].extents = {std::uint64_t{1} << 55}; },
       "overflows"},
      {"broken block",
       [](auto& b) {
         b.tensors[1].extents = {33, 2};
       },
       "whole blocks"},
      {"format", [](auto& b) { b.tensors[0].type = 4; }, "format at byte"},
      {"format huge", [](auto& b) { b.tensors[0].type = 0xffffffff; }, "number 4294967295"},
      {"odd offset", [](auto& b) { b.tensors[1].offset = 257; }, "not a multiple of 32"},
      {"offset huge", [](auto& b) { b.tensors[1].offset = kHuge - 31; }, "reach beyond"},
      {"offset at the end", [](auto& b) { b.tensors[1].offset = 320; }, "reach beyond"},
      {"overlap", [](auto& b) { b.tensors[1].offset = 224; }, "overlap"},
      {"same name", [](auto& b) { b.tensors[1].name = "a"; }, "'a' appears twice"},
      {"split number", [](auto& b) { b.add("split.no", std::uint16_t{3}); }, "split.no 3"},
      {"split count",
       [](auto& b) {
         b.add("split.no", std::uint16_t{0});
         b.add("split.count", 1000000u);
       },
       "split.count 1000000"},
  };
  for (const HostileField& field : fields) {
    SCOPED_TRACE(field.name);
    GgufBuilder builder = plain();
    field.spoil(builder);
    expect_error(builder, field.code, field.message);
  }
}

TEST_F(GgufTest, ATruncatedFileIsRefusedAtEveryByte) {
  GgufBuilder builder = plain();
  builder.add_texts("general.tags", {"one", "two"});
  builder.add_list<float>("llama.reals", 6, {0.5f, -1.5f});
  const std::string whole = builder.build();
  const std::size_t needed = whole.size() - 28;  // the padding after the last tensor is not
  for (std::size_t size = 0; size < needed; ++size) {
    const auto result = open_checkpoint(folder_.write("m.gguf", whole.substr(0, size)));
    ASSERT_FALSE(result.ok()) << size;
    ASSERT_EQ(result.status().code(), ErrorCode::kCorrupt) << result.status().message();
    ASSERT_THAT(result.status().message(), HasSubstr(" byte ")) << size;
  }
  EXPECT_TRUE(open_checkpoint(folder_.write("m.gguf", whole.substr(0, needed))).ok());
}

TEST_F(GgufTest, TheBundledModelCutShortIsRefusedWhereverTheCutIs) {
  const std::string whole =
      test::read_file(std::filesystem::path(SLUICE_SOURCE_DIR) / "models" / "tales.gguf");
  ASSERT_GT(whole.size(), 1000000u);
  const auto intact = open_checkpoint(folder_.write("m.gguf", whole));
  ASSERT_TRUE(intact.ok()) << intact.status().message();
  std::uint64_t data = whole.size();
  for (const auto& [name, tensor] : intact->tensors) {
    data = std::min(data, tensor.ranges[0].offset);
  }
  for (std::size_t size = 0; size < data; size += 97 + size % 61) {
    const auto result = open_checkpoint(folder_.write("m.gguf", whole.substr(0, size)));
    ASSERT_EQ(result.status().code(), ErrorCode::kCorrupt) << size;
    ASSERT_THAT(result.status().message(), HasSubstr(" byte ")) << size;
  }
  const auto cut = open_checkpoint(folder_.write("m.gguf", whole.substr(0, whole.size() - 4096)));
  EXPECT_THAT(cut.status().message(), HasSubstr("is the file whole?"));
}

TEST_F(GgufTest, EveryByteFlippedIsAnErrorOrAFileNeverACrash) {
  GgufBuilder builder = plain();
  builder.add("tokenizer.ggml.model", "gpt2");
  builder.add_texts("tokenizer.ggml.tokens", {"a", "b", "ab"});
  builder.add_texts("tokenizer.ggml.merges", {"a b"});
  builder.add_list<std::int32_t>("tokenizer.ggml.token_type", 5, {1, 1, 1});
  builder.add("tokenizer.ggml.eos_token_id", 2u);
  const std::string whole = builder.build();
  const std::size_t header = whole.size() - builder.data.size();
  int refused = 0;
  for (std::size_t i = 0; i < header; ++i) {
    for (const int change : {0x01, 0x80, 0xff}) {
      std::string spoilt = whole;
      spoilt[i] = static_cast<char>(spoilt[i] ^ change);
      if (!open_checkpoint(folder_.write("m.gguf", spoilt)).ok()) ++refused;
    }
  }
  EXPECT_GT(refused,
            static_cast<int>(header));  // far from all: a changed letter in a key is another key
}

TEST_F(GgufTest, SplitSetsAreOneCheckpoint) {
  const auto part = [&](int number, int count, int total) {
    GgufBuilder builder;
    builder.add("split.no", static_cast<std::uint16_t>(number));
    builder.add("split.count", static_cast<std::uint16_t>(count));
    builder.add("split.tensors.count", total);
    if (number == 0) builder.add("llama.block_count", 7u);
    builder.tensor("blk." + std::to_string(number) + ".attn_q.weight", {32, 2}, 0, 256);
    return builder;
  };
  const std::string first = folder_.path("m-00001-of-00003.gguf");
  const auto write = [&](int number, const GgufBuilder& builder) {
    folder_.write("m-0000" + std::to_string(number + 1) + "-of-00003.gguf", builder.build());
  };
  for (int i = 0; i < 3; ++i) write(i, part(i, 3, 3));
  const auto file = open_checkpoint(first);
  ASSERT_TRUE(file.ok()) << file.status().message();
  EXPECT_EQ(file->tensors.size(), 3u);
  EXPECT_EQ(file->files.size(), 3u);
  EXPECT_EQ(*file->integer("block_count"), 7);
  EXPECT_EQ(file->find("blk.2.attn_q.weight")->ranges[0].file, 2u);
  EXPECT_THAT(file->files[2], HasSubstr("m-00003-of-00003.gguf"));

  const auto error = [&] { return open_checkpoint(first).status().message(); };
  EXPECT_THAT(open_checkpoint(folder_.path("m-00002-of-00003.gguf")).status().message(),
              HasSubstr("open the first part"));
  write(2, part(1, 3, 3));
  EXPECT_THAT(error(), HasSubstr("says it is part 2 of 3"));
  write(2, part(2, 4, 3));
  EXPECT_THAT(error(), HasSubstr("part 3 of 4"));
  write(2, part(2, 3, 3));
  write(0, part(0, 3, 4));
  EXPECT_THAT(error(), HasSubstr("split.tensors.count is 4, but the parts hold 3"));
  write(0, part(0, 3, 3));
  GgufBuilder twice = part(2, 3, 3);
  twice.tensors[0].name = "blk.1.attn_q.weight";
  write(2, twice);
  EXPECT_THAT(error(), HasSubstr("appears twice"));
  std::filesystem::remove(folder_.path("m-00003-of-00003.gguf"));
  EXPECT_EQ(open_checkpoint(first).status().code(), ErrorCode::kNotFound);
  EXPECT_THAT(error(), HasSubstr("m-00003-of-00003.gguf"));
  EXPECT_TRUE(open_checkpoint(first, CheckpointParts::kTokenizerOnly).ok());
  folder_.write("renamed.gguf", part(0, 3, 3).build());
  EXPECT_THAT(open_checkpoint(folder_.path("renamed.gguf")).status().message(),
              HasSubstr("-00001-of-00003.gguf"));
}

TEST_F(GgufTest, WhatAnUnknownArchitectureSaysIsKept) {
  GgufBuilder builder;
  builder.add("llama.attention.head_count", 4u);
  std::string bytes = builder.build();
  for (std::size_t at; (at = bytes.find("llama")) != std::string::npos;) {
    bytes.replace(at, 5, "dream");
  }
  const auto file = open_checkpoint(folder_.write("m.gguf", bytes));
  ASSERT_TRUE(file.ok()) << file.status().message();
  EXPECT_EQ(file->architecture, "dream");
  EXPECT_EQ(*file->integer("attention.head_count"), 4);
  EXPECT_EQ(*file->boolean("rope.interleaved"), std::nullopt);
}

TEST_F(GgufTest, WhatIsNoFileIsNoFile) {
  EXPECT_EQ(open_checkpoint(folder_.path("absent.gguf")).status().code(), ErrorCode::kNotFound);
  EXPECT_EQ(open_checkpoint("/dev/null").status().code(), ErrorCode::kInvalidArgument);
  EXPECT_EQ(open_checkpoint(folder_.write("empty.gguf", "")).status().code(), ErrorCode::kCorrupt);
}

}  // namespace
}  // namespace sluice
