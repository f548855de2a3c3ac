#include "base/fake_operations.h"

#include <utility>
#include <vector>

namespace sluice {

void FakeOperations::check(std::initializer_list<const void*> pointers) {
  for (const void* pointer : pointers) {
    if (pointer != nullptr) device_.expect_own(pointer);
  }
}

void FakeOperations::check(const Activations& rows) {
  check({rows.values, rows.codes});
  if (rows.codes != nullptr) check({rows.scales, rows.sums});
}

void FakeOperations::check(const WeightMatrix& weight) { check({weight.data, weight.scales.data}); }

void FakeOperations::check(std::span<const AttentionRow> rows) {
  for (const AttentionRow& row : rows) check({row.kv.blocks});
}

template <typename... Work>
void FakeOperations::describe(void (WorkSignature::*add)(Work...),
                              std::type_identity_t<Work>... work) {
  device_.describe(stream_, add, work...);
}

template <typename Run>
void FakeOperations::give(Run run) {
  device_.compute(stream_, device_.options_.operation,
                  [this, run = std::move(run)] { run(compute_); });
}

void FakeOperations::norm(const NormTask& task) {
  describe<const NormTask&>(&WorkSignature::add, task);
  check({task.x, task.weight, task.bias, task.out});
  give([task](Compute& compute) { compute.norm(task); });
}

void FakeOperations::map(const MapTask& task) {
  describe<const MapTask&>(&WorkSignature::add, task);
  check({task.out, task.x, task.gates});
  give([task](Compute& compute) { compute.map(task); });
}

void FakeOperations::quantise(const Activations& activations, std::size_t rows) {
  describe(&WorkSignature::add_quantise, activations, rows);
  check(activations);
  give([activations, rows](Compute& compute) { compute.quantise(activations, rows); });
}

void FakeOperations::matmul(std::span<const MatmulTask> tasks) {
  describe<std::span<const MatmulTask>>(&WorkSignature::add, tasks);
  for (const MatmulTask& task : tasks) {
    check(task.weight);
    check(task.input);
    check({task.row_index, task.output, task.bias});
  }
  give([all = std::vector(tasks.begin(), tasks.end())](Compute& compute) { compute.matmul(all); });
}

void FakeOperations::ffn(std::span<const FfnTask> tasks) {
  describe<std::span<const FfnTask>>(&WorkSignature::add, tasks);
  double seconds = 0;
  for (const FfnTask& task : tasks) {
    for (const WeightMatrix* weight : {&task.gate, &task.up, &task.down}) check(*weight);
    check(task.input);
    check(task.hidden);
    check({task.gate_bias, task.up_bias, task.down_bias, task.row_index, task.output});
    seconds += device_.options_.seconds(task);
  }
  device_.compute(stream_, seconds,
                  [this, all = std::vector(tasks.begin(), tasks.end())] { compute_.ffn(all); });
}

void FakeOperations::rope(const RopeTask& task) {
  describe<const RopeTask&>(&WorkSignature::add, task);
  check({task.x, task.cosines, task.sines});
  give([task](Compute& compute) { compute.rope(task); });
}

void FakeOperations::store_kv(const AttentionShape& shape, std::span<const AttentionRow> rows,
                              const float* keys, std::size_t key_stride, const float* values,
                              std::size_t value_stride) {
  describe(&WorkSignature::add_store_kv, shape, rows, keys, key_stride, values, value_stride);
  check(rows);
  check({keys, shape.value_in_key ? nullptr : values});
  give([=, all = std::vector(rows.begin(), rows.end())](Compute& compute) {
    compute.store_kv(shape, all, keys, key_stride, values, value_stride);
  });
}

std::size_t FakeOperations::attention_bytes(const AttentionShape& shape, std::size_t positions,
                                            unsigned threads) const {
  return compute_.attention_bytes(shape, positions, threads);
}

void FakeOperations::attention(const AttentionTask& task) {
  describe<const AttentionTask&>(&WorkSignature::add, task);
  check(task.rows);
  check({task.q, task.out, task.sinks, task.memory.data()});
  give([task, rows = std::vector(task.rows.begin(), task.rows.end())](Compute& compute) {
    AttentionTask there = task;
    there.rows = rows;
    compute.attention(there);
  });
}

void FakeOperations::delta_net(const DeltaNetTask& task) {
  describe<const DeltaNetTask&>(&WorkSignature::add, task);
  check({task.qkv, task.conv_weight, task.alpha, task.beta, task.a, task.dt_bias, task.gate,
         task.norm_weight, task.out});
  std::vector<float*> states(task.states, task.states + task.rows);
  for (const float* state : states) check({state});
  give([task, states = std::move(states)](Compute& compute) {
    DeltaNetTask there = task;
    there.states = states.data();
    compute.delta_net(there);
  });
}

void FakeOperations::combine(const CombineTask& task) {
  describe<const CombineTask&>(&WorkSignature::add, task);
  check({task.outputs, task.places, task.weights, task.out});
  give([task](Compute& compute) { compute.combine(task); });
}

}  // namespace sluice
