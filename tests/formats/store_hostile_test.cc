// Stores that are cut off, damaged, or made to do harm: a clear error, and never more.

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstring>
#include <functional>
#include <random>
#include <string>
#include <vector>

#include <nlohmann/json.hpp>

#include "formats/cbor.h"
#include "formats/checkpoint.h"
#include "formats/checksum.h"
#include "formats/store_codec.h"
#include "formats/store_header.h"
#include "formats/stored_layout.h"
#include "tests/formats/gguf_builder.h"
#include "tests/formats/temporary_folder.h"
#include "tests/support/written_store.h"

namespace sluice {
namespace {

using nlohmann::json;
using ::testing::HasSubstr;

/// Two layers, one of experts; a tokenizer.
std::string small_source() {
  test::GgufBuilder builder("qwen3moe");
  builder.add("qwen3moe.block_count", std::uint32_t{2});
  builder.add("qwen3moe.expert_count", std::uint32_t{3});
  builder.add("qwen3moe.rope.freq_base", 10000.0f);
  builder.add("tokenizer.ggml.model", "gpt2");
  builder.add_texts("tokenizer.ggml.tokens", {"a", "b", "ab"});
  builder.add_texts("tokenizer.ggml.merges", {"a b"});
  builder.tensor("token_embd.weight", {32, 3}, 0, 384);
  builder.tensor("blk.0.attn_norm.weight", {32}, 0, 128);
  builder.tensor("blk.1.ffn_gate_exps.weight", {32, 2, 3}, 8, 204);
  builder.tensor("blk.1.ffn_up_exps.weight", {32, 2, 3}, 8, 204);
  builder.tensor("blk.1.ffn_down_exps.weight", {32, 32, 3}, 8, 3264);
  return builder.build();
}

class HostileStore : public ::testing::Test {
 protected:
  void SetUp() override {
    const auto source = open_checkpoint(folder_.write("source.gguf", small_source()));
    ASSERT_TRUE(source.ok()) << source.status().message();
    const auto plan = plan_store(*source);
    ASSERT_TRUE(plan.ok()) << plan.status().message();
    store_ = test::written_store(*plan);
    head_bytes_ = plan->head.size();
    table_offset_ = plan->table_offset;
    ASSERT_TRUE(open(store_).ok());
  }

  Result<Checkpoint> open(const std::string& bytes) const {
    return open_checkpoint(folder_.write("a.slc", bytes));
  }

  StoreHeader header() const {
    std::array<std::byte, kStoreHeaderBytes> bytes;
    std::memcpy(bytes.data(), store_.data(), bytes.size());
    return *decode_store_header(bytes, store_.size());
  }

  std::string index_bytes() const { return store_.substr(kStoreHeaderBytes, header().index_bytes); }

  /// The store with another index, and every checksum right.
  std::string with_index(const std::string& index) const {
    StoreHeader head = header();
    const std::size_t first = (kStoreHeaderBytes + index.size() + 4095) / 4096 * 4096;
    head.file_bytes = store_.size() - head_bytes_ + first;
    head.table_offset = table_offset_ - head_bytes_ + first;
    head.index_bytes = index.size();
    head.index_checksum = checksum(std::as_bytes(std::span(index)));
    std::string bytes(first, '\0');
    const StoreHeaderBytes encoded = encode(head);
    std::memcpy(bytes.data(), encoded.data(), encoded.size());
    std::memcpy(bytes.data() + kStoreHeaderBytes, index.data(), index.size());
    return bytes + store_.substr(head_bytes_);
  }
  std::string with_index(const json& index) const {
    const std::vector<std::uint8_t> cbor = json::to_cbor(index);
    return with_index(std::string(cbor.begin(), cbor.end()));
  }
  json index() const { return json::from_cbor(index_bytes()); }

  std::string with_header(const StoreHeader& head) const {
    std::string bytes = store_;
    const StoreHeaderBytes encoded = encode(head);
    std::memcpy(bytes.data(), encoded.data(), encoded.size());
    return bytes;
  }

