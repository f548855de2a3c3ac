#pragma once
// A stream of a FakeDevice as a processor: tasks are copied when they are given, and computed as
// the CPU computes them when the device comes to it.
//
// A task that names memory of somebody else's is an error of the device's, as it would be of a real
// one.

#include <initializer_list>
#include <type_traits>

#include "base/fake_device.h"
#include "base/operations.h"

namespace sluice {

class FakeOperations final : public Operations {
 public:
  /// Borrows both: `compute` computes.
  FakeOperations(FakeDevice& device, Compute& compute, StreamIndex stream)
      : device_(device), compute_(compute), stream_(stream) {}

  void norm(const NormTask& task) override;
  void map(const MapTask& task) override;
  void quantise(const Activations& activations, std::size_t rows) override;
  void matmul(std::span<const MatmulTask> tasks) override;
  void ffn(std::span<const FfnTask> tasks) override;
  void rope(const RopeTask& task) override;
  void store_kv(const AttentionShape& shape, std::span<const AttentionRow> rows, const float* keys,
                std::size_t key_stride, const float* values, std::size_t value_stride) override;
  std::size_t attention_bytes(const AttentionShape& shape, std::size_t positions,
                              unsigned threads) const override;
  void attention(const AttentionTask& task) override;
  void delta_net(const DeltaNetTask& task) override;
  void combine(const CombineTask& task) override;

 private:
  void check(std::initializer_list<const void*> pointers);
  void check(const Activations& rows);
  void check(const WeightMatrix& weight);
  void check(std::span<const AttentionRow> rows);
  template <typename... Work>
  void describe(void (WorkSignature::*add)(Work...), std::type_identity_t<Work>... work);
  template <typename Run>
  void give(Run run);

  FakeDevice& device_;
  Compute& compute_;
  const StreamIndex stream_;
};

}  // namespace sluice
