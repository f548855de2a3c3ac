#pragma once
// The calls of CUDA's runtime that this room makes, on the CPU and under CUDA's own names: there is
// one device, its memory is the heap, so that a sanitizer sees every access out of bounds, and what
// a stream is given is done when the call returns, unless it is captured: then when its graph is
// launched. Calls that wait or allocate end a capture, as CUDA's may. Tests say how much memory
// there is and which call fails. Not thread-safe.

#include <cstddef>
#include <cstdint>
#include <functional>

enum cudaError_t : int {
  cudaSuccess = 0,
  cudaErrorInvalidValue = 1,
  cudaErrorMemoryAllocation = 2,
  cudaErrorInvalidConfiguration = 9,
  cudaErrorNoDevice = 100,
  cudaErrorInvalidDevice = 101,
  cudaErrorNoKernelImageForDevice = 209,
  cudaErrorInvalidResourceHandle = 400,
  cudaErrorNotReady = 600,
  cudaErrorIllegalAddress = 700,
  cudaErrorLaunchOutOfResources = 701,
  cudaErrorLaunchFailure = 719,
  cudaErrorStreamCaptureUnsupported = 900,
  cudaErrorStreamCaptureInvalidated = 901,
  cudaErrorStreamCaptureWrongThread = 908,
};
const char* cudaGetErrorName(cudaError_t error);
const char* cudaGetErrorString(cudaError_t error);
/// What the last call that failed gave; forgotten then, unless it is of the poisonous kind.
cudaError_t cudaGetLastError();

struct cudaDeviceProp {
  char name[256];
  std::size_t totalGlobalMem;
  std::size_t sharedMemPerBlockOptin;
  int major, minor;
};
cudaError_t cudaGetDeviceCount(int* count);
cudaError_t cudaGetDeviceProperties(cudaDeviceProp* properties, int device);
cudaError_t cudaSetDevice(int device);
cudaError_t cudaDeviceSynchronize();

cudaError_t cudaMemGetInfo(std::size_t* free, std::size_t* total);
cudaError_t cudaMalloc(void** memory, std::size_t bytes);
cudaError_t cudaFree(void* memory);
cudaError_t cudaMallocHost(void** memory, std::size_t bytes);
cudaError_t cudaFreeHost(void* memory);

struct HostShimStream;
struct HostShimEvent;
using cudaStream_t = HostShimStream*;
using cudaEvent_t = HostShimEvent*;

enum cudaMemcpyKind : int { cudaMemcpyHostToDevice = 1, cudaMemcpyDeviceToHost = 2 };
cudaError_t cudaMemcpy(void* to, const void* from, std::size_t bytes, cudaMemcpyKind kind);
cudaError_t cudaMemcpyAsync(void* to, const void* from, std::size_t bytes, cudaMemcpyKind kind,
                            cudaStream_t stream);

inline constexpr unsigned cudaStreamNonBlocking = 1;
cudaError_t cudaStreamCreateWithFlags(cudaStream_t* stream, unsigned flags);
cudaError_t cudaStreamDestroy(cudaStream_t stream);
cudaError_t cudaStreamSynchronize(cudaStream_t stream);
cudaError_t cudaStreamWaitEvent(cudaStream_t stream, cudaEvent_t event, unsigned flags);

struct HostShimGraph;
using cudaGraph_t = HostShimGraph*;
using cudaGraphExec_t = HostShimGraph*;
enum cudaStreamCaptureMode : int { cudaStreamCaptureModeThreadLocal = 1 };
cudaError_t cudaStreamBeginCapture(cudaStream_t stream, cudaStreamCaptureMode mode);
cudaError_t cudaStreamEndCapture(cudaStream_t stream, cudaGraph_t* graph);
cudaError_t cudaGraphDestroy(cudaGraph_t graph);
cudaError_t cudaGraphInstantiateWithFlags(cudaGraphExec_t* executable, cudaGraph_t graph,
                                          unsigned long long flags);
cudaError_t cudaGraphExecDestroy(cudaGraphExec_t executable);
cudaError_t cudaGraphLaunch(cudaGraphExec_t executable, cudaStream_t stream);

inline constexpr unsigned cudaEventDefault = 0, cudaEventDisableTiming = 2;
cudaError_t cudaEventCreateWithFlags(cudaEvent_t* event, unsigned flags);
cudaError_t cudaEventDestroy(cudaEvent_t event);
cudaError_t cudaEventRecord(cudaEvent_t event, cudaStream_t stream);
cudaError_t cudaEventQuery(cudaEvent_t event);
cudaError_t cudaEventSynchronize(cudaEvent_t event);
cudaError_t cudaEventElapsedTime(float* milliseconds, cudaEvent_t first, cudaEvent_t second);

namespace sluice::cuda::host_shim {

/// Call number `nth` from now on, of all those above but the two of errors' names and
/// cudaGetLastError, and of launches, gives `error`. Errors after which a device is good for
/// nothing are what all calls give from then on. `late`: the call itself succeeds, and its error is
/// the next calls', as of work that fails while it is done. 0: none fails, and the device is good
/// again.
void fail_call(std::uint64_t nth, cudaError_t error = cudaErrorLaunchFailure, bool late = false);
/// Calls since fail_call.
std::uint64_t calls();
/// Of the device; 1 GiB at first.
void set_device_memory(std::uint64_t bytes);

/// Work of a call: is done, or becomes a part of what the stream captures.
using Work = std::function<cudaError_t()>;
/// A call that gives the stream work, unless it fails.
cudaError_t give(cudaStream_t stream, Work work);
/// Graphs launched since fail_call.
std::uint64_t graph_launches();

}  // namespace sluice::cuda::host_shim
