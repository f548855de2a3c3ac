// What a machine was found to take comes back as it was kept; any other file holds nothing.

#include "devices/machine_costs.h"

#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <sstream>

#include "devices/hybrid_layer.h"
#include "tests/formats/temporary_folder.h"

namespace sluice {
namespace {

namespace fs = std::filesystem;

std::vector<double> numbers(const HybridCosts& costs) {
  std::vector<double> all{costs.cpu_start,        costs.gpu_start,    costs.upload_start,
                          costs.upload_byte,      costs.staging_byte, costs.cpu_beside_upload,
                          costs.upload_beside_cpu};
  for (std::uint32_t rows = 1; rows <= 1024; rows *= 2) {
    all.push_back(costs.cpu.seconds(1, rows));
    all.push_back(costs.gpu.seconds(1, rows));
  }
  return all;
}

class MachineCostsTest : public testing::Test {
 protected:
  static HybridCosts some(double factor = 1) {
    HybridCosts costs = HybridLayer::usual_costs(3);
    costs.cpu.scale(factor);
    costs.gpu_start *= factor;
    return costs;
  }
  std::string text() const {
    std::ifstream file(path_);
    return (std::ostringstream() << file.rdbuf()).str();
  }
  void write(const std::string& text) const { std::ofstream(path_) << text; }
  bool holds(const std::string& key, const HybridCosts& costs) const {
    const auto found = MachineCosts(path_).find(key);
    return found && numbers(*found) == numbers(costs);
  }
  std::size_t files() const {
    return std::distance(fs::directory_iterator(folder_.path()), fs::directory_iterator());
  }

  const test::TemporaryFolder folder_;
  const std::string path_ = folder_.path() + "/machine.json";
  const MachineCosts kept_{path_};
};

TEST_F(MachineCostsTest, ComeBackToTheBitUnderTheirKeyAlone) {
  EXPECT_FALSE(kept_.find("one"));
  kept_.keep("one", some(1.0 / 3));
  kept_.keep("two \"\\\n\xff", some(0.7));
  EXPECT_TRUE(holds("one", some(1.0 / 3)));
  EXPECT_FALSE(kept_.find("three"));
  EXPECT_FALSE(kept_.find(""));
  kept_.keep("one", some(1.9));
  EXPECT_TRUE(holds("one", some(1.9)));
  EXPECT_EQ(files(), 1u);  // nothing is left beside it
}

TEST_F(MachineCostsTest, FoldersAreMadeAndWithoutAPathThereIsNothing) {
  const MachineCosts deep(folder_.path() + "/a/b/machine.json");
  deep.keep("one", some());
  EXPECT_TRUE(deep.find("one"));
  const MachineCosts none;
  none.keep("one", some());
  EXPECT_FALSE(none.find("one"));
}

TEST_F(MachineCostsTest, ADamagedFileHoldsNothingUntilItIsWrittenAnew) {
  kept_.keep("one", some());
  const std::string whole = text();
  for (std::size_t length = 0; length < whole.size() - 2; length += 7) {
    write(whole.substr(0, length));
    EXPECT_FALSE(kept_.find("one")) << length;
  }
  write(whole.substr(0, whole.size() / 2));
  kept_.keep("one", some(2));
  EXPECT_TRUE(holds("one", some(2)));
}

TEST_F(MachineCostsTest, NumbersThatNoMachineHasAreNone) {
  kept_.keep("one", some());
  const std::string whole = text();
  for (const std::string name : {"upload_byte", "cpu_start", "cpu_beside_upload"}) {
    const std::size_t at = whole.find(name) + name.size() + 3;
    const std::size_t end = whole.find_first_of(",\n}", at);
    for (const char* const number : {"-1", "1e9", "null", "\"a\"", "[]", "{}"}) {
      write(whole.substr(0, at) + number + whole.substr(end));
      EXPECT_FALSE(kept_.find("one")) << name << " " << number;
    }
  }
  const std::size_t knots = whole.find("\"cpu\": [") + 8;
  for (const char* const more : {"1e-9,", "0,", "null,"}) {
    write(whole.substr(0, knots) + more + whole.substr(knots));
    EXPECT_FALSE(kept_.find("one")) << more;
  }
}

TEST_F(MachineCostsTest, WhatIsNoneOfTheseStaysAsItIs) {
  for (const std::string other :
       {"{\"a\": 1}", "[]", "some text", "{\"sluice_machine_costs\": 2, \"costs\": {}}"}) {
    write(other);
    EXPECT_FALSE(kept_.find("one"));
    kept_.keep("one", some());
    EXPECT_EQ(text(), other);
  }
  fs::remove(path_);
  fs::create_directory(path_);
  kept_.keep("one", some());
  EXPECT_FALSE(kept_.find("one"));
  EXPECT_EQ(files(), 1u);
}

TEST_F(MachineCostsTest, WhereNothingCanBeWrittenNothingIs) {
  const MachineCosts nowhere("/dev/null/machine.json");
  nowhere.keep("one", some());
  EXPECT_FALSE(nowhere.find("one"));
}

TEST_F(MachineCostsTest, ManyKeysMakeRoomForTheLatest) {
  for (int i = 0; i < 300; ++i) kept_.keep(std::to_string(i), some());
  EXPECT_TRUE(kept_.find("299"));
  EXPECT_FALSE(kept_.find("0"));
  EXPECT_LT(fs::file_size(path_), std::uintmax_t{1} << 20);
}

}  // namespace
}  // namespace sluice
