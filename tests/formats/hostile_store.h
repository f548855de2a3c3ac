#pragma once
// A small store, and what becomes of it when something else is written in its index, with every
// checksum right.

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <array>
#include <cstring>
#include <functional>
#include <random>
#include <span>
#include <string>
#include <vector>

#include <nlohmann/json.hpp>

#include "formats/checkpoint.h"
#include "formats/checksum.h"
#include "formats/store_format.h"
#include "formats/store_header.h"
#include "formats/stored_layout.h"
#include "tests/formats/gguf_builder.h"
#include "tests/formats/temporary_folder.h"
#include "tests/support/written_store.h"

namespace sluice::test {

/// Two layers, one of experts; a tokenizer.
inline std::string small_source() {
  GgufBuilder builder("qwen3moe");
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
    const auto plan = plan_store(*source, choice());
    ASSERT_TRUE(plan.ok()) << plan.status().message();
    store_ = written_store(*plan);
    head_bytes_ = plan->head.size();
    table_offset_ = plan->table_offset;
    ASSERT_TRUE(open(store_).ok());
  }

  virtual StoreChoice choice() const { return {}; }

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
  std::string with_index(const nlohmann::json& index) const {
    const std::vector<std::uint8_t> cbor = nlohmann::json::to_cbor(index);
    return with_index(std::string(cbor.begin(), cbor.end()));
  }
  nlohmann::json index() const { return nlohmann::json::from_cbor(index_bytes()); }

  struct Case {
    std::function<void(nlohmann::json&)> change;
    const char* message;
  };
  void expect_refused(std::span<const Case> cases) const {
    for (const Case& one : cases) {
      nlohmann::json changed = index();
      one.change(changed);
      const auto opened = open(with_index(changed));
      ASSERT_FALSE(opened.ok()) << one.message;
      EXPECT_THAT(opened.status().message(), ::testing::HasSubstr(one.message));
      EXPECT_THAT(opened.status().message(), ::testing::HasSubstr("a.slc: "));
    }
  }
  void change_at_random(const nlohmann::json& base, int rounds) const;

  std::string with_header(const StoreHeader& head) const {
    std::string bytes = store_;
    const StoreHeaderBytes encoded = encode(head);
    std::memcpy(bytes.data(), encoded.data(), encoded.size());
    return bytes;
  }

  TemporaryFolder folder_;
  std::string store_;
  std::size_t head_bytes_ = 0;
  std::size_t table_offset_ = 0;
};

inline void use_planes(const Checkpoint& checkpoint, const TensorInfo& tensor,
                       const std::string& bytes) {
  const NestedForm& form = *tensor.nested->form;
  std::vector<float> row(tensor.shape[2]);
  for (std::size_t expert = 0; expert < tensor.shape[0]; ++expert) {
    std::string data;
    NestedView view{
        .form = &form, .width = static_cast<std::uint8_t>(tensor.nested->width(expert)), .at = {}};
    ASSERT_GE(view.width, 2);
    for (std::size_t group = 0; group < tensor.nested->group_count(expert); ++group) {
      const FileRange& range = tensor.nested->group(expert, group);
      ASSERT_NE(checkpoint.block_of(range), nullptr);
      view.at[group] = data.size();
      data += bytes.substr(range.offset, range.bytes);
    }
    for (std::size_t i = 0; i < tensor.shape[1]; ++i) {
      decode_nested_row(view, std::as_bytes(std::span(data)).data(), row.size(), i, row.data());
    }
  }
}

/// Whatever comes through, its tensors can be decoded.
inline void use(const Checkpoint& checkpoint, const std::string& bytes) {
  const auto part = [&](const FileRange& range) {
    return std::as_bytes(std::span(bytes)).subspan(range.offset, range.bytes);
  };
  for (const auto& [name, tensor] : checkpoint.tensors) {
    if (tensor.nested) use_planes(checkpoint, tensor, bytes);
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

inline void HostileStore::change_at_random(const nlohmann::json& base, int rounds) const {
  std::mt19937 random(6);
  const std::vector<std::uint8_t> cbor = nlohmann::json::to_cbor(base);
  std::size_t passed = 0;
  for (int round = 0; round < rounds; ++round) {
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
  // In names and texts there is much to change.
  EXPECT_GT(passed, static_cast<std::size_t>(rounds) / 80);
}

}  // namespace sluice::test
