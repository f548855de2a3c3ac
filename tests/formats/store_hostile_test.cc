// Stores that are cut off, damaged, or made to do harm: a clear error, and never more.

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <functional>
#include <string>
#include <vector>

#include <nlohmann/json.hpp>

#include "formats/cbor.h"
#include "formats/store_header.h"
#include "tests/formats/hostile_store.h"

namespace sluice {
namespace {

using nlohmann::json;
using test::HostileStore;
using ::testing::HasSubstr;

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
  expect_refused(cases);
}

TEST_F(HostileStore, random_changes_do_no_harm) {
  json base = index();
  base["tensors"]["token_embd.weight"]["stored"] = {
      {"code", "type"},       {"type", "F32"},       {"rows", 3},        {"columns", 32},
      {"offset", 0},          {"unit_stride", 96},   {"row_stride", 32}, {"column_stride", 1},
      {"stored_columns", 32}, {"arithmetic", "none"}};
  change_at_random(base, 8000);
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
