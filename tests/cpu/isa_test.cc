#include "cpu/isa.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cstdlib>
#include <fstream>
#include <initializer_list>
#include <iterator>
#include <set>
#include <sstream>
#include <string>

#include "cpu/cpu_compute.h"

namespace sluice {
namespace {

/// Sets SLUICE_ISA for the length of a test, and puts back what it was.
class IsaTest : public ::testing::Test {
 protected:
  IsaTest() {
    if (const char* value = std::getenv("SLUICE_ISA")) before_ = value;
  }
  ~IsaTest() override {
    if (before_.empty()) {
      unsetenv("SLUICE_ISA");
    } else {
      force(before_.c_str());
    }
  }
  static void force(const char* word) { setenv("SLUICE_ISA", word, 1); }

 private:
  std::string before_;
};

/// What the kernel says of the first processor.
std::set<std::string> processor_flags() {
  std::ifstream file("/proc/cpuinfo");
  for (std::string line; std::getline(file, line);) {
    if (!line.starts_with("flags")) continue;
    std::istringstream words(line.substr(line.find(':') + 1));
    return {std::istream_iterator<std::string>(words), {}};
  }
  return {};
}

TEST_F(IsaTest, AvailableIsWhatTheKernelSaysToo) {
  const std::set<std::string> flags = processor_flags();
  if (flags.empty()) GTEST_SKIP() << "/proc/cpuinfo has no flags";
  const auto has = [&](std::initializer_list<const char*> words) {
    return std::ranges::all_of(words, [&](const char* word) { return flags.contains(word); });
  };
  const bool avx2 = has({"avx2", "fma", "f16c"});
  const bool avx512 = avx2 && has({"avx512f", "avx512bw", "avx512vl", "avx512dq"});
  EXPECT_EQ(isa_available(Isa::kAvx2), avx2);
  EXPECT_EQ(isa_available(Isa::kAvx512), avx512);
  EXPECT_EQ(isa_available(Isa::kAvx512Vnni), avx512 && flags.contains("avx512_vnni"));
}

TEST_F(IsaTest, PlainCodeRunsEverywhere) { EXPECT_TRUE(isa_available(Isa::kGeneric)); }

TEST_F(IsaTest, ChoosesTheWidestThatIsThere) {
  unsetenv("SLUICE_ISA");
  const Result<Isa> chosen = choose_isa();
  ASSERT_TRUE(chosen.ok());
  for (const Isa isa : all_isas()) {
    if (isa_available(isa)) {
      EXPECT_GE(*chosen, isa);
    }
  }
  EXPECT_TRUE(isa_available(*chosen));
}

TEST_F(IsaTest, EnvironmentForcesOneOrIsAnError) {
  const std::pair<const char*, Isa> words[] = {{"generic", Isa::kGeneric},
                                               {"avx2", Isa::kAvx2},
                                               {"avx512", Isa::kAvx512},
                                               {"vnni", Isa::kAvx512Vnni}};
  for (const auto& [word, isa] : words) {
    force(word);
    const Result<Isa> chosen = choose_isa();
    if (isa_available(isa)) {
      ASSERT_TRUE(chosen.ok()) << chosen.status().message();
      EXPECT_EQ(*chosen, isa);
      const auto compute = make_cpu_compute(1);
      ASSERT_TRUE(compute.ok());
      EXPECT_EQ((*compute)->name(), std::string(isa_name(isa)) + ", 1 thread");
    } else {
      EXPECT_EQ(chosen.status().code(), ErrorCode::kUnsupported);
      EXPECT_EQ(make_cpu_compute(1).status().code(), ErrorCode::kUnsupported);
    }
  }
  force("sse9");
  EXPECT_EQ(choose_isa().status().code(), ErrorCode::kInvalidArgument);
  EXPECT_EQ(make_cpu_compute(2).status().code(), ErrorCode::kInvalidArgument);
}

}  // namespace
}  // namespace sluice
