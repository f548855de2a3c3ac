#pragma once
// An importance matrix that a test makes up, of all of a checkpoint's stacked experts.

#include <gtest/gtest.h>

#include <functional>
#include <string>
#include <utility>
#include <vector>

#include "formats/imatrix.h"
#include "formats/imatrix_writer.h"
#include "tests/formats/temporary_folder.h"

namespace sluice::test {

/// `counts` `[experts]`; `of`: the mean square of an expert's column.
inline ImportanceMatrix written_importance(
    const TemporaryFolder& folder, const std::string& name, const Checkpoint& checkpoint,
    const std::vector<std::uint64_t>& counts,
    const std::function<double(std::size_t expert, std::size_t column)>& of) {
  std::vector<ImportanceWriter::Entry> entries;
  for (const auto& [tensor, info] : checkpoint.tensors) {
    if (info.shape.size() == 3) entries.push_back({tensor, info.shape[0], info.shape[2]});
  }
  std::string bytes;
  ImportanceWriter writer([&](std::span<const std::byte> more) {
    bytes.append(reinterpret_cast<const char*>(more.data()), more.size());
    return Status();
  });
  EXPECT_TRUE(writer.begin(entries, {.name = "a text", .chunks = 1, .chunk_size = 8}).ok());
  for (const auto& entry : entries) {
    std::vector<double> sums;
    for (std::size_t expert = 0; expert < entry.experts; ++expert) {
      for (std::size_t column = 0; column < entry.columns; ++column) {
        sums.push_back(static_cast<double>(counts[expert]) * of(expert, column));
      }
    }
    EXPECT_TRUE(writer.add(sums, counts).ok());
  }
  auto opened = ImportanceMatrix::open(folder.write(name, bytes));
  EXPECT_TRUE(opened.ok()) << opened.status().message();
  return std::move(*opened);
}

}  // namespace sluice::test
