#include "cuda/batched_operations.h"

#include <vector>

namespace sluice::cuda {
namespace {

template <typename T>
const T* at(const std::byte* changing, std::size_t place) {
  return reinterpret_cast<const T*>(changing + place);
}

}  // namespace

void BatchedOperations::norm(const NormTask& task) {
  if (!batches_.open()) return launches_.norm(task);
  batches_.add([&](WorkSignature& signature) { signature.add(task); },
               [&] { return [task](CudaOperations& to, const std::byte*) { to.norm(task); }; });
}

void BatchedOperations::map(const MapTask& task) {
  if (!batches_.open()) return launches_.map(task);
  batches_.add([&](WorkSignature& signature) { signature.add(task); },
               [&] { return [task](CudaOperations& to, const std::byte*) { to.map(task); }; });
}

void BatchedOperations::quantise(const Activations& activations, std::size_t rows) {
  if (!batches_.open()) return launches_.quantise(activations, rows);
  batches_.add([&](WorkSignature& signature) { signature.add_quantise(activations, rows); },
               [&] {
                 return [activations, rows](CudaOperations& to, const std::byte*) {
                   to.quantise(activations, rows);
                 };
               });
}

void BatchedOperations::matmul(std::span<const MatmulTask> tasks) {
  if (!batches_.open()) return launches_.matmul(tasks);
  batches_.add([&](WorkSignature& signature) { signature.add(tasks); },
               [&] {
                 return [all = std::vector(tasks.begin(), tasks.end())](
                            CudaOperations& to, const std::byte*) { to.matmul(all); };
               });
}

void BatchedOperations::ffn(std::span<const FfnTask> tasks) {
  if (!batches_.open()) return launches_.ffn(tasks);
  batches_.add([&](WorkSignature& signature) { signature.add(tasks); },
               [&] {
                 return [all = std::vector(tasks.begin(), tasks.end())](
                            CudaOperations& to, const std::byte*) { to.ffn(all); };
               });
}

void BatchedOperations::rope(const RopeTask& task) {
  if (!batches_.open()) return launches_.rope(task);
  batches_.add([&](WorkSignature& signature) { signature.add(task); },
               [&] { return [task](CudaOperations& to, const std::byte*) { to.rope(task); }; });
}

void BatchedOperations::store_kv(const AttentionShape& shape, std::span<const AttentionRow> rows,
                                 const float* keys, std::size_t key_stride, const float* values,
                                 std::size_t value_stride) {
  if (!batches_.open()) {
    return launches_.store_kv(shape, rows, keys, key_stride, values, value_stride);
  }
  const std::size_t place = batches_.add_changing(rows);
  batches_.add(
      [&](WorkSignature& signature) {
        signature.add_store_kv(shape, rows, keys, key_stride, values, value_stride);
      },
      [&] {
        return [=, n = rows.size()](CudaOperations& to, const std::byte* changing) {
          to.store_kv(shape, {at<AttentionRow>(changing, place), n}, keys, key_stride, values,
                      value_stride);
        };
      });
}

std::size_t BatchedOperations::attention_bytes(const AttentionShape& shape, std::size_t positions,
                                               unsigned threads) const {
  return launches_.attention_bytes(shape, positions, threads);
}

void BatchedOperations::attention(const AttentionTask& task) {
  if (!batches_.open()) return launches_.attention(task);
  const std::size_t place = batches_.add_changing(task.rows);
  batches_.add([&](WorkSignature& signature) { signature.add(task); },
               [&] {
                 return [=](CudaOperations& to, const std::byte* changing) {
                   AttentionTask now = task;
                   now.rows = {at<AttentionRow>(changing, place), task.rows.size()};
                   to.attention(now);
                 };
               });
}

void BatchedOperations::delta_net(const DeltaNetTask& task) {
  if (!batches_.open() || !has_delta_net(task.shape)) return launches_.delta_net(task);
  const std::span<const DeltaNetRun> runs = launches_.runs_of(task);
  const std::size_t place = batches_.add_changing(runs);
  batches_.add([&](WorkSignature& signature) { signature.add(task); },
               [&] {
                 return [=, n = runs.size()](CudaOperations& to, const std::byte* changing) {
                   to.delta_net(task, {at<DeltaNetRun>(changing, place), n});
                 };
               });
}

void BatchedOperations::combine(const CombineTask& task) {
  if (!batches_.open()) return launches_.combine(task);
  batches_.add([&](WorkSignature& signature) { signature.add(task); },
               [&] { return [task](CudaOperations& to, const std::byte*) { to.combine(task); }; });
}

void BatchedOperations::upload(std::byte* device, const std::byte* host, std::size_t bytes) {
  batches_.add([&](WorkSignature& signature) { signature.add_upload(device, host, bytes); },
               [&] {
                 return
                     [=](CudaOperations& to, const std::byte*) { to.upload(device, host, bytes); };
               });
}

void BatchedOperations::download(std::byte* host, const std::byte* device, std::size_t bytes) {
  batches_.add([&](WorkSignature& signature) { signature.add_download(host, device, bytes); },
               [&] {
                 return [=](CudaOperations& to, const std::byte*) {
                   to.download(host, device, bytes);
                 };
               });
}

}  // namespace sluice::cuda
