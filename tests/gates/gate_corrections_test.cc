// The file of corrections: what it gives back, and what it refuses.

#include "gates/gate_corrections.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <xxhash.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <functional>
#include <random>

#include "tests/engine/fixture.h"
#include "tests/formats/safetensors_builder.h"
#include "tests/formats/temporary_folder.h"
#include "tests/gates/fitted_gates.h"
#include "tests/gates/foreteller.h"

namespace sluice {
namespace {

using testing::HasSubstr;

class GateCorrectionsTest : public testing::Test {
 protected:
  const ModelDescription& model() const { return opened_.model->description(); }
  const std::vector<LayerWeights>& weights() const { return opened_.model->weights().layers(); }
  Result<GateCorrections> read(const std::string& path) const {
    return GateCorrections::read(path, model(), weights());
  }
  std::string file(std::span<const FittedGate> fitted) const {
    return GateCorrections::to_file(fitted, {}, model(), weights());
  }
  /// Of few bytes.
  std::string small_file() const { return file(test::random_gates(model(), {{1, 3}})); }
  Result<GateCorrections> read_bytes(std::string_view bytes) const {
    return read(folder_.write("beside.calibration", bytes));
  }
  void expect_refused(std::string_view bytes, ErrorCode code, const std::string& why) const {
    const auto refused = read_bytes(bytes);
    ASSERT_FALSE(refused.ok()) << why;
    EXPECT_EQ(refused.status().code(), code) << refused.status().message();
    EXPECT_THAT(refused.status().message(), HasSubstr(folder_.path("beside.calibration")));
    EXPECT_THAT(refused.status().message(), HasSubstr("sluice calibrate"));
    EXPECT_THAT(refused.status().message(), HasSubstr(why));
  }

  /// [hidden, experts]: what the gate says of each column alone, bias included.
  std::vector<float> columns_as_read(const GateCorrections& corrections, const FittedGate& of) {
    const std::size_t hidden = model().hidden;
    test::GateRoom room(model(), hidden);
    RouterGate gate(model(), weights(), opened_.model->runtime().compute(), room.memory(),
                    GateInput::kRouterInput, of.ahead);
    corrections.apply(gate);
    std::vector<float> unit(hidden * hidden);
    for (std::size_t i = 0; i < hidden; ++i) unit[i * hidden + i] = 1;
    const bool spoke = gate.predict(
        {.layer = of.layer - of.ahead, .rows = hidden, .router_input = unit.data()}, of.layer);
    EXPECT_TRUE(spoke);
    return {gate.outputs(), gate.outputs() + hidden * model().router.experts};
  }

