// safetensors files written by the test, right and wrong in every field.

#include "formats/safetensors.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/formats/gguf_builder.h"
#include "tests/formats/temporary_folder.h"

namespace sluice {
namespace {

using test::raw;
using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

std::string file_of(const std::string& header, std::size_t data_bytes) {
  return raw<std::uint64_t>(header.size()) + header + std::string(data_bytes, 'd');
}

class SafetensorsTest : public ::testing::Test {
 protected:
  Result<std::vector<SafetensorsTensor>> read(const std::string& contents) {
    std::vector<SafetensorsTensor> tensors;
    SLUICE_TRY(read_safetensors(folder_.write("model.safetensors", contents), 0,
                                [&](SafetensorsTensor tensor) {
                                  tensors.push_back(std::move(tensor));
                                  return Status();
                                }));
    return tensors;
  }
  test::TemporaryFolder folder_;
};

TEST_F(SafetensorsTest, TensorsWithTheirTypesAndPlaces) {
  const std::string header =
      R"({"__metadata__":{"format":"pt"},"a":{"dtype":"BF16","shape":[2,3],"data_offsets":[4,16]},)"
      R"("b":{"dtype":"F32","shape":[],"data_offsets":[0,4]},)"
      R"("c":{"dtype":"F8_E4M3","shape":[4],"data_offsets":[16,20]},)"
      R"("none":{"dtype":"F16","shape":[0,3],"data_offsets":[20,20]}}  )";
  const auto tensors = read(file_of(header, 20));
  ASSERT_TRUE(tensors.ok()) << tensors.status().message();
  ASSERT_EQ(tensors->size(), 3u);
  const TensorInfo& a = (*tensors)[0].info;
  EXPECT_EQ(a.type, TensorType::kBF16);
  EXPECT_THAT(a.shape, ElementsAre(2, 3));
  EXPECT_EQ(a.ranges[0].offset, 8 + header.size() + 4);
  EXPECT_EQ(a.ranges[0].bytes, 12u);
  EXPECT_THAT((*tensors)[1].info.shape, ElementsAre(1));
  EXPECT_EQ((*tensors)[2].foreign, "F8_E4M3");
}

TEST_F(SafetensorsTest, EachFieldMadeHostileIsRefused) {
  const std::pair<const char*, const char*> cases[] = {
      {R"([])", "not a JSON object"},
      {R"({"a":3})", "'dtype'"},
      {R"({"a":{"dtype":3,"shape":[1],"data_offsets":[0,4]}})", "'dtype'"},
      {R"({"a":{"dtype":"F32","shape":{},"data_offsets":[0,4]}})", "'shape'"},
      {R"({"a":{"dtype":"F32","shape":[-1],"data_offsets":[0,4]}})", "'shape'"},
      {R"({"a":{"dtype":"F32","shape":[1.5],"data_offsets":[0,4]}})", "'shape'"},
      {R"({"a":{"dtype":"F32","shape":[1,1,1,1,1,1,1,1,1],"data_offsets":[0,4]}})", "'shape'"},
      {R"({"a":{"dtype":"F32","shape":[2],"data_offsets":[0,4]}})", "need 8"},
      {R"({"a":{"dtype":"F32","shape":[4294967296,4294967296],"data_offsets":[0,4]}})",
       "overflows"},
      {R"({"a":{"dtype":"F32","shape":[1],"data_offsets":[0]}})", "'data_offsets'"},
      {R"({"a":{"dtype":"F32","shape":[1],"data_offsets":[4,0]}})", "'data_offsets'"},
      {R"({"a":{"dtype":"F32","shape":[1],"data_offsets":[-4,0]}})", "'data_offsets'"},
      {R"({"a":{"dtype":"F32","shape":[1],"data_offsets":[8,12]}})", "do not lie"},
      {R"({"a":{"dtype":"F32","shape":[1],"data_offsets":[0,18446744073709551615]}})",
       "do not lie"},
      {R"({"a":{"dtype":"F8","shape":[1],"data_offsets":[0,18446744073709551615]}})", "do not lie"},
      {R"({"a":{"dtype":"F32","shape":[1],"shape":[1],"data_offsets":[0,4]}})", "appears twice"},
      {R"({"__metadata__":{"a":["b"]}})", "something other than texts"},
      {R"({"a":)", "at byte 13"},
      {"{\"a\xff\":1}", "UTF-8"},
  };
  for (const auto& [header, message] : cases) {
    SCOPED_TRACE(header);
    const auto tensors = read(file_of(header, 8));
    ASSERT_FALSE(tensors.ok());
    EXPECT_EQ(tensors.status().code(), ErrorCode::kCorrupt);
    EXPECT_THAT(tensors.status().message(),
                AllOf(HasSubstr("model.safetensors"), HasSubstr(message), HasSubstr("at byte ")));
  }
  const auto nested = read(file_of(R"({"a":)" + std::string(100000, '['), 0));
  EXPECT_THAT(nested.status().message(), HasSubstr("nested too deeply"));
  std::string many = R"({"a":[)";
  for (int i = 0; i < 2100000; ++i) many += "0,";
  EXPECT_THAT(read(file_of(many + "0]", 0)).status().message(), HasSubstr("more than 2097152"));
}

// It once passed for "a dtype that we know", and the shape for a size that had been checked.
TEST_F(SafetensorsTest, AnEmptyDtypeIsForeign) {
  const auto tensors =
      read(file_of(R"({"a":{"dtype":"","shape":[1000],"data_offsets":[0,4]}})", 4));
  ASSERT_TRUE(tensors.ok()) << tensors.status().message();
  ASSERT_EQ(tensors->size(), 1u);
  EXPECT_EQ(tensors->front().foreign, std::optional<std::string>(""));
}

TEST_F(SafetensorsTest, LongTextsAreRefusedBeforeTheyAreHeld) {
  const std::string entry = R"(":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}})";
  EXPECT_THAT(read(file_of(R"({")" + std::string(2000, 'n') + entry, 4)).status().message(),
              HasSubstr("a tensor's name of 2000 bytes"));
  for (const char filler : {'x', ' '}) {
    const std::string filling(std::size_t{20} << 20, filler);
    const std::string text = filler == 'x' ? R"({"__metadata__":{"a":")" + filling + R"("},"a)"
                                           : "{" + filling + R"("a)";
    EXPECT_THAT(read(file_of(text + entry, 4)).status().message(),
                AllOf(HasSubstr("more than 8388608 bytes in one text"), HasSubstr("at byte ")));
  }
  // Quotes inside a text do not end it.
  std::string quotes = R"({"__metadata__":{"a":")";
  for (int i = 0; i < (9 << 20) / 2; ++i) quotes += R"(\")";
  EXPECT_THAT(read(file_of(quotes + R"("},"a)" + entry, 4)).status().message(),
              HasSubstr("more than 8388608 bytes in one text"));
}

