#include "apps/trace_script.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <numeric>
#include <random>
#include <set>

namespace sluice::apps {
namespace {

constexpr std::uint32_t kLayers = 6, kTopK = 3, kTokens = 500;  // the model's layers

/// A folder of one byte an expert, without probabilities.
class GuessTest : public ::testing::Test {
 protected:
  void SetUp() override {
    folder_ = std::filesystem::temp_directory_path() /
              ("trace_script_" + std::to_string(std::random_device()()));
    std::filesystem::create_directory(folder_);
    std::mt19937 random(1);
    std::vector<char> experts(32);
    std::iota(experts.begin(), experts.end(), '\0');
    std::ofstream file(folder_ / "experts.u8", std::ios::binary);
    for (std::uint32_t row = 0; row < kTokens * kLayers; ++row) {
      std::shuffle(experts.begin(), experts.end(), random);
      file.write(experts.data(), kTopK);
    }
    std::ofstream(folder_ / "index.jsonl") << R"({"n_tok": 500, "tok_offset": 0})" << '\n';
  }
  void TearDown() override { std::filesystem::remove_all(folder_); }

  std::unique_ptr<TraceScript> read(double recall, std::uint64_t seed = 1) const {
    const auto model = ModelOutline::open(std::string(SLUICE_SOURCE_DIR) + "/models/tales.gguf");
    auto script = TraceScript::read(folder_, *model,
                                    {.guess_recall = recall, .seed = seed, .most_rows = kTokens});
    EXPECT_TRUE(script.ok()) << script.status().message();
    return std::move(*script);
  }

  struct Row {
    std::vector<std::uint32_t> chosen, guessed;
  };
  /// Of every layer of every token, in passes of seven.
  static std::vector<Row> follow(TraceScript& script) {
    std::vector<Row> rows;
    for (std::uint32_t first = 0; first < kTokens; first += 7) {
      const std::uint32_t count = std::min(7u, kTokens - first);
      script.begin(count);
      for (std::uint32_t layer = 0; layer < kLayers; ++layer) {
        for (std::uint32_t row = 0; row < count; ++row) {
          Row& next = rows.emplace_back(std::vector<std::uint32_t>(kTopK),
                                        std::vector<std::uint32_t>(kTopK));
          std::vector<float> weights(kTopK);
          script.guess(layer, row, next.guessed);
          script.choose(layer, row, next.chosen, weights);
          EXPECT_NEAR(std::accumulate(weights.begin(), weights.end(), 0.0f), 1, 1e-5);
        }
      }
    }
    return rows;
  }

  std::filesystem::path folder_;
};

TEST_F(GuessTest, IsRightAsOftenAsAskedAndOtherwiseSomethingElse) {
  for (const double recall : {0.0, 0.3, 0.85, 1.0}) {
    const auto script = read(recall);
    std::size_t right = 0, all = 0;
    std::vector<std::size_t> wrong(32);
    for (const Row& row : follow(*script)) {
      EXPECT_EQ(std::set(row.guessed.begin(), row.guessed.end()).size(), kTopK);
      for (std::uint32_t rank = 0; rank < kTopK; ++rank) {
        const bool same = row.guessed[rank] == row.chosen[rank];
        right += same;
        all += 1;
        if (same) continue;
        wrong.at(row.guessed[rank]) += 1;
        EXPECT_EQ(std::ranges::find(row.chosen, row.guessed[rank]), row.chosen.end());
      }
    }
    // Nine thousand of them.
    EXPECT_NEAR(static_cast<double>(right) / static_cast<double>(all), recall, 0.02);
    const auto [least, most] = std::ranges::minmax(wrong);
    EXPECT_LE(most, 2 * least + (recall > 0.8 ? 30 : 0)) << "some experts are wrong more often";
  }
}

TEST_F(GuessTest, IsTheSameAgainAndWithAnotherSeedAnother) {
  const auto guesses = [](const std::vector<Row>& rows) {
    std::vector<std::vector<std::uint32_t>> all;
    for (const Row& row : rows) all.push_back(row.guessed);
    return all;
  };
  const auto first = guesses(follow(*read(0.5))), second = guesses(follow(*read(0.5)));
  EXPECT_EQ(first, second);
  EXPECT_NE(first, guesses(follow(*read(0.5, 2))));
}

}  // namespace
}  // namespace sluice::apps
