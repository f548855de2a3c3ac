#include "cuda/cuda_operations.h"

#include <algorithm>
#include <string>
#include <utility>

#include "cuda/attention.h"
#include "cuda/combine.h"
#include "cuda/cuda_device.h"
#include "cuda/delta_net.h"
#include "cuda/row_ops.h"

namespace sluice::cuda {

Status CudaOperations::take_error() { return std::exchange(error_, Status()); }

template <typename Launch>
void CudaOperations::give(std::string_view doing, const Launch& launch) {
  if (error_.ok()) error_ = device_.begin();
  if (error_.ok()) error_ = device_.check(launch(device_.streams_[stream_]), doing);
}

void CudaOperations::refuse(std::string_view what) {
  if (!error_.ok()) return;
  error_ =
      Status(ErrorCode::kUnsupported, device_.name_ + " has no kernel for " + std::string(what) +
                                          "; layers that need one are the CPU's");
}

void CudaOperations::norm(const NormTask& task) {
  give("a norm", [&](cudaStream_t stream) { return launch_norm(task, stream); });
}

void CudaOperations::map(const MapTask& task) {
  give("a map", [&](cudaStream_t stream) { return launch_map(task, stream); });
}

void CudaOperations::quantise(const Activations& activations, std::size_t rows) {
  give("quantising rows",
       [&](cudaStream_t stream) { return launch_quantise(activations, rows, stream); });
}

template <typename Task>
void CudaOperations::give_products(std::string_view doing, std::span<const Task> tasks) {
  if (error_.ok()) error_ = device_.plan_.plan(tasks);
  give(doing, [&](cudaStream_t stream) { return device_.give(stream); });
}

void CudaOperations::matmul(std::span<const MatmulTask> tasks) {
  give_products("a product", tasks);
}

void CudaOperations::ffn(std::span<const FfnTask> tasks) { give_products("a network", tasks); }

void CudaOperations::rope(const RopeTask& task) {
  give("RoPE", [&](cudaStream_t stream) { return launch_rope(task, stream); });
}

/// launch(some, some there, stream), of as many at a time as the ring takes.
template <typename T, typename Launch>
void CudaOperations::give_array(std::string_view doing, std::span<const T> array,
                                const Launch& launch) {
  constexpr std::size_t kMost = UploadRing::kMost<T>;
  for (std::size_t first = 0; first < array.size(); first += kMost) {
    const auto some = array.subspan(first, std::min(kMost, array.size() - first));
    give(doing, [&](cudaStream_t stream) {
      const T* there = nullptr;
      cudaError_t error = device_.put(stream, some, there);
      if (error == cudaSuccess) error = launch(some, there, stream);
      const cudaError_t closed = device_.close(stream);
      return error != cudaSuccess ? error : closed;
    });
  }
}

void CudaOperations::store_kv(const AttentionShape& shape, std::span<const AttentionRow> rows,
                              const float* keys, std::size_t key_stride, const float* values,
                              std::size_t value_stride) {
  give_array(
      "storing keys and values", rows,
      [&](std::span<const AttentionRow> some, const AttentionRow* there, cudaStream_t stream) {
        const auto first = static_cast<std::size_t>(some.data() - rows.data());
        return launch_store_kv(shape, there, static_cast<std::uint32_t>(some.size()),
                               keys + first * key_stride, key_stride,
                               shape.value_in_key ? nullptr : values + first * value_stride,
                               value_stride, stream);
      });
}

std::size_t CudaOperations::attention_bytes(const AttentionShape& shape, std::size_t positions,
                                            unsigned) const {
  return cuda::attention_bytes(shape, positions);
}

void CudaOperations::attention(const AttentionTask& task) {
  give_array(
      "attention", task.rows,
      [&](std::span<const AttentionRow> some, const AttentionRow* there, cudaStream_t stream) {
        const auto first = static_cast<std::size_t>(some.data() - task.rows.data());
        AttentionTask part = task;
        part.rows = some;
        part.q += first * task.q_stride;
        part.out += first * task.out_stride;
        return launch_attention(part, there, stream, {.recurs = device_.captured_ != nullptr});
      });
}

void CudaOperations::delta_net(const DeltaNetTask& task) {
  if (!has_delta_net(task.shape)) {
    return refuse("delta nets with keys of " + std::to_string(task.shape.key_dim) +
                  " and convolutions of " + std::to_string(task.shape.kernel));
  }
  delta_net(task, runs_of(task));
}

std::span<const DeltaNetRun> CudaOperations::runs_of(const DeltaNetTask& task) {
  delta_net_runs(task, runs_);
  return runs_;
}

void CudaOperations::delta_net(const DeltaNetTask& task, std::span<const DeltaNetRun> runs) {
  give_array("a delta net", runs,
             [&](std::span<const DeltaNetRun> some, const DeltaNetRun* there, cudaStream_t stream) {
               return launch_delta_net(task, some, there, stream);
             });
}

void CudaOperations::combine(const CombineTask& task) {
  give("a sum of experts", [&](cudaStream_t stream) { return launch_combine(task, stream); });
}

void CudaOperations::upload(std::byte* device, const std::byte* host, std::size_t bytes) {
  give("a copy to it", [&](cudaStream_t stream) {
    return cudaMemcpyAsync(device, host, bytes, cudaMemcpyHostToDevice, stream);
  });
}

void CudaOperations::download(std::byte* host, const std::byte* device, std::size_t bytes) {
  give("a copy from it", [&](cudaStream_t stream) {
    return cudaMemcpyAsync(host, device, bytes, cudaMemcpyDeviceToHost, stream);
  });
}

}  // namespace sluice::cuda