TEST_F(SafetensorsTest, WhatTheTakerSaysComesBackWithThePath) {
  const std::string path =
      folder_.write("m.safetensors",
                    file_of(R"({"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]},"b":7})", 4));
  const Status status = read_safetensors(
      path, 0, [](const SafetensorsTensor&) { return Status(ErrorCode::kUnsupported, "no"); });
  EXPECT_EQ(status.code(), ErrorCode::kUnsupported);
  EXPECT_EQ(status.message(), path + ": no");
}

TEST_F(SafetensorsTest, TheLengthOfTheHeaderIsChecked) {
  for (const std::uint64_t length :
       {std::uint64_t{0}, std::uint64_t{1}, std::uint64_t{3}, ~std::uint64_t{0}}) {
    const auto tensors = read(raw(length) + "{}");
    ASSERT_FALSE(tensors.ok()) << length;
    EXPECT_THAT(tensors.status().message(), HasSubstr("header length at byte 0"));
  }
  EXPECT_TRUE(read(raw<std::uint64_t>(2) + "{}").ok());
}

TEST_F(SafetensorsTest, ATruncatedFileIsRefusedAtEveryByte) {
  const std::string whole =
      file_of(R"({"a":{"dtype":"F32","shape":[2,2],"data_offsets":[0,16]}})", 16);
  ASSERT_TRUE(read(whole).ok());
  for (std::size_t size = 0; size < whole.size(); ++size) {
    ASSERT_FALSE(read(whole.substr(0, size)).ok()) << size;
  }
}

class ShardsTest : public ::testing::Test {
 protected:
  void index(const std::string& weight_map) {
    folder_.write("model.safetensors.index.json", R"({"weight_map":)" + weight_map + "}");
  }
  Result<std::vector<SafetensorsTensor>> read() {
    files_.clear();
    std::vector<SafetensorsTensor> tensors;
    SLUICE_TRY(read_safetensors_folder(folder_.path(), files_, [&](SafetensorsTensor tensor) {
      tensors.push_back(std::move(tensor));
      return Status();
    }));
    return tensors;
  }
  static std::string one(const std::string& name) {
    return file_of(R"({")" + name + R"(":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}})", 4);
  }
  test::TemporaryFolder folder_;
  std::vector<std::string> files_;
};

TEST_F(ShardsTest, TheIndexNamesTheFiles) {
  folder_.write("s1.safetensors", one("x"));
  folder_.write("s2.safetensors", one("y"));
  index(R"({"x":"s1.safetensors","y":"s2.safetensors"})");
  const auto tensors = read();
  ASSERT_TRUE(tensors.ok()) << tensors.status().message();
  ASSERT_EQ(tensors->size(), 2u);
  EXPECT_EQ((*tensors)[1].info.name, "y");
  EXPECT_EQ((*tensors)[1].info.ranges[0].file, 1u);
  EXPECT_THAT(files_[1], HasSubstr("s2.safetensors"));
}

TEST_F(ShardsTest, AnIndexThatLiesIsRefused) {
  folder_.write("s1.safetensors", one("x"));
  const std::pair<const char*, const char*> cases[] = {
      {R"({"x":"s1.safetensors","z":"s1.safetensors"})", "'z', which the index places here"},
      {R"({"x":"s9.safetensors"})", "s9.safetensors"},
      {R"({"x":"../s1.safetensors"})", "not the name of a shard"},
      {R"({"x":"/etc/passwd"})", "not the name of a shard"},
      {R"({"x":3})", "not a text"},
      {R"({})", "'weight_map'"},
      {R"(3)", "'weight_map'"},
  };
  for (const auto& [weight_map, message] : cases) {
    SCOPED_TRACE(weight_map);
    index(weight_map);
    const auto tensors = read();
    ASSERT_FALSE(tensors.ok());
    EXPECT_THAT(tensors.status().message(), HasSubstr(message));
  }
}

TEST_F(ShardsTest, AFolderWithoutWeightsSaysSo) {
  EXPECT_EQ(read().status().code(), ErrorCode::kNotFound);
  folder_.write("pytorch_model.bin", "");
  EXPECT_THAT(read().status().message(), HasSubstr("convert them"));
}

}  // namespace
}  // namespace sluice
