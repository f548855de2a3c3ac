// Layers whose dense part a device computes change no bit, however many they are and whenever the
// device gets to it; and when it is lost, the request goes on with the right bits.

#include "devices/devices.h"

#include <gtest/gtest.h>

#include "tests/engine/each_oracle.h"

namespace sluice {
namespace {

using test::Conditions;

constexpr std::uint64_t kMiB = std::uint64_t{1} << 20;
constexpr std::uint64_t kPlenty = std::uint64_t{1} << 30;

Conditions with_layers(Conditions conditions, std::optional<std::uint32_t> layers,
                       std::uint64_t vram, std::uint64_t seed) {
  conditions.device = FakeDeviceOptions{.seed = seed};
  conditions.vram = vram;
  conditions.device_layers = layers;
  return conditions;
}

/// Appends a text in pieces of these sizes, the last as often as needed.
std::vector<float> logits_of(Session& session, std::span<const TokenId> tokens,
                             std::vector<std::size_t> pieces) {
  std::vector<float> all;
  for (std::size_t done = 0, piece = 0; done < tokens.size(); ++piece) {
    const std::size_t wanted = pieces[std::min(piece, pieces.size() - 1)];
    const std::size_t count = std::min(wanted, tokens.size() - done);
    const Status status = session.eval(tokens.subspan(done, count), Session::Logits::kAll,
                                       [&](std::size_t, std::span<const float> row) {
                                         all.insert(all.end(), row.begin(), row.end());
                                       });
    EXPECT_TRUE(status.ok()) << status.message();
    if (!status.ok()) break;
    done += count;
  }
  return all;
}

class DenseDeviceTest : public testing::Test {
 protected:
  const std::vector<TokenId> tokens_ = test::some_tokens(40);
  const std::vector<float> reference_ = test::all_logits({.ram = kPlenty}, tokens_);
};

TEST_F(DenseDeviceTest, AnyNumberOfLayersGivesTheSameBits) {
  const auto layers =
      static_cast<std::uint32_t>(test::open({.ram = kPlenty}).model->description().layers.size());
  for (std::uint32_t count = 0; count <= layers; ++count) {
    for (const std::uint32_t rows : {1u, 7u, 64u}) {
      constexpr const char* kPlacements[] = {"auto", "gpu-only", "static:3"};
      const char* const placement = kPlacements[(count + rows) % 3];
      SCOPED_TRACE(std::to_string(count) + " layers, " + std::to_string(rows) + " rows, " +
                   placement);
      Conditions conditions = with_layers({.ram = kPlenty, .threads = 2}, count, kPlenty, rows);
      conditions.model.max_rows = rows;
      conditions.placement = parse_placement(placement).value();
      auto opened = test::open(conditions);
      Session session(*opened.model);
      EXPECT_TRUE(test::same_bits(test::all_logits(session, tokens_), reference_));
      EXPECT_EQ(opened.model->devices().dense_layers(), count);
      EXPECT_EQ(opened.model->devices().dense_closed(), "");
      EXPECT_EQ(opened.model->devices().statistics().value().tier.closed, "");
    }
  }
}

TEST_F(DenseDeviceTest, AsManyLayersAsTheMemoryHoldsAndNotAByteMore) {
  std::set<std::uint32_t> counts;
  for (std::uint64_t vram = kMiB / 2; vram <= 64 * kMiB; vram += vram / 3) {
    SCOPED_TRACE(vram);
    Conditions conditions = with_layers({.ram = kPlenty}, std::nullopt, vram, vram);
    conditions.device->batch_bytes = vram % 3 == 0 ? 0 : vram / 64;
    conditions.model.max_rows = 16;
    auto opened = test::open(conditions);
    Session session(*opened.model);
    EXPECT_TRUE(test::same_bits(test::all_logits(session, tokens_), reference_));
    const auto memory = opened.device().memory();
    const std::uint32_t layers = opened.model->devices().dense_layers();
    const std::uint64_t for_batches = layers > 0 ? conditions.device->batch_bytes : 0;
    EXPECT_LE(memory->total - memory->free + for_batches, vram);
    counts.insert(layers);
  }
  EXPECT_GE(counts.size(), 3u) << "none, some and all were meant to fit";
}

/// Blocks of the cache come and go with a conversation, and sessions share the pool.
TEST_F(DenseDeviceTest, SessionsTakeTurnsAndGoBack) {
  const auto text = test::some_tokens(150, 7), other = test::some_tokens(90, 8);
  Conditions plain{.ram = kPlenty};
  plain.model.sequences = 2;
  const std::vector<float> expected = test::all_logits(plain, text);
  const std::vector<float> others = test::all_logits(plain, other);
  for (const std::uint32_t layers : {1u, 100u}) {
    Conditions conditions = with_layers(plain, layers, kPlenty, 3);
    conditions.model.max_rows = 32;
    auto opened = test::open(conditions);
    const std::size_t vocabulary = opened.model->description().vocabulary;
    const auto part_of = [&](const std::vector<float>& all, std::size_t from) {
      return std::vector(all.begin() + static_cast<std::ptrdiff_t>(from * vocabulary), all.end());
    };
    Session a(*opened.model), b(*opened.model);
    EXPECT_TRUE(test::same_bits(logits_of(a, text, {70, 1, 1, 33}), expected));
    EXPECT_TRUE(test::same_bits(logits_of(b, other, {1, 64, 2}), others));
    for (const std::size_t length : {149u, 100u, 64u, 63u, 1u}) {
      a.truncate(length);
      EXPECT_TRUE(test::same_bits(logits_of(a, std::span(text).subspan(length), {9, 50}),
                                  part_of(expected, length)));
    }
    b.truncate(0);
    EXPECT_TRUE(test::same_bits(logits_of(b, text, {150}), expected));
  }
}

/// Steps of decoding ask the device for the same work at other places, in batches alone.
TEST_F(DenseDeviceTest, DecodingRecurs) {
  const auto text = test::some_tokens(80, 7);
  Conditions conditions = with_layers({.ram = kPlenty}, std::nullopt, kPlenty, 3);
  conditions.model.sequences = 2;
  conditions.placement = parse_placement("static:0").value();
  auto opened = test::open(conditions);
  const FakeDevice::Batches& batches = opened.device().batches();
  const std::uint64_t layers = opened.model->devices().dense_layers();
  Session a(*opened.model), b(*opened.model);
  logits_of(a, text, {40, 1});
  logits_of(b, std::span(text).first(30), {29, 1});
  const auto step = [&](Session& session, std::size_t position) {
    logits_of(session, std::span(text).subspan(position, 1), {1});
  };
  b.truncate(20);
  // Other sequences, other positions: no work that was not before, up to new blocks.
  const FakeDevice::Batches before = batches;
  for (std::size_t position = 20; position < 28; ++position) step(b, position);
  const FakeDevice::Batches after = batches;
  EXPECT_EQ(after.alone, before.alone);
  EXPECT_EQ(after.given - before.given, after.recurred - before.recurred);
  // Between two routers a batch and, beside the experts, at most another.
  EXPECT_GE(after.given - before.given, 8 * layers);
  EXPECT_LE(after.given - before.given, 8 * (2 * layers + 1));
}

TEST_F(DenseDeviceTest, WhateverTheDeviceDoesFirst) {
  for (std::uint64_t seed = 1; seed <= 12; ++seed) {
    SCOPED_TRACE(seed);
    Conditions conditions =
        with_layers({.ram = kPlenty}, std::nullopt, seed % 2 == 0 ? kPlenty : 8 * kMiB, seed);
    conditions.model.max_rows = 1 + static_cast<std::uint32_t>(seed % 5) * 4;
    conditions.model.compute_f32 = seed % 4 == 0;
    conditions.model.kv_type = seed % 3 == 0 ? KvType::kF32 : KvType::kF16;
    Conditions plain = conditions;
    plain.device.reset();
    plain.vram.reset();
    EXPECT_TRUE(
        test::same_bits(test::all_logits(conditions, tokens_), test::all_logits(plain, tokens_)));
  }
}

TEST_F(DenseDeviceTest, ADeviceThatOnlyMultipliesSomeMatricesHasTheLayersBehindTheOthers) {
  for (const bool head : {false, true}) {
    Conditions conditions = with_layers({.ram = kPlenty}, std::nullopt, kPlenty, 1);
    const std::size_t vocabulary = test::open({.ram = kPlenty}).model->description().vocabulary;
    conditions.device->multiplies = [=](const WeightMatrix& weight) {
      return (weight.rows == vocabulary) == head;
    };
    auto opened = test::open(conditions);
    EXPECT_EQ(opened.model->devices().dense_layers(), 0u);
    Session session(*opened.model);
    EXPECT_TRUE(test::same_bits(test::all_logits(session, tokens_), reference_));
  }
}

/// What the host takes from the device, for rows of a pass: what it routes by, and neither the
/// residual, which nobody looks at, nor any expert's output.
std::uint64_t looked_at(const ModelDescription& model, std::uint64_t rows) {
  const std::uint64_t normed = model.hidden * 5 + model.hidden / 32 * 4 + model.hidden / 16 * 2;
  const std::uint64_t of_layer = model.router.experts * sizeof(float) + normed;
  return rows * (model.layers.size() * of_layer + model.vocabulary * sizeof(float));
}

/// What the device needs, where it computes all of it: the residual, what RoPE turns by, and which
/// experts have which rows.
std::uint64_t said(const ModelDescription& model, std::uint64_t rows) {
  std::uint64_t of_row = (model.hidden + 1) * sizeof(float);  // and the row's number, for logits
  for (const RopeDescription& rope : model.ropes) of_row += rope.rotary_dim * sizeof(float);
  return rows * (of_row + model.layers.size() * model.router.top_k * 12);
}

TEST_F(DenseDeviceTest, WhatExpertsGiveStaysOnTheDeviceAndIsAddedUpThere) {
  for (const char* const placement : {"gpu-only", "static:9", "auto"}) {
    for (const std::uint32_t rows : {1u, 8u, 40u}) {
      SCOPED_TRACE(std::string(placement) + ", " + std::to_string(rows) + " rows");
      Conditions conditions = with_layers({.ram = kPlenty}, std::nullopt, kPlenty, rows);
      conditions.model.max_rows = rows;
      conditions.placement = parse_placement(placement).value();
      auto opened = test::open(conditions);
      const ModelDescription& model = opened.model->description();
      ASSERT_EQ(opened.model->devices().dense_layers(), model.layers.size());
      ASSERT_TRUE(std::ranges::all_of(model.layers, &LayerDescription::sparse));
      Session before(*opened.model);
      EXPECT_TRUE(test::same_bits(test::all_logits(before, tokens_), reference_));
      before.truncate(0);
      const FakeDevice::Traffic up = opened.device().uploaded();
      const FakeDevice::Traffic down = opened.device().downloaded();
      EXPECT_TRUE(test::same_bits(test::all_logits(before, tokens_), reference_));
      EXPECT_EQ(opened.device().downloaded().bytes - down.bytes, looked_at(model, tokens_.size()));
      if (conditions.placement.mode == Placement::Mode::kGpuOnly) {
        // And where the one block of keys and values is.
        EXPECT_EQ(opened.device().uploaded().bytes - up.bytes,
                  said(model, tokens_.size()) + sizeof(std::byte*));
      }
    }
  }
}

/// Rows of fewer experts than others, at widths of their own.
TEST_F(DenseDeviceTest, WhereRowsLeaveExpertsOut) {
  Conditions plain{.ram = kPlenty};
  plain.model.tolerance.skip = 0.3f;
  const std::vector<float> expected = test::all_logits(plain, tokens_);
  EXPECT_FALSE(test::same_bits(expected, reference_));
  for (const char* const placement : {"gpu-only", "static:9"}) {
    Conditions conditions = with_layers(plain, std::nullopt, kPlenty, 5);
    conditions.model.max_rows = 9;
    conditions.placement = parse_placement(placement).value();
    EXPECT_TRUE(test::same_bits(test::all_logits(conditions, tokens_), expected));
  }
}

class DenseDeviceFaults : public DenseDeviceTest {
 protected:
  static Conditions failing(std::uint64_t FakeDeviceOptions::*what, std::uint64_t n) {
    Conditions conditions = with_layers({.ram = kPlenty}, 2, 24 * kMiB, n);
    (*conditions.device).*what = n;
    conditions.model.max_rows = 3;
    conditions.model.sequences = 2;
    return conditions;
  }
  std::vector<TokenId> text_ = test::some_tokens(6);
  std::vector<float> expected_ = test::all_logits({.ram = kPlenty}, text_);
};

/// Every logit is told once, whether the device computed it or the host after it.
TEST_F(DenseDeviceFaults, TheNthCopyOrKernelFailsAndTheRequestGoesOn) {
  std::size_t tier_alone = 0;
  for (const auto what : {&FakeDeviceOptions::failing_copy, &FakeDeviceOptions::failing_kernel,
                          &FakeDeviceOptions::refused_copy}) {
    bool closed = true;
    std::size_t during = 0;  // the failures that a pass saw
    std::uint64_t n = 0;
    while (closed && n < 3000) {
      n += n < 40 ? 1 : 7;
      SCOPED_TRACE(n);
      auto opened = test::open(failing(what, n));
      Session session(*opened.model), second(*opened.model);
      EXPECT_TRUE(test::same_bits(logits_of(session, text_, {4, 1}), expected_));
      EXPECT_TRUE(test::same_bits(logits_of(second, text_, {6}), expected_));
      const Devices& devices = opened.model->devices();
      if (devices.dense_layers() == 0) continue;  // it failed while it was set up
      const auto statistics = devices.statistics();
      closed = !devices.dense_open() || (statistics && !statistics->tier.closed.empty());
      during += devices.dense_open() ? 0 : 1;
      tier_alone += closed && devices.dense_open() ? 1 : 0;
      if (!devices.dense_open()) {
        EXPECT_NE(devices.dense_closed(), "");
        session.truncate(2);
        EXPECT_TRUE(test::same_bits(
            logits_of(session, std::span(text_).subspan(2), {2}),
            std::vector(expected_.begin() +
                            static_cast<std::ptrdiff_t>(2 * expected_.size() / text_.size()),
                        expected_.end())));
      }
    }
    EXPECT_FALSE(closed) << "the last one was meant to be behind the run";
    EXPECT_GT(during, 10u);
  }
  EXPECT_GT(tier_alone, 5u) << "experts were meant to fail that the sum on the device waits for";
}

TEST_F(DenseDeviceFaults, TheNthAllocationFailsAndFewerLayersOrNoneAreThere) {
  for (std::uint64_t n = 1; n < 20; ++n) {
    SCOPED_TRACE(n);
    auto opened = test::open(failing(&FakeDeviceOptions::failing_allocation, n));
    Session session(*opened.model);
    EXPECT_TRUE(test::same_bits(logits_of(session, text_, {4, 1}), expected_));
  }
}

/// All families: latent attention, delta nets, windows, sinks, gates, shared experts and networks
/// beside the experts, routers that read the layer's input.
TEST(DenseDeviceOracles, EveryFamilyHasTheSameBits) {
  std::size_t on_device = 0;
  const auto visit = [&](const Conditions& conditions, const std::vector<TokenId>& tokens) {
    const std::vector<float> reference = test::all_logits(conditions, tokens);
    for (const std::uint32_t layers : {1u, 100u}) {
      auto opened = test::open(with_layers(conditions, layers, kPlenty, layers));
      Session session(*opened.model);
      EXPECT_TRUE(test::same_bits(test::all_logits(session, tokens), reference));
      // What recurrent layers keep goes back, too.
      session.truncate(9);
      const std::vector<float> rest = logits_of(session, std::span(tokens).subspan(9), {3, 1});
      EXPECT_TRUE(test::same_bits(
          rest, std::vector(reference.end() - static_cast<std::ptrdiff_t>(rest.size()),
                            reference.end())));
      EXPECT_EQ(opened.model->devices().dense_closed(), "");
      on_device += opened.model->devices().dense_layers() > 0 ? 1 : 0;
    }
  };
  const std::size_t models = test::for_each_oracle(test::oracle_models(), 5, 16, visit);
  if (models == 0) GTEST_SKIP() << "there are no oracles here";
  EXPECT_GT(on_device, models);
}

}  // namespace
}  // namespace sluice
