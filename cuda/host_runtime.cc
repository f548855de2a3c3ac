#include "cuda/host_runtime.h"

#include <algorithm>
#include <chrono>
#include <cstring>
#include <map>
#include <new>

struct HostShimStream {};
struct HostShimEvent {
  std::chrono::steady_clock::time_point at;
};

namespace sluice::cuda::host_shim {
namespace {

struct State {
  std::uint64_t memory = std::uint64_t{1} << 30, used = 0;
  std::map<void*, std::size_t> allocations;
  std::uint64_t calls = 0, failing = 0;
  cudaError_t error = cudaSuccess;
  bool late = false;
  cudaError_t last = cudaSuccess, poison = cudaSuccess;
};
State state;

constexpr std::align_val_t kAlignment{256};

bool poisonous(cudaError_t error) {
  return error >= cudaErrorIllegalAddress && error != cudaErrorLaunchOutOfResources;
}

cudaError_t given(cudaError_t error) {
  if (error != cudaSuccess && error != cudaErrorNotReady) state.last = error;
  return error;
}

void* take(std::size_t bytes) {
  return ::operator new(std::max<std::size_t>(bytes, 1), kAlignment);
}
void give_back(void* memory) { ::operator delete(memory, kAlignment); }

/// A call that does `work` unless it fails.
template <typename Work>
cudaError_t call(const Work& work) {
  const cudaError_t error = next_call();
  return error != cudaSuccess ? error : given(work());
}

cudaError_t copy(void* to, const void* from, std::size_t bytes) {
  if (bytes != 0) std::memcpy(to, from, bytes);
  return cudaSuccess;
}

}  // namespace

void fail_call(std::uint64_t nth, cudaError_t error, bool late) {
  state.calls = 0;
  state.failing = nth;
  state.error = error;
  state.late = late;
  state.last = state.poison = cudaSuccess;
}

std::uint64_t calls() { return state.calls; }
void set_device_memory(std::uint64_t bytes) { state.memory = bytes; }

cudaError_t next_call() {
  ++state.calls;
  if (state.poison != cudaSuccess) return given(state.poison);
  if (state.calls != state.failing) return cudaSuccess;
  if (poisonous(state.error) || state.late) state.poison = state.error;
  return state.late ? cudaSuccess : given(state.error);
}

}  // namespace sluice::cuda::host_shim

using namespace sluice::cuda::host_shim;  // NOLINT: what follows has CUDA's names

const char* cudaGetErrorName(cudaError_t error) {
  switch (error) {
    case cudaSuccess:
      return "cudaSuccess";
    case cudaErrorMemoryAllocation:
      return "cudaErrorMemoryAllocation";
    case cudaErrorLaunchFailure:
      return "cudaErrorLaunchFailure";
    default:
      return "an error of the host shim's";
  }
}
const char* cudaGetErrorString(cudaError_t error) { return cudaGetErrorName(error); }

cudaError_t cudaGetLastError() {
  const cudaError_t last = state.last;
  state.last = state.poison;
  return last;
}

cudaError_t cudaGetDeviceCount(int* count) {
  return call([&] {
    *count = 1;
    return cudaSuccess;
  });
}
cudaError_t cudaGetDeviceProperties(cudaDeviceProp* properties, int device) {
  return call([&] {
    if (device != 0) return cudaErrorInvalidDevice;
    *properties = {.name = "host shim",
                   .totalGlobalMem = state.memory,
                   .sharedMemPerBlockOptin = 232448,
                   .major = 9,
                   .minor = 0};
    return cudaSuccess;
  });
}
cudaError_t cudaSetDevice(int device) {
  return call([&] { return device == 0 ? cudaSuccess : cudaErrorInvalidDevice; });
}
cudaError_t cudaDeviceSynchronize() {
  return call([] { return cudaSuccess; });
}

cudaError_t cudaMemGetInfo(std::size_t* free, std::size_t* total) {
  return call([&] {
    *total = state.memory;
    *free = state.memory - std::min(state.memory, state.used);
    return cudaSuccess;
  });
}
cudaError_t cudaMalloc(void** memory, std::size_t bytes) {
  return call([&] {
    if (bytes > state.memory - std::min(state.memory, state.used)) {
      return cudaErrorMemoryAllocation;
    }
    *memory = take(bytes);
    // Whatever somebody else left there.
    std::memset(*memory, 0xfe, bytes);
    state.allocations[*memory] = bytes;
    state.used += bytes;
    return cudaSuccess;
  });
}
// What is freed is freed even where the call fails: the process' memory is not the device's.
cudaError_t cudaFree(void* memory) {
  if (const auto found = state.allocations.find(memory); found != state.allocations.end()) {
    state.used -= found->second;
    state.allocations.erase(found);
    give_back(memory);
  }
  return next_call();
}
cudaError_t cudaMallocHost(void** memory, std::size_t bytes) {
  return call([&] {
    *memory = take(bytes);
    return cudaSuccess;
  });
}
cudaError_t cudaFreeHost(void* memory) {
  give_back(memory);
  return next_call();
}

cudaError_t cudaMemcpy(void* to, const void* from, std::size_t bytes, cudaMemcpyKind) {
  return call([&] { return copy(to, from, bytes); });
}
cudaError_t cudaMemcpyAsync(void* to, const void* from, std::size_t bytes, cudaMemcpyKind,
                            cudaStream_t) {
  return call([&] { return copy(to, from, bytes); });
}

cudaError_t cudaStreamCreateWithFlags(cudaStream_t* stream, unsigned) {
  return call([&] {
    *stream = new HostShimStream;
    return cudaSuccess;
  });
}
cudaError_t cudaStreamDestroy(cudaStream_t stream) {
  delete stream;
  return next_call();
}
cudaError_t cudaStreamSynchronize(cudaStream_t) {
  return call([] { return cudaSuccess; });
}
cudaError_t cudaStreamWaitEvent(cudaStream_t, cudaEvent_t, unsigned) {
  return call([] { return cudaSuccess; });
}

cudaError_t cudaEventCreateWithFlags(cudaEvent_t* event, unsigned) {
  return call([&] {
    *event = new HostShimEvent;
    return cudaSuccess;
  });
}
cudaError_t cudaEventDestroy(cudaEvent_t event) {
  delete event;
  return next_call();
}
cudaError_t cudaEventRecord(cudaEvent_t event, cudaStream_t) {
  return call([&] {
    event->at = std::chrono::steady_clock::now();
    return cudaSuccess;
  });
}
cudaError_t cudaEventQuery(cudaEvent_t) {
  return call([] { return cudaSuccess; });
}
cudaError_t cudaEventSynchronize(cudaEvent_t) {
  return call([] { return cudaSuccess; });
}
cudaError_t cudaEventElapsedTime(float* milliseconds, cudaEvent_t first, cudaEvent_t second) {
  return call([&] {
    *milliseconds = std::chrono::duration<float, std::milli>(second->at - first->at).count();
    return cudaSuccess;
  });
}
