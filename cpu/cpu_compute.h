#pragma once
// The CPU as a device: kernels of the best instruction set, driven by a TBB arena of its own.

#include <cstddef>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "base/aligned_buffer.h"
#include "base/compute.h"
#include "base/status.h"
#include "cpu/attention.h"
#include "cpu/isa.h"
#include "cpu/kernels.h"
#include "cpu/workers.h"

namespace sluice {

/// `threads` threads, the caller's included; 0 means one for each processor that this process may
/// use. The instruction set is choose_isa()'s, whose errors this returns.
Result<std::unique_ptr<Compute>> make_cpu_compute(unsigned threads);
/// The same with a given instruction set; kUnsupported where the machine lacks it.
Result<std::unique_ptr<Compute>> make_cpu_compute(unsigned threads, Isa isa);

/// Used by one thread at a time. Lists of tasks and runs grow where a call is larger than any
/// before; nothing else is allocated after construction.
class CpuCompute final : public Compute {
 public:
  /// Use make_cpu_compute. `scratch` holds kScratchBytes for each worker.
  CpuCompute(unsigned threads, Isa isa, AlignedBuffer scratch);

  std::string_view name() const override { return name_; }
  void limit_threads(unsigned most) override { workers_.limit(most); }

  // cpu_compute.cc
  void share_out(std::size_t items, const std::function<void(std::size_t)>& body) override;
  void quantise(const Activations& activations, std::size_t rows) override;
  void repack(std::span<const RepackTask> tasks) override;
  void matmul(std::span<const MatmulTask> tasks) override;
  void ffn(std::span<const FfnTask> tasks) override;
  // norm.cc, map.cc, rope.cc
  void norm(const NormTask& task) override;
  void map(const MapTask& task) override;
  void rope(const RopeTask& task) override;
  // attention.cc
  void store_kv(const AttentionShape& shape, std::span<const AttentionRow> rows, const float* keys,
                std::size_t key_stride, const float* values, std::size_t value_stride) override;
  std::size_t attention_bytes(const AttentionShape& shape, std::size_t positions,
                              unsigned threads) const override;
  void attention(const AttentionTask& task) override;
  // delta_net.cc
  void delta_net(const DeltaNetTask& task) override;
  // combine.cc
  void combine(const CombineTask& task) override;

  /// A worker's own memory for the length of one item: 64-byte aligned.
  static constexpr std::size_t kScratchBytes = 320 * 1024;

 private:
  /// Cuts the product of each task's `weight` into tiles: body(task, first weight row, first row,
  /// worker).
  template <typename Task, typename Body>
  void for_each_tile(std::span<const Task> tasks, WeightMatrix Task::*weight, const Body& body);
  void make_hidden(const FfnTask& task, std::size_t first_weight_row, std::size_t first_row,
                   std::byte* scratch);
  std::byte* scratch(unsigned worker) { return scratch_.data() + worker * kScratchBytes; }

  Workers workers_;
  const Kernels& kernels_;
  std::string name_;
  AlignedBuffer scratch_;
  std::vector<std::size_t> item_ends_;        // of the tasks in flight: running sum of their items
  std::vector<AttentionRun> attention_runs_;  // of the rows in flight
  std::vector<std::size_t> delta_net_runs_;   // likewise
};

}  // namespace sluice
