#pragma once
// The tiny checkpoints of real architectures, one after the other, ready to be opened.

#include <gtest/gtest.h>

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "tests/engine/fixture.h"
#include "tests/engine/oracles.h"
#include "tests/support/test_data.h"

namespace sluice::test {

/// visit(conditions, tokens) for each of these names below "oracle/" that is there: how many are.
/// Passes have at most `rows` rows.
template <typename Visit>
std::size_t for_each_oracle(std::span<const std::string> names, std::uint32_t rows,
                            std::size_t tokens, const Visit& visit) {
  std::size_t models = 0;
  for (const std::string& name : names) {
    const auto path = test_data("oracle/" + name);
    if (path.empty()) continue;
    SCOPED_TRACE(name);
    models += 1;
    Conditions conditions{.ram = std::uint64_t{1} << 30, .path = path};
    conditions.model.context = 32;
    conditions.model.max_rows = rows;
    auto outline = ModelOutline::open(path);
    EXPECT_TRUE(outline.ok()) << outline.status().message();
    if (!outline.ok()) continue;
    visit(conditions, some_tokens(tokens, 1, outline->description.vocabulary));
  }
  return models;
}

}  // namespace sluice::test
