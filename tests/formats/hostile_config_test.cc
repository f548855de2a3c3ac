// Every value of every published config.json, made hostile: an error that says where, or a
// checkpoint whose settings are all in range. Never a crash.

#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>

#include "formats/checkpoint.h"
#include "formats/settings.h"
#include "tests/formats/temporary_folder.h"
#include "tests/support/test_data.h"

namespace sluice {
namespace {

using nlohmann::json;

const json kHostile[] = {nullptr,
                         0,
                         -1,
                         1,
                         3,
                         1.5,
                         1e300,
                         -1e-300,
                         9223372036854775807,
                         18446744073709551615u,
                         65536,
                         1 << 24,
                         "x",
                         "",
                         true,
                         false,
                         json::array(),
                         json::object(),
                         json::array({1, 0}),
                         json::array({-1, "x"}),
                         json::array({1e300, 0.0, -1.0, 1.0})};
constexpr std::size_t kEach = 4;  // values tried at a place; another four at the next

/// Pointers to all values in the document, those of lists' elements too.
void collect(const json& node, const json::json_pointer& at, std::vector<json::json_pointer>& all) {
  if (!node.is_structured()) return;
  for (const auto& [key, value] : node.items()) {
    const auto inner = node.is_array() ? at / std::stoul(key) : at / key;
    all.push_back(inner);
    collect(value, inner, all);
  }
}

TEST(HostileConfig, EveryValueOfEveryArchitecture) {
  const auto oracles = test::test_data("oracle");
  ASSERT_FALSE(oracles.empty());
  std::size_t opened = 0, refused = 0, next = 0;
  for (const auto& oracle : std::filesystem::directory_iterator(oracles)) {
    std::ifstream stream(oracle.path() / "config.json");
    if (!stream) continue;
    const json config = json::parse(stream);
    test::TemporaryFolder folder;
    std::filesystem::create_symlink(oracle.path() / "model.safetensors",
                                    folder.path("model.safetensors"));
    std::vector<json::json_pointer> places;
    collect(config, json::json_pointer(), places);
    for (const auto& place : places) {
      for (std::size_t i = 0; i < kEach; ++i) {
        const json& value = kHostile[next++ % std::size(kHostile)];
        json changed = config;
        changed[place] = value;
        folder.write("config.json", changed.dump());
        const auto checkpoint = open_checkpoint(folder.path());
        if (checkpoint.ok()) {
          ++opened;
          EXPECT_TRUE(check_settings(*checkpoint).ok()) << place << value;
          for (const auto& [name, tensor] : checkpoint->tensors) {
            ASSERT_FALSE(tensor.ranges.empty()) << name;
            ASSERT_GT(tensor.elements(), 0u) << name;
          }
        } else {
          ++refused;
          EXPECT_NE(checkpoint.status().message().find(folder.path()), std::string::npos)
              << place << value << checkpoint.status().message();
          EXPECT_NE(checkpoint.status().code(), ErrorCode::kInternal)
              << place << value << checkpoint.status().message();
        }
      }
    }
  }
  EXPECT_GT(opened, 100u);
  EXPECT_GT(refused, 100u);
}

}  // namespace
}  // namespace sluice
