#include "experts/hot_set.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <iterator>

#include "tests/experts/fake_checkpoint.h"

namespace sluice {
namespace {

namespace fs = std::filesystem;
using ::testing::HasSubstr;

constexpr std::uint64_t kModel = 0x1234567890abcdef;

class HotSetFile : public ::testing::Test {
 protected:
  HotSetFile() { fs::create_directories(folder_); }
  ~HotSetFile() override { fs::remove_all(folder_); }

  static std::string bytes_of(const std::string& path) {
    std::ifstream file(path, std::ios::binary);
    return {std::istreambuf_iterator<char>(file), {}};
  }
  static void put(const std::string& path, const std::string& bytes) {
    std::ofstream(path, std::ios::binary) << bytes;
  }
  Status read() const { return read_hot_set(path_, kModel, catalogue_).status(); }

  const fs::path folder_ =
      fs::temp_directory_path() / ("sluice-hot-set-" + std::to_string(getpid()));
  const std::string path_ = (folder_ / "model.warm").string();
  const test::FakeCheckpoint fake_ =
      test::make_checkpoint({{0, 8}, {2, 6}}, test::Placement::kStacked);
  const ExpertCatalogue catalogue_ = ExpertCatalogue::build(fake_.checkpoint).value();
  const HotSet hot_{{40, 41}, {{1, 5, 30}, {0, 7, 4000000000u}, {1, 0, 0}}};
};

TEST_F(HotSetFile, SaysWhatWasWritten) {
  ASSERT_TRUE(write_hot_set(path_, kModel, hot_).ok());
  const auto read = read_hot_set(path_, kModel, catalogue_);
  ASSERT_TRUE(read.ok()) << read.status().message();
  EXPECT_EQ(read->visits, hot_.visits);
  ASSERT_EQ(read->experts.size(), hot_.experts.size());
  for (std::size_t i = 0; i < hot_.experts.size(); ++i) {
    EXPECT_EQ(read->experts[i].turn, hot_.experts[i].turn);
    EXPECT_EQ(read->experts[i].expert, hot_.experts[i].expert);
    EXPECT_EQ(read->experts[i].uses, hot_.experts[i].uses);
  }
  EXPECT_EQ(fs::file_size(path_), 28 + 2 * 4 + 3 * 8 + 8u);
}

TEST_F(HotSetFile, IsReplacedAtOnceAndLeavesNothingElse) {
  ASSERT_TRUE(write_hot_set(path_, kModel, {{1, 1}, {}}).ok());
  struct stat before = {}, after = {};
  ASSERT_EQ(stat(path_.c_str(), &before), 0);
  const std::ifstream reader(path_);  // an open file keeps its number from being used again
  ASSERT_TRUE(write_hot_set(path_, kModel, hot_).ok());
  ASSERT_EQ(stat(path_.c_str(), &after), 0);
  EXPECT_NE(before.st_ino, after.st_ino);
  EXPECT_EQ(std::distance(fs::directory_iterator(folder_), {}), 1);
  EXPECT_TRUE(read().ok());
}

TEST_F(HotSetFile, BehindALinkIsReplacedWhereItLies) {
  const std::string link = (folder_ / "link").string();
  put(path_, "");
  fs::create_symlink("model.warm", link);
  ASSERT_TRUE(write_hot_set(link, kModel, hot_).ok());
  EXPECT_TRUE(fs::is_symlink(link));
  EXPECT_TRUE(read().ok());
}

TEST_F(HotSetFile, ThatIsNotThereOrEmptyIsNotFound) {
  EXPECT_EQ(read().code(), ErrorCode::kNotFound);
  put(path_, "");
  EXPECT_EQ(read().code(), ErrorCode::kNotFound);
}

TEST_F(HotSetFile, WithABitChangedOrCutShortIsRefused) {
  ASSERT_TRUE(write_hot_set(path_, kModel, hot_).ok());
  const std::string whole = bytes_of(path_);
  for (std::size_t length = 1; length < whole.size(); ++length) {
    put(path_, whole.substr(0, length));
    EXPECT_FALSE(read().ok()) << length;
    EXPECT_THAT(read().message(), HasSubstr(path_));
  }
  for (std::size_t at = 0; at < whole.size(); ++at) {
    for (int bit = 0; bit < 8; ++bit) {
      std::string changed = whole;
      changed[at] = static_cast<char>(changed[at] ^ (1 << bit));
      put(path_, changed);
      EXPECT_FALSE(read().ok()) << at << ", bit " << bit;
    }
  }
  put(path_, whole + "more");
  EXPECT_EQ(read().code(), ErrorCode::kCorrupt);
  put(path_, whole.substr(0, whole.size() - 1));
  EXPECT_TRUE(write_hot_set(path_, kModel, hot_).ok());  // ours, so it is mended
  EXPECT_EQ(bytes_of(path_), whole);
}

TEST_F(HotSetFile, OfAnotherModelOrVersionIsRefusedByName) {
  ASSERT_TRUE(write_hot_set(path_, kModel + 1, hot_).ok());
  EXPECT_EQ(read().code(), ErrorCode::kUnsupported);
  EXPECT_THAT(read().message(), HasSubstr("another model"));
  std::string bytes = bytes_of(path_);
  bytes[8] = 9;
  put(path_, bytes);
  EXPECT_EQ(read().code(), ErrorCode::kUnsupported);
  EXPECT_THAT(read().message(), HasSubstr("version 9"));
}

TEST_F(HotSetFile, NamingWhatTheModelDoesNotHaveIsRefused) {
  for (const HotSet& wrong : {HotSet{{1, 1}, {{0, 8, 1}}}, HotSet{{1, 1}, {{1, 6, 1}}},
                              HotSet{{1, 1}, {{2, 0, 1}}}, HotSet{{1, 1}, {{65535, 65535, 1}}},
                              HotSet{{1}, {{0, 0, 1}}}, HotSet{{1, 1, 1}, {{0, 0, 1}}}}) {
    ASSERT_TRUE(write_hot_set(path_, kModel, wrong).ok());
    EXPECT_EQ(read().code(), ErrorCode::kCorrupt);
    EXPECT_THAT(read().message(), HasSubstr(path_));
  }
  HotSet many{{1, 1}, {}};
  many.experts.resize(catalogue_.total_experts() + 1);
  ASSERT_TRUE(write_hot_set(path_, kModel, many).ok());
  EXPECT_EQ(read().code(), ErrorCode::kCorrupt);
}

TEST_F(HotSetFile, WhatIsNoneIsNeitherReadNorReplaced) {
  const std::string text = "GGUF, perhaps";
  put(path_, text);
  EXPECT_EQ(read().code(), ErrorCode::kInvalidArgument);
  EXPECT_EQ(write_hot_set(path_, kModel, hot_).code(), ErrorCode::kInvalidArgument);
  EXPECT_EQ(bytes_of(path_), text);
  EXPECT_EQ(write_hot_set(folder_.string(), kModel, hot_).code(), ErrorCode::kInvalidArgument);
  EXPECT_EQ(write_hot_set("/dev/null", kModel, hot_).code(), ErrorCode::kInvalidArgument);
  EXPECT_TRUE(fs::is_character_file("/dev/null"));
  const std::string nowhere = (folder_ / "no" / "folder").string();
  const Status status = write_hot_set(nowhere, kModel, hot_);
  EXPECT_EQ(status.message(), nowhere + ": No such file or directory");  // not what lies beside it
  EXPECT_EQ(std::distance(fs::directory_iterator(folder_), {}), 1);
}

TEST(Fingerprint, TellsModelsApart) {
  const auto make = [](std::uint32_t experts) {
    return test::make_checkpoint({{0, experts}}, test::Placement::kApart).checkpoint;
  };
  const Checkpoint one = make(8);
  EXPECT_EQ(fingerprint(one), fingerprint(make(8)));
  EXPECT_NE(fingerprint(one), fingerprint(make(9)));
  Checkpoint moved = one;
  moved.files[0] = "elsewhere/" + moved.files[0];
  EXPECT_EQ(fingerprint(one), fingerprint(moved));
  moved.files[0] += "2";
  EXPECT_NE(fingerprint(one), fingerprint(moved));
  Checkpoint other = one;
  other.settings["rope.freq_base"] = 10000.0;
  const std::uint64_t first = fingerprint(other);
  other.settings["rope.freq_base"] = 10001.0;
  EXPECT_NE(first, fingerprint(other));
  EXPECT_NE(first, fingerprint(one));
  Checkpoint shifted = one;
  shifted.tensors.begin()->second.ranges[0].offset += 1;
  EXPECT_NE(fingerprint(one), fingerprint(shifted));
}

}  // namespace
}  // namespace sluice