  test::TemporaryFolder folder_;
  std::string store_;
  std::size_t head_bytes_ = 0;
  std::size_t table_offset_ = 0;
};

TEST_F(HostileStore, cut_off_anywhere_is_an_error) {
  std::vector<std::size_t> lengths = {0,
                                      1,
                                      7,
                                      8,
                                      12,
                                      16,
                                      63,
                                      64,
                                      71,
                                      72,
                                      4095,
                                      4096,
                                      4097,
                                      5000,
                                      head_bytes_ - 1,
                                      head_bytes_,
                                      head_bytes_ + 1,
                                      table_offset_ - 1,
                                      table_offset_,
                                      table_offset_ + 8,
                                      store_.size() - 9,
                                      store_.size() - 8,
                                      store_.size() - 1};
  for (std::size_t length = 100; length < store_.size(); length += 997) lengths.push_back(length);
  for (const std::size_t length : lengths) {
    const auto opened = open(store_.substr(0, length));
    ASSERT_FALSE(opened.ok()) << length;
    EXPECT_EQ(opened.status().code(), ErrorCode::kCorrupt) << length;
    EXPECT_THAT(opened.status().message(), HasSubstr("a.slc: ")) << length;
    if (length >= kStoreHeaderBytes) {
      EXPECT_THAT(opened.status().message(), HasSubstr("not copied whole"));
    }
  }
  EXPECT_THAT(open(store_ + "x").status().message(), HasSubstr("should have"));
}

TEST_F(HostileStore, every_flipped_bit_of_header_index_and_table_is_found) {
  const auto flip_all = [&](std::size_t begin, std::size_t end, std::size_t bits) {
    for (std::size_t at = begin; at < end; ++at) {
      for (std::size_t bit = bits == 1 ? 0 : at % 8; bit < 8; bit += bits) {
        std::string bytes = store_;
        bytes[at] = static_cast<char>(bytes[at] ^ (1 << bit));
        ASSERT_FALSE(open(bytes).ok()) << "bit " << bit << " of byte " << at;
      }
    }
  };
  flip_all(0, 80, 1);
  flip_all(80, kStoreHeaderBytes, 8);
  flip_all(kStoreHeaderBytes, kStoreHeaderBytes + header().index_bytes, 8);
  flip_all(table_offset_, store_.size(), 1);
}

TEST_F(HostileStore, a_newer_one_is_refused_politely) {
  StoreHeader head = header();
  head.major = 2;
  const auto newer = open(with_header(head));
  EXPECT_EQ(newer.status().code(), ErrorCode::kUnsupported);
  EXPECT_THAT(newer.status().message(),
              HasSubstr("made by a newer Sluice (store version 2.0, this one reads 1.x)"));
  head.major = 1;
  head.minor = 7;
  const auto minor = open(with_header(head));
  ASSERT_TRUE(minor.ok()) << minor.status().message();
  EXPECT_EQ(minor->container, "Sluice store 1.7");
  json more = index();
  more["something_new"] = {{"of", 1.7}};
  more["tensors"]["token_embd.weight"]["worth"] = 3;
  EXPECT_TRUE(open(with_index(more)).ok());
}

TEST_F(HostileStore, places_in_the_header_are_checked) {
  const std::uint64_t huge = ~std::uint64_t{0};
  const auto refused = [&](std::function<void(StoreHeader&)> change, const char* message) {
    StoreHeader head = header();
    change(head);
    const auto opened = open(with_header(head));
    ASSERT_FALSE(opened.ok()) << message;
    EXPECT_THAT(opened.status().message(), HasSubstr(message));
  };
  for (const std::uint64_t wrong : {std::uint64_t{0}, huge, huge - 4095, store_.size() + 1}) {
    refused([&](StoreHeader& head) { head.index_offset = wrong; }, "index at byte 24");
    refused([&](StoreHeader& head) { head.table_offset = wrong; }, "table at byte 40");
    if (wrong == 0) continue;
    refused([&](StoreHeader& head) { head.index_bytes = wrong; }, "index at byte 24");
    refused([&](StoreHeader& head) { head.table_bytes = wrong; }, "table at byte 40");
  }
  refused([](StoreHeader& head) { head.index_bytes -= 1; }, "does not fit its checksum");
  refused([](StoreHeader& head) { head.major = 0; }, "version at byte 8");
  refused(
      [](StoreHeader& head) {
        head.table_offset += 8;
        head.table_bytes -= 8;
      },
      "do not fit");
}

TEST_F(HostileStore, what_the_index_says_is_checked) {
  struct Case {
    std::function<void(json&)> change;
    const char* message;
  };
  const std::uint64_t huge = ~std::uint64_t{0};
  const auto tensor = [](json& index, const char* name) -> json& { return index["tensors"][name]; };
  const auto embedding = [&](json& index) -> json& { return tensor(index, "token_embd.weight"); };
  const auto layout = [&](json& index) -> json& {
    json& entry = embedding(index);
    entry["stored"] = {{"code", "type"},      {"type", "F32"},      {"rows", 3},
                       {"columns", 32},       {"offset", 0},        {"unit_stride", 96},
                       {"row_stride", 32},    {"column_stride", 1}, {"stored_columns", 32},
                       {"arithmetic", "none"}};
    return entry["stored"];
  };
  const auto f8 = [&](json& index) -> json& {
    json& entry = embedding(index);
    json& stored = layout(index);
    entry["shape"] = {2, 32};
    entry["ranges"] = {embedding(index)["ranges"][0], 64};
    stored["rows"] = 2;
    stored["code"] = "f8_e4m3";
    stored["scales"] = {entry["ranges"][0], 8};
    stored["scale_type"] = "F32";
    stored["block_rows"] = 1;
    stored["block_columns"] = 32;
    return stored;
  };
  json sound = index();
  layout(sound);
  ASSERT_TRUE(open(with_index(sound)).ok()) << open(with_index(sound)).status().message();
  sound = index();
  f8(sound);
  ASSERT_TRUE(open(with_index(sound)).ok()) << open(with_index(sound)).status().message();

  const Case cases[] = {
      {[](json& i) { i = json::array(); }, "is not a map"},
      {[](json& i) { i.erase("tensors"); }, "has no 'tensors'"},
      {[](json& i) { i["architecture"] = 3; }, "'architecture': is not a text"},
      {[](json& i) { i["settings"]["block_count"] = std::int64_t{1} << 40; }, "block_count"},
      {[&](json& i) { i["settings"]["block_count"] = huge; }, "not an integer of 64 bits"},
      {[](json& i) { i["settings"]["block_count"] = "two"; }, "block_count"},
      {[](json& i) { i["settings"]["expert_used_count"] = 4; }, "expert_used_count"},
      {[](json& i) { i["settings"]["x"] = json::object(); }, "has no 'integers'"},
      {[](json& i) {
         i["settings"]["x"] = {{"integers", {1, 2.5}}};
       },
       "settings.x"},
      {[](json& i) { i["blocks"][0] = 96; }, "multiple of 64"},
      {[](json& i) { i["blocks"][2] = i["blocks"][0]; }, "multiple of 64"},
      {[](json& i) { i["blocks"][1] = 5000; }, "multiple of 64"},
      {[&](json& i) { i["blocks"][1] = huge; }, "blocks"},
      {[](json& i) { i["blocks"].erase(0); }, "does not hold pairs"},
      {[](json& i) { i["blocks"].push_back(0.5); }, "other than numbers"},
      {[](json& i) {
         i["blocks"] = json::array({0, 384});
       },
       "not in one block"},
      {[&](json& i) { embedding(i)["type"] = "Q9_Z"; }, "'Q9_Z' is no number format"},
      {[&](json& i) { embedding(i)["type"] = "Q8_0"; }, "token_embd.weight"},
      {[&](json& i) {
         embedding(i)["shape"] = {4, 32};
       },
       "where type and shape make"},
      {[&](json& i) {
         embedding(i)["shape"] = {0, 32};
       },
       "dimension is 0"},
      {[&](json& i) {
         embedding(i)["shape"] = {huge, huge};
       },
       "overflows"},
      {[&](json& i) {
         embedding(i)["shape"] = {-3, 32};
       },
       "numbers from 0 on"},
      {[&](json& i) { embedding(i)["shape"] = json::array(); }, "1 to 8 extents"},
      {[&](json& i) { embedding(i)["ranges"] = json::array(); }, "does not hold pairs"},
      {[&](json& i) { embedding(i)["ranges"][0] = huge; }, "tensors.token_embd.weight.ranges"},
      {[&](json& i) { embedding(i)["ranges"][1] = 0; }, "tensors.token_embd.weight.ranges"},
      {[&](json& i) {
         embedding(i)["ranges"] = {1 << 20, 384};
       },
       "token_embd.weight.ranges"},
      {[&](json& i) { embedding(i)["ranges"][1] = 4000; }, "not in one block"},
      {[&](json& i) { layout(i)["code"] = "planes"; }, "nothing that this version knows"},
      {[&](json& i) { layout(i)["rows"] = 0; }, "rows and columns"},
      {[&](json& i) { layout(i)["rows"] = huge; }, "rows and columns"},
      {[&](json& i) { layout(i)["rows"] = 5; }, "rows and columns"},
      {[&](json& i) { layout(i)["columns"] = huge / 2; }, "rows and columns"},
      {[&](json& i) { layout(i)["offset"] = huge; }, "strides are out of range"},
      {[&](json& i) { layout(i)["offset"] = 1; }, "its range holds 384 bytes"},
      {[&](json& i) { layout(i)["row_stride"] = std::uint64_t{1} << 63; }, "strides"},
      {[&](json& i) { layout(i)["row_stride"] = 33; }, "its range holds 384 bytes"},
      {[&](json& i) { layout(i)["scales"] = embedding(i)["ranges"]; }, "scale_type"},
      {[&](json& i) { f8(i)["block_rows"] = 0; }, "out of range"},
      {[&](json& i) { f8(i)["block_columns"] = huge; }, "out of range"},
      {[&](json& i) { f8(i)["stored_columns"] = 0; }, "out of range"},
      {[&](json& i) { f8(i)["scale_type"] = "Q8_0"; }, "scales are floats"},
      {[&](json& i) { f8(i)["columns"] = 16; }, "rows and columns"},
      {[&](json& i) {
         f8(i)["scales"] = {embedding(i)["ranges"][0], 4};
       },
       "its range holds"},
      {[&](json& i) { f8(i)["code"] = "split_mxfp4"; }, "MXFP4 stays"},
      {[](json& i) { i["tokenizer"]["model"] = "future"; }, "nothing that this version knows"},
      {[](json& i) { i["tokenizer"]["eos"] = 3; }, "tokenizer.eos"},
      {[](json& i) {
         i["tokenizer"]["tokens"]["lengths"] = json::binary({1, 0, 0});
       },
       "whole numbers"},
      {[](json& i) {
         i["tokenizer"]["tokens"]["lengths"] = json::binary({9, 0, 0, 0});
       },
       "not as long"},
      {[](json& i) {
         i["tokenizer"]["tokens"]["lengths"] = json::binary({255, 255, 255, 255});
       },
       "where at most"},
      {[](json& i) {
         i["tokenizer"]["kinds"] = json::binary({1, 9, 1});
       },
       "kinds"},
      {[](json& i) {
         i["tokenizer"]["kinds"] = json::binary({1, 1});
       },
       "not for 3 tokens"},
  };
  for (const Case& one : cases) {
    json changed = index();
    one.change(changed);
    const auto opened = open(with_index(changed));
    ASSERT_FALSE(opened.ok()) << one.message;
    EXPECT_THAT(opened.status().message(), HasSubstr(one.message));
    EXPECT_THAT(opened.status().message(), HasSubstr("a.slc: "));
  }
}

/// Whatever comes through, its tensors can be decoded.
void use(const Checkpoint& checkpoint, const std::string& bytes) {
  const auto part = [&](const FileRange& range) {
    return std::as_bytes(std::span(bytes)).subspan(range.offset, range.bytes);
  };
  for (const auto& [name, tensor] : checkpoint.tensors) {
    for (std::size_t i = 0; i < tensor.ranges.size(); ++i) {
      ASSERT_NE(checkpoint.block_of(tensor.ranges[i]), nullptr);
      const auto stored = part(tensor.ranges[i]);
      if (!tensor.stored) continue;
      const auto& scales = tensor.stored->scales;
      std::vector<float> values(tensor.elements() / tensor.ranges.size());
      const Status status = decode_range(
          tensor, stored, scales.empty() ? std::span<const std::byte>() : part(scales[i]), values);
      EXPECT_TRUE(status.ok()) << status.message();
    }
  }
}

TEST_F(HostileStore, random_changes_do_no_harm) {
  std::mt19937 random(6);
  json base = index();
  base["tensors"]["token_embd.weight"]["stored"] = {
      {"code", "type"},       {"type", "F32"},       {"rows", 3},        {"columns", 32},
      {"offset", 0},          {"unit_stride", 96},   {"row_stride", 32}, {"column_stride", 1},
      {"stored_columns", 32}, {"arithmetic", "none"}};
  const std::vector<std::uint8_t> cbor = json::to_cbor(base);
  std::size_t passed = 0;
  for (int round = 0; round < 8000; ++round) {
    std::string changed(cbor.begin(), cbor.end());
    const std::size_t changes = 1 + random() % 3;
    for (std::size_t i = 0; i < changes; ++i) {
      const std::size_t at = random() % changed.size();
      switch (random() % 4) {
        case 0:
          changed[at] = static_cast<char>(random());
          break;
        case 1:
          changed[at] = static_cast<char>(changed[at] ^ (1 << random() % 8));
          break;
        case 2:
          changed.erase(at, 1 + random() % 8);
          break;
        default:
          changed.insert(at, changed.substr(random() % changed.size(), random() % 16));
      }
      if (changed.empty()) changed = "x";
    }
    const std::string bytes = with_index(changed);
    const auto opened = open(bytes);
    if (!opened.ok()) {
      EXPECT_NE(opened.status().code(), ErrorCode::kInternal) << opened.status().message();
      continue;
    }
    passed += 1;
    use(*opened, bytes);
  }
  EXPECT_GT(passed, 100u);  // in names and texts there is much to change
}

TEST(ReadCbor, is_not_taken_down) {
  const auto read = [](const std::string& bytes) {
    return read_cbor(std::as_bytes(std::span(bytes)));
  };
  const auto refused = [&](const std::string& bytes) {
    return read(bytes).status().code() == ErrorCode::kCorrupt;
  };
  EXPECT_TRUE(refused(""));
  EXPECT_TRUE(refused(std::string(1 << 20, '\x81')));            // lists in lists
  EXPECT_TRUE(refused(std::string(1 << 20, '\xa1')));            // maps
  EXPECT_TRUE(refused(std::string(1 << 20, '\x7f')));            // texts of pieces of pieces
  EXPECT_TRUE(refused(std::string(1 << 20, '\x5f')));            // byte strings
  EXPECT_TRUE(refused(std::string(1 << 20, '\xc6')));            // tags
  EXPECT_TRUE(refused("\x9b\xff\xff\xff\xff\xff\xff\xff\xff"));  // a list of 2^64 - 1
  EXPECT_TRUE(refused("\xbb\xff\xff\xff\xff\xff\xff\xff\xff"));  // a map
  EXPECT_TRUE(refused("\x7b\xff\xff\xff\xff\xff\xff\xff\xff"));  // a text
  EXPECT_TRUE(refused(std::string("\x9a\x00\x00\x10\x00", 5)));  // a list longer than the file
  EXPECT_TRUE(refused(std::string("\x01\x02", 2)));              // two values
  EXPECT_TRUE(refused(std::string("\xa1\x01\x02", 3)));          // a key that is a number
  EXPECT_TRUE(refused("\xf7"));                                  // undefined
  EXPECT_TRUE(refused("\x1c"));
  EXPECT_TRUE(refused("\xfb\x01"));
  std::string wide("\x9a\x00\x60\x00\x00", 5);
  EXPECT_TRUE(refused(wide + std::string(0x600000, '\x01')));  // too many values
  const auto good =
      read(std::string("\xa1\x61"
                       "a\x83\x01\x20\xfb\x3f\xf8\x00\x00\x00\x00\x00\x00",
                       15));
  ASSERT_TRUE(good.ok()) << good.status().message();
  EXPECT_EQ(*good, (json{{"a", {1, -1, 1.5}}}));
}

}  // namespace
}  // namespace sluice
