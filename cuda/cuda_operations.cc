#include "cuda/cuda_operations.h"

#include <string>
#include <utility>

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

void CudaOperations::matmul(std::span<const MatmulTask>) { refuse("products"); }

void CudaOperations::ffn(std::span<const FfnTask> tasks) {
  if (error_.ok()) error_ = device_.ffn(stream_, tasks);
}

void CudaOperations::rope(const RopeTask& task) {
  give("RoPE", [&](cudaStream_t stream) { return launch_rope(task, stream); });
}

void CudaOperations::store_kv(const AttentionShape&, std::span<const AttentionRow>, const float*,
                              std::size_t, const float*, std::size_t) {
  refuse("storing keys and values");
}

std::size_t CudaOperations::attention_bytes(const AttentionShape&, std::size_t, unsigned) const {
  return 0;
}

void CudaOperations::attention(const AttentionTask&) { refuse("attention"); }

void CudaOperations::delta_net(const DeltaNetTask& task) {
  if (!has_delta_net(task.shape)) {
    return refuse("delta nets with keys of " + std::to_string(task.shape.key_dim) +
                  " and convolutions of " + std::to_string(task.shape.kernel));
  }
  give("a delta net", [&](cudaStream_t stream) { return launch_delta_net(task, stream); });
}

}  // namespace sluice::cuda