  const test::Opened opened_ = test::open({.ram = std::uint64_t{1} << 30});
  const test::TemporaryFolder folder_;
};

TEST_F(GateCorrectionsTest, GivesBackWhatWasFittedWithinTheRoundingOfHalves) {
  const auto fitted = test::random_gates(model(), {{1, 1}, {1, 5}, {2, 4}});
  const auto corrections = read_bytes(file(fitted));
  ASSERT_TRUE(corrections.ok()) << corrections.status().message();
  EXPECT_EQ(corrections->count(), fitted.size());
  const std::size_t experts = model().router.experts, hidden = model().hidden;
  for (const FittedGate& gate : fitted) {
    if (gate.input != GateInput::kRouterInput) continue;
    const std::vector<float> columns = columns_as_read(*corrections, gate);
    for (std::size_t column = 0; column < hidden; ++column) {
      for (std::size_t expert = 0; expert < experts; ++expert) {
        const float weight = gate.matrix[expert * hidden + column];
        ASSERT_NEAR(columns[column * experts + expert], weight + gate.bias[expert],
                    std::fabs(weight) * 0x1p-11f + 0x1p-25f + 1e-6f);
      }
    }
  }
  // Where nothing was fitted the router's own matrix speaks.
  FittedGate other = fitted[0];
  other.layer = 2, other.ahead = 1;
  EXPECT_EQ(columns_as_read(*corrections, other), columns_as_read(GateCorrections(), other));
}

TEST_F(GateCorrectionsTest, MayHoldNone) {
  const auto corrections = read_bytes(file({}));
  ASSERT_TRUE(corrections.ok()) << corrections.status().message();
  EXPECT_TRUE(corrections->empty());
}

TEST_F(GateCorrectionsTest, LieBesideTheModel) {
  Checkpoint checkpoint;
  checkpoint.settings_file = "models/a.gguf";
  EXPECT_EQ(GateCorrections::default_path(checkpoint), "models/a.gguf.calibration");
  checkpoint.settings_file = "models/a/config.json";
  EXPECT_EQ(GateCorrections::default_path(checkpoint), "models/a/sluice.calibration");
  EXPECT_EQ(GateCorrections::default_path(opened_.model->checkpoint()),
            test::bundled_model() + ".calibration");
}

TEST_F(GateCorrectionsTest, AFlippedBitAnywhereIsRefused) {
  const std::string good = small_file();
  ASSERT_TRUE(read_bytes(good).ok());
  std::mt19937 random(1);
  const std::size_t header =
      8 + static_cast<std::uint8_t>(good[0]) + 256u * static_cast<std::uint8_t>(good[1]);
  const auto try_at = [&](std::size_t at) {
    std::string bad = good;
    bad[at] = static_cast<char>(bad[at] ^ (1 << random() % 8));
    const auto refused = read_bytes(bad);
    ASSERT_FALSE(refused.ok()) << "byte " << at << " of " << good.size();
    EXPECT_THAT(refused.status().message(), HasSubstr("beside.calibration"));
    EXPECT_THAT(refused.status().message(), HasSubstr("sluice calibrate"));
  };
  for (std::size_t at = 0; at < header; ++at) try_at(at);
  for (std::size_t at = header; at < good.size(); at += 1 + random() % 61) try_at(at);
  for (std::size_t at = good.size() - 16; at < good.size(); ++at) try_at(at);
  std::string damaged = good;
  damaged[header + 1] ^= 1;
  expect_refused(damaged, ErrorCode::kCorrupt, "damaged");
}

TEST_F(GateCorrectionsTest, AnotherModelsAreRefused) {
  // The same model, but for one bit of one router.
  const std::string copy = folder_.write("copy.gguf", test::read_file(test::bundled_model()));
  const auto checkpoint = open_checkpoint(copy);
  ASSERT_TRUE(checkpoint.ok());
  const FileRange at = checkpoint->find("blk.4.ffn_gate_inp.weight")->ranges[0];
  std::string bytes = test::read_file(copy);
  bytes[at.offset + at.bytes / 2] ^= 1;
  folder_.write("copy.gguf", bytes);
  const test::Opened other = test::open({.ram = std::uint64_t{1} << 30, .path = copy});
  const ModelDescription& description = other.model->description();
  expect_refused(GateCorrections::to_file(test::random_gates(description, {{1, 3}}), {},
                                          description, other.model->weights().layers()),
                 ErrorCode::kInvalidArgument, "another model");
}

TEST_F(GateCorrectionsTest, WhatIsNoSuchFileIsRefused) {
  const std::string good = small_file();
  for (const std::size_t size : {std::size_t{0}, std::size_t{7}, std::size_t{8}, std::size_t{100},
                                 good.size() / 2, good.size() - 16, good.size() - 1}) {
    SCOPED_TRACE(size);
    expect_refused(good.substr(0, size), ErrorCode::kCorrupt, "");
  }
  expect_refused("Once upon a time there was a lighthouse keeper.", ErrorCode::kCorrupt, "");
  expect_refused(test::SafetensorsBuilder().build(), ErrorCode::kCorrupt, "");
  test::SafetensorsBuilder other;
  other.count_up("model.embed_tokens.weight", {4, 8});
  expect_refused(other.build(), ErrorCode::kCorrupt, "no calibration");
  expect_refused(std::string(GateCorrections::most_bytes(model()) + 1, ' '),
                 ErrorCode::kUnsupported, "");

  const auto missing = read(folder_.path("nowhere"));
  EXPECT_EQ(missing.status().code(), ErrorCode::kNotFound);
  EXPECT_THAT(missing.status().message(), HasSubstr("nowhere"));
  EXPECT_FALSE(read(folder_.path()).ok()) << "a folder";
}

/// Files whose checksums are right, by whoever made them.
TEST_F(GateCorrectionsTest, OnlyWholeCorrectionsOfTheRightShapeAreTaken) {
  const std::uint64_t experts = model().router.experts, hidden = model().hidden;
  const std::string good = file({});
  const std::string routers = good.substr(good.size() - 16, 8);
  const auto count = [&](const std::function<void(test::SafetensorsBuilder&)>& add) {
    test::SafetensorsBuilder builder;
    add(builder);
    builder.add("checksums", "I64", {2}, routers + std::string(8, '\0'));
    std::string bytes = builder.build();
    // Spaces after the header, so that the data has a place for floats.
    std::uint64_t header = 0;
    std::memcpy(&header, bytes.data(), 8);
    const std::size_t spaces = (8 - header % 8) % 8;
    bytes.insert(8 + header, spaces, ' ');
    header += spaces;
    std::memcpy(bytes.data(), &header, 8);
    const std::uint64_t sum = XXH3_64bits(bytes.data(), bytes.size() - 16);
    std::memcpy(bytes.data() + bytes.size() - 8, &sum, 8);
    const auto read = read_bytes(bytes);
    EXPECT_TRUE(read.ok()) << read.status().message();
    return read.ok() ? read->count() : 99;
  };
  const std::string name = "gates.across_layers.1.3";
  const std::string halves(experts * hidden * 2, '\0'), floats(experts * 4, '\0');
  const auto matrix = [&](test::SafetensorsBuilder& to) {
    to.add(name + ".weight", "F16", {experts, hidden}, halves);
  };
  const auto bias = [&](test::SafetensorsBuilder& to) {
    to.add(name + ".bias", "F32", {experts}, floats);
  };
  using Builder = test::SafetensorsBuilder;
  EXPECT_EQ(count([&](Builder& to) { matrix(to), bias(to); }), 1u);
  EXPECT_EQ(count([&](Builder& to) { bias(to), matrix(to); }), 1u);
  EXPECT_EQ(count([&](Builder& to) { matrix(to); }), 0u);
  EXPECT_EQ(count([&](Builder& to) { bias(to); }), 0u);
  EXPECT_EQ(count([&](Builder& to) {
              bias(to);
              to.add(name + ".weight", "F16", {hidden, experts}, halves);
            }),
            0u);
  EXPECT_EQ(count([&](Builder& to) {
              bias(to);
              to.add(name + ".weight", "BF16", {experts, hidden}, halves);
            }),
            0u);
  EXPECT_EQ(count([&](Builder& to) {
              matrix(to);
              to.add(name + ".bias", "I8", {experts}, std::string(experts, '\0'));
            }),
            0u)
      << "a bias of bytes is shorter than it looks";
  EXPECT_EQ(
      count([&](Builder& to) {  // a layer that is not there, and a look too far
        for (const std::string far : {"gates.across_layers.1.77", "gates.across_layers.9.3"}) {
          to.add(far + ".weight", "F16", {experts, hidden}, halves);
          to.add(far + ".bias", "F32", {experts}, floats);
        }
      }),
      0u);
}

TEST_F(GateCorrectionsTest, NoMutationIsTakenOrDoesHarm) {
  const std::string good = small_file();
  std::mt19937 random(9);
  for (int trial = 0; trial < 1000; ++trial) {
    std::string bytes = good;
    for (std::uint32_t change = 0; change <= random() % 3; ++change) {
      // Mostly where structure is.
      const std::size_t at =
          random() % (random() % 2 == 0 ? std::min<std::size_t>(bytes.size(), 600) : bytes.size());
      switch (random() % 5) {
        case 0:
          bytes[at] = static_cast<char>(random());
          break;
        case 1:
          bytes.erase(at, 1 + random() % 40);
          break;
        case 2:
          bytes.insert(at, bytes.substr(random() % bytes.size(), 1 + random() % 40));
          break;
        case 3:
          bytes.resize(at + 1);
          break;
        default:
          bytes[at] = "0123456789{}[],:\"- "[random() % 19];
      }
    }
    if (bytes == good) continue;
    ASSERT_FALSE(read_bytes(bytes).ok()) << "trial " << trial;
  }
}

}  // namespace
}  // namespace sluice
