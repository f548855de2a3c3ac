#pragma once
// A device that rearranges weights in a way that can be seen, and does nothing else.

#include <gtest/gtest.h>

#include <cstddef>
#include <span>

#include "base/compute.h"

namespace sluice::test {

/// Turns every bit over; has no better order for Q6_K.
class FakeDevice : public Compute {
 public:
  static bool repacks(const WeightMatrix& weight) {
    return weight.format->type != TensorType::kQ6_K;
  }
  void repack(std::span<const RepackTask> tasks) override {
    for (const RepackTask& task : tasks) {
      EXPECT_EQ(task.weight->layout, WeightLayout::kRows);
      EXPECT_EQ(task.data, task.weight->data);
      if (!repacks(*task.weight)) continue;
      for (std::size_t i = 0; i < task.weight->bytes(); ++i) task.data[i] = ~task.data[i];
      task.weight->layout = WeightLayout::kStrips;
    }
  }

  void share_out(std::size_t items, const std::function<void(std::size_t)>& body) override {
    for (std::size_t item = items; item > 0; --item) body(item - 1);  // in no order
  }

  std::string_view name() const override { return "fake"; }
  void limit_threads(unsigned) override {}
  void norm(const NormTask&) override {}
  void map(const MapTask&) override {}
  void quantise(const Activations&, std::size_t) override {}
  void matmul(std::span<const MatmulTask>) override {}
  void ffn(std::span<const FfnTask>) override {}
  void rope(const RopeTask&) override {}
  void store_kv(const AttentionShape&, std::span<const AttentionRow>, const float*, std::size_t,
                const float*, std::size_t) override {}
  std::size_t attention_bytes(const AttentionShape&, std::size_t, unsigned) const override {
    return 0;
  }
  void attention(const AttentionTask&) override {}
  void delta_net(const DeltaNetTask&) override {}
  void combine(const CombineTask&) override {}
};

}  // namespace sluice::test
