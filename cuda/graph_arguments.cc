#include "cuda/graph_arguments.h"

#include <algorithm>
#include <functional>
#include <utility>

namespace sluice::cuda {

GraphArguments& GraphArguments::operator=(GraphArguments&& other) noexcept {
  std::swap(there_, other.there_);
  std::swap(pinned_, other.pinned_);
  std::swap(device_bytes_, other.device_bytes_);
  std::swap(changing_bytes_, other.changing_bytes_);
  std::swap(changing_, other.changing_);
  std::swap(constant_, other.constant_);
  return *this;
}

GraphArguments::~GraphArguments() {
  if (there_ != nullptr) static_cast<void>(cudaFree(there_));
  if (pinned_ != nullptr) static_cast<void>(cudaFreeHost(pinned_));
}

cudaError_t GraphArguments::create(std::size_t changing, std::size_t constant) {
  changing_bytes_ = whole(changing);
  device_bytes_ = changing_bytes_ + whole(constant);
  void* memory = nullptr;
  if (changing > 0) {
    if (const cudaError_t error = cudaMallocHost(&memory, changing); error != cudaSuccess) {
      return error;
    }
    pinned_ = static_cast<std::byte*>(memory);
  }
  if (device_bytes_ == 0) return cudaSuccess;
  const cudaError_t error = cudaMalloc(&memory, device_bytes_);
  if (error == cudaSuccess) there_ = static_cast<std::byte*>(memory);
  return error;
}

cudaError_t GraphArguments::begin(cudaStream_t stream, std::span<const std::byte> changing) {
  changing_ = changing;
  constant_.clear();
  if (changing.empty()) return cudaSuccess;
  return cudaMemcpyAsync(there_, pinned_, changing.size(), cudaMemcpyHostToDevice, stream);
}

cudaError_t GraphArguments::place(std::span<const std::byte> bytes, const std::byte*& there) {
  const std::less_equal<> before;
  if (!changing_.empty() && before(changing_.data(), bytes.data()) &&
      before(bytes.data() + bytes.size(), changing_.data() + changing_.size())) {
    there = there_ + (bytes.data() - changing_.data());
    return cudaSuccess;
  }
  const std::size_t at = whole(constant_.size());
  if (changing_bytes_ + at + bytes.size() > device_bytes_) return cudaErrorInvalidValue;
  constant_.resize(at);
  constant_.insert(constant_.end(), bytes.begin(), bytes.end());
  there = there_ + changing_bytes_ + at;
  return cudaSuccess;
}

cudaError_t GraphArguments::end(cudaStream_t stream) {
  changing_ = {};
  if (constant_.empty()) return cudaSuccess;
  return cudaMemcpyAsync(there_ + changing_bytes_, constant_.data(), constant_.size(),
                         cudaMemcpyHostToDevice, stream);
}

void GraphArguments::change(std::span<const std::byte> changing) {
  std::copy(changing.begin(), changing.end(), pinned_);
}

}  // namespace sluice::cuda
