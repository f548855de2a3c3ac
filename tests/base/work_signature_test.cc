// Whatever differs in what a stream is given shows, but for where rows stand.

#include "base/work_signature.h"

#include <gtest/gtest.h>

#include <cstring>
#include <functional>
#include <set>
#include <string>
#include <vector>

#include "base/canonical.h"

namespace sluice {
namespace {

using Bytes = std::string;

Bytes of(const std::function<void(WorkSignature&)>& add) {
  WorkSignature signature;
  add(signature);
  return {reinterpret_cast<const char*>(signature.bytes().data()), signature.bytes().size()};
}

/// Flips each byte of a task in turn and calls `change`: padding and what `is_free` says may change
/// without showing, all else shows.
template <typename Task>
void expect_every_byte_shows(const Task& task,
                             const std::function<Bytes(const Task&)>& signature_of,
                             std::size_t quiet) {
  const Bytes plain = signature_of(task);
  std::size_t unseen = 0;
  for (std::size_t at = 0; at < sizeof(Task); ++at) {
    Task changed = task;
    unsigned char byte;
    std::memcpy(&byte, reinterpret_cast<unsigned char*>(&changed) + at, 1);
    byte ^= 1;
    std::memcpy(reinterpret_cast<unsigned char*>(&changed) + at, &byte, 1);
    unseen += signature_of(changed) == plain ? 1 : 0;
  }
  EXPECT_EQ(unseen, quiet);
}

template <typename Task>
Bytes one(const Task& task) {
  return of([&](WorkSignature& signature) { signature.add(task); });
}

TEST(WorkSignature, EveryByteOfATaskShowsButItsPadding) {
  expect_every_byte_shows<NormTask>({}, one<NormTask>, 7 + 4);
  expect_every_byte_shows<RopeTask>({}, one<RopeTask>, 7);
  expect_every_byte_shows<CombineTask>({}, one<CombineTask>, 0);
  expect_every_byte_shows<MapTask>({}, one<MapTask>, 7 + 4);
  const auto matmul = [](const MatmulTask& task) {
    return of(
        [&](WorkSignature& signature) { signature.add(std::span<const MatmulTask>(&task, 1)); });
  };
  // Of the weight: after its layout, and after the width of planes.
  expect_every_byte_shows<MatmulTask>({}, matmul, 7 + 7);
  const auto ffn = [](const FfnTask& task) {
    return of([&](WorkSignature& signature) { signature.add(std::span<const FfnTask>(&task, 1)); });
  };
  expect_every_byte_shows<FfnTask>({}, ffn, 3 * (7 + 7) + 3 + 4);
}

TEST(WorkSignature, EveryPieceOfWorkHasItsOwn) {
  std::set<Bytes> all;
  all.insert(one(NormTask{}));
  all.insert(one(MapTask{}));
  all.insert(one(RopeTask{}));
  all.insert(one(AttentionTask{}));
  all.insert(one(DeltaNetTask{}));
  all.insert(one(CombineTask{}));
  all.insert(of([](WorkSignature& s) { s.add_quantise({}, 0); }));
  all.insert(of([](WorkSignature& s) { s.add(std::span<const MatmulTask>()); }));
  all.insert(of([](WorkSignature& s) { s.add(std::span<const FfnTask>()); }));
  all.insert(of([](WorkSignature& s) { s.add_store_kv({}, {}, nullptr, 0, nullptr, 0); }));
  all.insert(of([](WorkSignature& s) { s.add_upload(nullptr, nullptr, 1); }));
  all.insert(of([](WorkSignature& s) { s.add_download(nullptr, nullptr, 1); }));
  EXPECT_EQ(all.size(), 12u);
  EXPECT_FALSE(all.contains(Bytes{}));
}

TEST(WorkSignature, OfRowsHowManyFollowOneAnotherAndRoughlyWhatTheySee) {
  std::byte* blocks[2][64] = {};
  const auto attention = [&](const std::vector<AttentionRow>& rows) {
    return one(AttentionTask{.shape = {}, .rows = rows, .memory = {}});
  };
  const KvView a{blocks[0], 0, 8}, b{blocks[1], 64, 72};
  const Bytes alone = attention({{a, 300}});
  EXPECT_EQ(attention({{a, 257}}), alone);
  EXPECT_EQ(attention({{b, 319}}), alone) << "another sequence";
  EXPECT_EQ(attention({{b, 700, 450}}), alone) << "a window of as many blocks";
  EXPECT_NE(attention({{a, 320}}), alone) << "more blocks than work is made for";
  EXPECT_NE(attention({{a, 127}}), alone);
  EXPECT_NE(attention({{a, 300}, {b, 300}}), alone);
  EXPECT_NE(attention({{a, 300}, {a, 301}}), attention({{a, 300}, {b, 301}}));
  EXPECT_EQ(attention({{a, 300}, {a, 301}}), attention({{b, 258}, {b, 259}}));
  const auto stored = [&](const std::vector<AttentionRow>& rows) {
    return of([&](WorkSignature& signature) {
      signature.add_store_kv({}, rows, nullptr, 0, nullptr, 0);
    });
  };
  EXPECT_EQ(stored({{a, 300}}), stored({{b, 310}}));
}

TEST(WorkSignature, OfDeltaNetsWhichRowsShareAState) {
  float states[3] = {};
  const auto rows = [&](std::vector<float*> of_rows) {
    return one(DeltaNetTask{.shape = {}, .rows = of_rows.size(), .states = of_rows.data()});
  };
  EXPECT_EQ(rows({states, states, states + 1}), rows({states + 2, states + 2, states}));
  EXPECT_NE(rows({states, states, states + 1}), rows({states, states + 1, states + 1}));
  EXPECT_NE(rows({states}), rows({states, states}));
}

}  // namespace
}  // namespace sluice
