#pragma once
// Carries out the plan of a store in memory, as the format's definition says and no faster.

#include <cstring>
#include <fstream>
#include <random>
#include <string>

#include "formats/checksum.h"
#include "formats/store_format.h"

namespace sluice::test {

/// The store's bytes. Planes are zeros, or bytes that are drawn where there is a seed.
inline std::string written_store(const StorePlan& plan, std::uint32_t seed = 0) {
  std::string store(plan.file_bytes, '\0');
  std::memcpy(store.data(), plan.head.data(), plan.head.size());
  for (const StoreCopy& copy : plan.copies) {
    std::ifstream source(plan.files[copy.from.file], std::ios::binary);
    source.seekg(static_cast<std::streamoff>(copy.from.offset));
    source.read(store.data() + copy.to, static_cast<std::streamsize>(copy.from.bytes));
  }
  std::mt19937 random(seed);
  for (const StoreNestedExpert& expert : plan.nested) {
    const std::uint64_t bytes = seed == 0 ? 0 : expert.bytes;
    for (std::uint64_t i = 0; i < bytes; ++i) store[expert.to + i] = static_cast<char>(random());
  }
  std::vector<std::uint64_t> sums;
  for (const StoreBlock& block : plan.blocks) {
    sums.push_back(checksum(std::as_bytes(std::span(store)).subspan(block.offset, block.bytes)));
  }
  const std::vector<std::byte> table = store_table(sums);
  std::memcpy(store.data() + plan.table_offset, table.data(), table.size());
  return store;
}

}  // namespace sluice::test
