#include "cuda/host_runtime.h"

#include <algorithm>
#include <chrono>
#include <cstring>
#include <map>
#include <new>
#include <utility>
#include <vector>

using sluice::cuda::host_shim::Work;

struct HostShimGraph {
  std::vector<Work> work;
  std::uint64_t bytes = 0;  // of the device's memory, once it can be launched
};
struct HostShimStream {
  bool captures = false;
  HostShimGraph captured = {};
};
struct HostShimEvent {
  std::chrono::steady_clock::time_point at;
};

namespace sluice::cuda::host_shim {
namespace {

struct State {
  std::uint64_t memory = std::uint64_t{1} << 30, used = 0;
  std::map<void*, std::size_t> allocations, pinned;
  std::uint64_t calls = 0, failing = 0;
  cudaError_t error = cudaSuccess;
  bool late = false;
  cudaError_t last = cudaSuccess, poison = cudaSuccess;
  std::uint64_t graph_launches = 0;
  cudaStream_t capturing = nullptr;
  bool capture_ended = false;  // by a call that is none for a capture
};
State state;

constexpr std::uint64_t kNodeBytes = 512;

constexpr std::align_val_t kAlignment{256};

bool poisonous(cudaError_t error) {
  return error >= cudaErrorIllegalAddress && error < cudaErrorStreamCaptureUnsupported &&
         error != cudaErrorLaunchOutOfResources;
}

cudaError_t given(cudaError_t error) {
  if (error != cudaSuccess && error != cudaErrorNotReady) state.last = error;
  return error;
}

void* take(std::size_t bytes) {
  return ::operator new(std::max<std::size_t>(bytes, 1), kAlignment);
}
void give_back(void* memory) { ::operator delete(memory, kAlignment); }

/// A call is made: what it gives instead of doing its work, unless cudaSuccess.
cudaError_t next_call() {
  ++state.calls;
  if (state.poison != cudaSuccess) return given(state.poison);
  if (state.calls != state.failing) return cudaSuccess;
  if (poisonous(state.error) || state.late) state.poison = state.error;
  return state.late ? cudaSuccess : given(state.error);
}

/// A call that does `body` unless it fails.
template <typename Body>
cudaError_t call(const Body& body) {
  const cudaError_t error = next_call();
  return error != cudaSuccess ? error : given(body());
}

/// The same of one that waits or allocates.
template <typename Body>
cudaError_t call_outside_captures(const Body& body) {
  return call([&] {
    if (state.capturing == nullptr) return body();
    state.capture_ended = true;
    return cudaErrorStreamCaptureUnsupported;
  });
}

bool has_room(std::uint64_t bytes) {
  return bytes <= state.memory - std::min(state.memory, state.used);
}

bool is_pinned(const void* memory, std::size_t bytes) {
  auto after = state.pinned.upper_bound(const_cast<void*>(memory));
  if (after == state.pinned.begin()) return false;
  const auto& [begin, size] = *--after;
  return static_cast<const std::byte*>(memory) + bytes <=
         static_cast<const std::byte*>(begin) + size;
}

cudaError_t copy(void* to, const void* from, std::size_t bytes) {
  if (bytes != 0) std::memcpy(to, from, bytes);
  return cudaSuccess;
}

}  // namespace

void fail_call(std::uint64_t nth, cudaError_t error, bool late) {
  state.calls = state.graph_launches = 0;
  state.failing = nth;
  state.error = error;
  state.late = late;
  state.last = state.poison = cudaSuccess;
}

std::uint64_t calls() { return state.calls; }
void set_device_memory(std::uint64_t bytes) { state.memory = bytes; }

std::uint64_t graph_launches() { return state.graph_launches; }

cudaError_t give(cudaStream_t stream, Work work) {
  return call([&] {
    if (stream == nullptr || !stream->captures) return work();
    stream->captured.work.push_back(std::move(work));
    return cudaSuccess;
  });
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
  return call_outside_captures([] { return cudaSuccess; });
}

cudaError_t cudaMemGetInfo(std::size_t* free, std::size_t* total) {
  return call([&] {
    *total = state.memory;
    *free = state.memory - std::min(state.memory, state.used);
    return cudaSuccess;
  });
}
cudaError_t cudaMalloc(void** memory, std::size_t bytes) {
  return call_outside_captures([&] {
    if (!has_room(bytes)) return cudaErrorMemoryAllocation;
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
  return call_outside_captures([&] {
    *memory = take(bytes);
    state.pinned[*memory] = bytes;
    return cudaSuccess;
  });
}
cudaError_t cudaFreeHost(void* memory) {
  if (state.pinned.erase(memory) != 0) give_back(memory);
  return next_call();
}

cudaError_t cudaMemcpy(void* to, const void* from, std::size_t bytes, cudaMemcpyKind) {
  return call_outside_captures([&] { return copy(to, from, bytes); });
}
cudaError_t cudaMemcpyAsync(void* to, const void* from, std::size_t bytes, cudaMemcpyKind kind,
                            cudaStream_t stream) {
  // What is copied when a graph is launched is where it was, and the link reaches it.
  const void* const host = kind == cudaMemcpyHostToDevice ? from : to;
  if (stream != nullptr && stream->captures && !is_pinned(host, bytes)) {
    state.capture_ended = true;
    return call([] { return cudaErrorInvalidValue; });
  }
  return give(stream, [=] { return copy(to, from, bytes); });
}

cudaError_t cudaStreamCreateWithFlags(cudaStream_t* stream, unsigned) {
  return call([&] {
    *stream = new HostShimStream;
    return cudaSuccess;
  });
}
cudaError_t cudaStreamBeginCapture(cudaStream_t stream, cudaStreamCaptureMode) {
  return call([&] {
    if (state.capturing != nullptr) return cudaErrorInvalidValue;
    state.capturing = stream;
    state.capture_ended = false;
    stream->captures = true;
    stream->captured.work.clear();
    return cudaSuccess;
  });
}
// The stream captures no more even where the call fails.
cudaError_t cudaStreamEndCapture(cudaStream_t stream, cudaGraph_t* graph) {
  const bool captures = std::exchange(stream->captures, false);
  if (captures) state.capturing = nullptr;
  *graph = nullptr;
  return call([&] {
    if (!captures) return cudaErrorInvalidValue;
    if (state.capture_ended) return cudaErrorStreamCaptureInvalidated;
    *graph = new HostShimGraph(std::move(stream->captured));
    return cudaSuccess;
  });
}
cudaError_t cudaGraphDestroy(cudaGraph_t graph) {
  delete graph;
  return next_call();
}
cudaError_t cudaGraphInstantiateWithFlags(cudaGraphExec_t* executable, cudaGraph_t graph,
                                          unsigned long long) {
  return call_outside_captures([&] {
    const std::uint64_t bytes = graph->work.size() * kNodeBytes;
    if (!has_room(bytes)) return cudaErrorMemoryAllocation;
    *executable = new HostShimGraph{graph->work, bytes};
    state.used += bytes;
    return cudaSuccess;
  });
}
cudaError_t cudaGraphExecDestroy(cudaGraphExec_t executable) {
  state.used -= executable->bytes;
  delete executable;
  return next_call();
}
cudaError_t cudaGraphLaunch(cudaGraphExec_t executable, cudaStream_t stream) {
  return call_outside_captures([&] {
    if (stream->captures) return cudaErrorInvalidValue;
    ++state.graph_launches;
    for (const Work& work : executable->work) {
      if (const cudaError_t error = work(); error != cudaSuccess) return error;
    }
    return cudaSuccess;
  });
}

cudaError_t cudaStreamDestroy(cudaStream_t stream) {
  delete stream;
  return next_call();
}
cudaError_t cudaStreamSynchronize(cudaStream_t) {
  return call_outside_captures([] { return cudaSuccess; });
}
cudaError_t cudaStreamWaitEvent(cudaStream_t, cudaEvent_t, unsigned) {
  return call_outside_captures([] { return cudaSuccess; });
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
  return call_outside_captures([&] {
    event->at = std::chrono::steady_clock::now();
    return cudaSuccess;
  });
}
cudaError_t cudaEventQuery(cudaEvent_t) {
  return call_outside_captures([] { return cudaSuccess; });
}
cudaError_t cudaEventSynchronize(cudaEvent_t) {
  return call_outside_captures([] { return cudaSuccess; });
}
cudaError_t cudaEventElapsedTime(float* milliseconds, cudaEvent_t first, cudaEvent_t second) {
  return call([&] {
    *milliseconds = std::chrono::duration<float, std::milli>(second->at - first->at).count();
    return cudaSuccess;
  });
}
