// A store says of its source what the source says of itself, and holds the same bytes.

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cctype>
#include <cstring>
#include <fstream>
#include <string>
#include <tuple>
#include <vector>

#include "formats/checkpoint.h"
#include "formats/checksum.h"
#include "formats/expert_tensors.h"
#include "formats/settings.h"
#include "formats/store_format.h"
#include "formats/store_header.h"
#include "tests/engine/oracles.h"
#include "tests/formats/temporary_folder.h"
#include "tests/support/test_data.h"
#include "tests/support/written_store.h"

namespace sluice {
namespace {

using test::TemporaryFolder;

std::string bytes_of(const Checkpoint& checkpoint, const FileRange& range) {
  std::ifstream stream(checkpoint.files.at(range.file), std::ios::binary);
  stream.seekg(static_cast<std::streamoff>(range.offset));
  std::string bytes(range.bytes, '\0');
  stream.read(bytes.data(), static_cast<std::streamsize>(range.bytes));
  EXPECT_TRUE(stream.good()) << checkpoint.files.at(range.file) << " at " << range.offset;
  return bytes;
}

std::string bytes_of(const Checkpoint& checkpoint, const std::vector<FileRange>& ranges) {
  std::string bytes;
  for (const FileRange& range : ranges) bytes += bytes_of(checkpoint, range);
  return bytes;
}

/// Members in turn, so that one that this test forgets has to be added here when the struct grows.
auto members(const AddedToken& token) {
  const auto& [id, text, special, lstrip, rstrip, single_word, normalized] = token;
  return std::tuple(id, text, special, lstrip, rstrip, single_word, normalized);
}
auto members(const NormalizeStep& step) {
  const auto& [kind, pattern, literal, content, left, right, only_spaces, by_cluster] = step;
  return std::tuple(kind, pattern, literal, content, left, right, only_spaces, by_cluster);
}
auto members(const SplitStep& step) {
  const auto& [pattern, literal, invert, behaviour] = step;
  return std::tuple(pattern, literal, invert, behaviour);
}
auto members(const StoredLayout& layout) {
  const auto& [code, type, rows, columns, offset, unit_stride, row_stride, column_stride,
               stored_columns, arithmetic, scales, scale_type, block_rows, block_columns] = layout;
  return std::tuple(code, type, rows, columns, offset, unit_stride, row_stride, column_stride,
                    stored_columns, arithmetic, scales.size(), scale_type, block_rows,
                    block_columns);
}
template <typename T>
auto all_members(const std::vector<T>& list) {
  std::vector<decltype(members(list[0]))> all;
  for (const T& element : list) all.push_back(members(element));
  return all;
}
std::vector<std::string> texts(const StringTable& table) {
  std::vector<std::string> all;
  for (std::size_t i = 0; i < table.size(); ++i) all.emplace_back(table[i]);
  return all;
}

void expect_equal(const TokenizerData& a, const TokenizerData& b) {
  EXPECT_EQ(a.model, b.model);
  EXPECT_EQ(a.unusable, b.unusable);
  EXPECT_EQ(a.warnings, b.warnings);
  EXPECT_EQ(texts(a.tokens), texts(b.tokens));
  EXPECT_EQ(a.kinds, b.kinds);
  ASSERT_EQ(a.scores.size(), b.scores.size());
  if (!a.scores.empty()) {
    EXPECT_EQ(std::memcmp(a.scores.data(), b.scores.data(), a.scores.size() * sizeof(float)), 0);
  }
  EXPECT_EQ(a.log_probabilities, b.log_probabilities);
  EXPECT_EQ(texts(a.merges), texts(b.merges));
  EXPECT_EQ(all_members(a.added), all_members(b.added));
  EXPECT_EQ(a.pre_tokenizer, b.pre_tokenizer);
  EXPECT_EQ(all_members(a.splits), all_members(b.splits));
  EXPECT_EQ(all_members(a.normalize), all_members(b.normalize));
  EXPECT_EQ(a.add_space_prefix, b.add_space_prefix);
  EXPECT_EQ(a.space_prefix_once, b.space_prefix_once);
  EXPECT_EQ(a.space_prefix_unless_there, b.space_prefix_unless_there);
  EXPECT_EQ(a.ignore_merges, b.ignore_merges);
  EXPECT_EQ(a.byte_fallback, b.byte_fallback);
  EXPECT_EQ(a.clean_spaces, b.clean_spaces);
  EXPECT_EQ(a.bos, b.bos);
  EXPECT_EQ(a.eos, b.eos);
  EXPECT_EQ(a.unknown, b.unknown);
  EXPECT_EQ(a.padding, b.padding);
  EXPECT_EQ(a.end_of_generation, b.end_of_generation);
  EXPECT_EQ(a.add_bos, b.add_bos);
  EXPECT_EQ(a.add_eos, b.add_eos);
  EXPECT_EQ(a.chat_template, b.chat_template);
}

void expect_equal(const TensorInfo& source, const TensorInfo& stored, const Checkpoint& from,
                  const Checkpoint& store) {
  EXPECT_EQ(source.type, stored.type) << source.name;
  EXPECT_EQ(source.shape, stored.shape) << source.name;
  EXPECT_EQ(bytes_of(from, source.ranges), bytes_of(store, stored.ranges)) << source.name;
  ASSERT_EQ(source.stored.has_value(), stored.stored.has_value()) << source.name;
  if (!source.stored) return;
  EXPECT_EQ(members(*source.stored), members(*stored.stored)) << source.name;
  EXPECT_EQ(source.ranges.size(), stored.ranges.size()) << source.name;
  EXPECT_EQ(bytes_of(from, source.stored->scales), bytes_of(store, stored.stored->scales))
      << source.name;
}

/// NaN is itself here.
bool same(const Setting& a, const Setting& b) {
  return a.index() == b.index() && (a == b || setting_text(a) == setting_text(b));
}

void expect_equal(const Checkpoint& source, const Checkpoint& store) {
  EXPECT_EQ(store.container, "Sluice store 1.0");
  EXPECT_EQ(source.architecture, store.architecture);
  EXPECT_EQ(source.setting_names, store.setting_names);
  ASSERT_EQ(source.settings.size(), store.settings.size());
  for (const auto& [key, value] : source.settings) {
    ASSERT_TRUE(store.settings.contains(key)) << key;
    EXPECT_TRUE(same(value, store.settings.at(key))) << key << ": " << setting_text(value);
  }
  expect_equal(source.tokenizer, store.tokenizer);
  ASSERT_EQ(source.tensors.size(), store.tensors.size());
  for (const auto& [name, tensor] : source.tensors) {
    ASSERT_NE(store.find(name), nullptr) << name;
    expect_equal(tensor, *store.find(name), source, store);
  }
}

/// What the format promises of places.
void expect_order(const Checkpoint& store) {
  std::uint64_t end = kStoreHeaderBytes;
  for (const CheckedBlock& block : store.blocks) {
    EXPECT_EQ(block.offset % kStoreBlockAlignment, 0u);
    EXPECT_GE(block.offset, end);
    EXPECT_LT(block.offset - end, kStoreBlockAlignment + (end == kStoreHeaderBytes ? 1 << 24 : 0));
    const std::string bytes = bytes_of(store, FileRange{block.file, block.offset, block.bytes});
    EXPECT_EQ(checksum(std::as_bytes(std::span(bytes))), block.checksum);
    end = block.offset + block.bytes;
  }
  for (const auto& [name, tensor] : store.tensors) {
    const auto layer = layer_of_experts(name);
    for (std::size_t i = 0; i < tensor.ranges.size(); ++i) {
      const CheckedBlock* const block = store.block_of(tensor.ranges[i]);
      ASSERT_NE(block, nullptr) << name;
      if (!layer) continue;
      // An expert is one block, which its three matrices share and fill.
      ASSERT_EQ(tensor.ranges.size(), tensor.shape[0]) << name;
      for (const std::string_view matrix : kExpertMatrices) {
        const TensorInfo* const other = store.find(expert_tensor_name(*layer, matrix));
        EXPECT_EQ(store.block_of(other->ranges[i]), block) << name << " " << i;
      }
    }
  }
}

class StoreRoundTrip : public ::testing::TestWithParam<std::string> {};

TEST_P(StoreRoundTrip, says_and_holds_what_the_source_does) {
  const auto path = test::test_data("oracle/" + GetParam());
  if (path.empty()) GTEST_SKIP() << "needs the whole test data";
  const auto source = open_checkpoint(path.string());
  ASSERT_TRUE(source.ok()) << source.status().message();
  const auto plan = plan_store(*source);
  ASSERT_TRUE(plan.ok()) << plan.status().message();
  const TemporaryFolder folder;
  const std::string bytes = test::written_store(*plan);
  const auto store = open_checkpoint(folder.write("a.gguf", bytes));  // the name says nothing
  ASSERT_TRUE(store.ok()) << store.status().message();
  expect_equal(*source, *store);
  expect_order(*store);

  const auto tokenizer = open_checkpoint(folder.path("a.gguf"), CheckpointParts::kTokenizerOnly);
  ASSERT_TRUE(tokenizer.ok()) << tokenizer.status().message();
  expect_equal(source->tokenizer, tokenizer->tokenizer);
  EXPECT_TRUE(tokenizer->tensors.empty());

  // Deterministic; and of a store the same store comes, but for what it was made of.
  EXPECT_EQ(plan_store(*source)->head, plan->head);
  const auto again = plan_store(*store);
  ASSERT_TRUE(again.ok()) << again.status().message();
  EXPECT_EQ(test::written_store(*again).substr(again->head.size()),
            bytes.substr(plan->head.size()));
}

INSTANTIATE_TEST_SUITE_P(Oracles, StoreRoundTrip, ::testing::ValuesIn(test::oracle_models()),
                         [](const auto& name) {
                           std::string text = name.param;
                           for (char& letter : text) letter = std::isalnum(letter) ? letter : '_';
                           return text;
                         });

/// A checkpoint of a tokenizer and one number.
TokenizerData there_and_back(Checkpoint source, const TemporaryFolder& folder) {
  source.files = {folder.write("number", "abcd")};
  source.tensors["number"] = {"number", TensorType::kF32, {1}, {{0, 0, 4}}};
  const auto plan = plan_store(source);
  EXPECT_TRUE(plan.ok()) << plan.status().message();
  const auto store = open_checkpoint(folder.write("t.slc", test::written_store(*plan)));
  EXPECT_TRUE(store.ok()) << store.status().message();
  return store.ok() ? store->tokenizer : TokenizerData();
}

TEST(StoredTokenizer, comes_back_as_it_was) {
  std::size_t seen = 0;
  for (const std::string name : {"tales", "llama2", "qwen3"}) {
    const auto path = test::test_data("tokenizers/" + name);
    if (path.empty()) continue;
    const TemporaryFolder folder;
    folder.write("tokenizer.json", test::read_gzip(path / "tokenizer.json.gz"));
    folder.write("tokenizer_config.json", test::read_file(path / "tokenizer_config.json"));
    const auto source = open_checkpoint(folder.path(), CheckpointParts::kTokenizerOnly);
    ASSERT_TRUE(source.ok()) << source.status().message();
    ASSERT_GT(source->tokenizer.tokens.size(), 1000u) << name;
    expect_equal(source->tokenizer, there_and_back(*source, folder));
    ++seen;
  }
  for (const std::string name : {"gpt-2", "llama-spm"}) {
    const auto path = test::test_data("tokenizers/vocab/ggml-vocab-" + name + ".gguf.gz");
    if (path.empty()) continue;
    const TemporaryFolder folder;
    const std::string file = folder.write("vocab.gguf", test::read_gzip(path));
    const auto source = open_checkpoint(file, CheckpointParts::kTokenizerOnly);
    ASSERT_TRUE(source.ok()) << source.status().message();
    ASSERT_GT(source->tokenizer.tokens.size(), 1000u) << name;
    expect_equal(source->tokenizer, there_and_back(*source, folder));
    ++seen;
  }
  EXPECT_GE(seen, 2u);  // what is bundled
}

TEST(StoredTokenizer, no_member_is_forgotten) {
  Checkpoint source;
  TokenizerData& data = source.tokenizer;
  data.model = TokenizerModel::kUnigram;
  data.unusable = "why";
  data.warnings = {"one", "two"};
  for (const std::string_view token : {"a", "", "\xff\x00z", "bb"}) data.tokens.push_back(token);
  data.kinds = {TokenKind::kNormal, TokenKind::kByte, TokenKind::kControl, TokenKind::kUnused};
  data.scores = {1.5f, -0.0f, 1e-40f, -1e30f};
  data.log_probabilities = {-0.1, -1e300};
  data.merges.push_back("a b");
  data.added = {{2, std::string("\xff\0z", 3), true, false, true, false, true},
                {3, "bb", false, true, false, true, false}};
  data.pre_tokenizer = "llama-bpe";
  data.splits = {{"\\s+", false, true, SplitStep::Behaviour::kContiguous},
                 {"x", true, false, SplitStep::Behaviour::kRemoved}};
  data.normalize = {{NormalizeStep::Kind::kCharacterMap, "", false, std::string("\0\xfe", 2), true,
                     false, true, false},
                    {NormalizeStep::Kind::kReplace, " ", true, "_", false, true, false, true}};
  data.bos = 0;
  data.padding = 3;
  data.end_of_generation = {1, 3};
  data.chat_template = "{{ messages }}";
  bool* const flags[] = {&data.add_space_prefix,
                         &data.space_prefix_once,
                         &data.space_prefix_unless_there,
                         &data.ignore_merges,
                         &data.byte_fallback,
                         &data.clean_spaces,
                         &data.add_bos,
                         &data.add_eos};
  const TemporaryFolder folder;
  for (bool* flag : flags) {
    *flag = true;
    expect_equal(data, there_and_back(source, folder));
    *flag = false;
  }
}

TEST(StorePlanTest, copies_fill_the_blocks_in_order) {
  const auto path = test::test_data("oracle/mixtral/model.gguf");
  if (path.empty()) GTEST_SKIP() << "needs the whole test data";
  const auto plan = plan_store(*open_checkpoint(path.string()));
  ASSERT_TRUE(plan.ok());
  ASSERT_EQ(plan->head.size() % kStoreBlockAlignment, 0u);
  std::size_t copy = 0;
  std::uint64_t end = plan->head.size();
  for (const StoreBlock& block : plan->blocks) {
    EXPECT_EQ(block.offset,
              (end + kStoreBlockAlignment - 1) / kStoreBlockAlignment * kStoreBlockAlignment);
    std::uint64_t at = block.offset;
    end = block.offset + block.bytes;
    for (; copy < plan->copies.size() && plan->copies[copy].to < end; ++copy) {
      EXPECT_GE(plan->copies[copy].to, at);
      EXPECT_LT(plan->copies[copy].to - at, kStoreRangeAlignment);
      EXPECT_EQ(plan->copies[copy].to % kStoreRangeAlignment, 0u);
      at = plan->copies[copy].to + plan->copies[copy].from.bytes;
    }
    EXPECT_EQ(at, end);
  }
  EXPECT_EQ(copy, plan->copies.size());
  EXPECT_EQ(plan->file_bytes, plan->table_offset + 8 * (plan->blocks.size() + 1));
}

TEST(StorePlanTest, refuses_what_it_cannot_copy) {
  Checkpoint source;
  source.files = {"m.gguf"};
  EXPECT_EQ(plan_store(source).status().code(), ErrorCode::kInvalidArgument);
  source.tensors["a"] = {"a", TensorType::kF32, {1}, {{0, 0, 4}}};
  EXPECT_TRUE(plan_store(source).ok());
  source.unreadable["b"] = "NVFP4";
  const auto refused = plan_store(source);
  EXPECT_EQ(refused.status().code(), ErrorCode::kUnsupported);
  EXPECT_THAT(refused.status().message(), ::testing::HasSubstr("tensor 'b' is in format NVFP4"));
}

}  // namespace
}  // namespace sluice
