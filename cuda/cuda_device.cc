#include "cuda/cuda_device.h"

#include <algorithm>
#include <utility>

#include "base/size.h"
#include "cuda/row_ops.h"

namespace sluice::cuda {
namespace {

/// Whether the driver refuses a call and is otherwise as it was.
bool refuses(cudaError_t error) {
  return error == cudaErrorInvalidValue || error == cudaErrorInvalidConfiguration ||
         error == cudaErrorInvalidDevice || error == cudaErrorInvalidResourceHandle ||
         error == cudaErrorNoKernelImageForDevice || error == cudaErrorLaunchOutOfResources;
}

}  // namespace

int CudaDevice::count() {
  int count = 0;
  if (cudaGetDeviceCount(&count) == cudaSuccess) return count;
  static_cast<void>(cudaGetLastError());
  return 0;
}

Result<std::unique_ptr<CudaDevice>> CudaDevice::open(int index) {
  const std::string number = "CUDA device " + std::to_string(index);
  if (const int there = count(); index < 0 || index >= there) {
    return Status(ErrorCode::kNotFound,
                  number + ": the driver shows " + std::to_string(there) + " devices");
  }
  cudaDeviceProp properties = {};
  if (const cudaError_t error = cudaGetDeviceProperties(&properties, index); error != cudaSuccess) {
    return Status(ErrorCode::kDeviceLost, number + ": " + cudaGetErrorString(error));
  }
  std::unique_ptr<CudaDevice> device(new CudaDevice(
      index, std::string(properties.name) + ", " + format_size(properties.totalGlobalMem)));
  device->plan_ = ProductPlan(static_cast<std::uint32_t>(properties.sharedMemPerBlockOptin));
  SLUICE_TRY(device->begin());
  SLUICE_TRY(device->check(device->ring_.create(), "making room for tasks"));
  // Anything that it computes shows whether it can compute.
  SLUICE_ASSIGN(const DeviceBuffer buffer, DeviceBuffer::allocate(*device, sizeof(float)));
  auto* const one = reinterpret_cast<float*>(buffer.data());
  const cudaError_t error =
      launch_map({.op = MapOp::kScale, .out = one, .rows = 1, .columns = 1}, nullptr);
  if (error == cudaErrorNoKernelImageForDevice) {
    return Status(ErrorCode::kUnsupported,
                  device->name_ + ": this build has no code for compute capability " +
                      std::to_string(properties.major) + "." + std::to_string(properties.minor) +
                      "; add it to CMAKE_CUDA_ARCHITECTURES");
  }
  SLUICE_TRY(device->check(error, "its first kernel"));
  SLUICE_TRY(device->check(cudaDeviceSynchronize(), "its first kernel"));
  return device;
}

CudaDevice::~CudaDevice() {
  static_cast<void>(cudaSetDevice(index_));
  static_cast<void>(cudaDeviceSynchronize());
  for (cudaStream_t stream : streams_) static_cast<void>(cudaStreamDestroy(stream));
}

Status CudaDevice::lost() const {
  return lost_.empty() ? Status() : Status(ErrorCode::kDeviceLost, name_ + " is lost: " + lost_);
}

Status CudaDevice::begin() {
  SLUICE_TRY(lost());
  return check(cudaSetDevice(index_), "choosing it");
}

Status CudaDevice::check(cudaError_t error, std::string_view doing) {
  if (error == cudaSuccess) return {};
  static_cast<void>(cudaGetLastError());
  const std::string what = std::string(doing) + ": " + cudaGetErrorString(error);
  if (error == cudaErrorMemoryAllocation) return {ErrorCode::kBudget, name_ + ": " + what};
  // What fails in a capture is given without; then it shows whether the device is lost.
  if (refuses(error) || captured_ != nullptr) return {ErrorCode::kInternal, name_ + ": " + what};
  if (lost_.empty()) lost_ = what;
  return lost();
}

Result<DeviceBackend::Memory> CudaDevice::memory() {
  SLUICE_TRY(begin());
  std::size_t free = 0, total = 0;
  SLUICE_TRY(check(cudaMemGetInfo(&free, &total), "asking for its memory"));
  return Memory{total, free};
}

Result<std::byte*> CudaDevice::allocate(std::size_t bytes) {
  SLUICE_TRY(begin());
  void* memory = nullptr;
  const Status status =
      check(cudaMalloc(&memory, std::max<std::size_t>(bytes, 1)), "allocating memory");
  if (status.ok()) return static_cast<std::byte*>(memory);
  if (status.code() != ErrorCode::kBudget) return status;
  SLUICE_ASSIGN(const Memory now, this->memory());
  return Status(ErrorCode::kBudget, name_ + " has " + format_size(now.free) + " free, and " +
                                        format_size(bytes) + " are wanted");
}

void CudaDevice::release(std::byte* memory) {
  // Errors come to the next call that can tell of them.
  static_cast<void>(begin());
  static_cast<void>(check(cudaDeviceSynchronize(), "waiting for all work"));
  static_cast<void>(check(cudaFree(memory), "freeing memory"));
}

Result<std::byte*> CudaDevice::allocate_pinned(std::size_t bytes) {
  SLUICE_TRY(begin());
  void* memory = nullptr;
  const Status status =
      check(cudaMallocHost(&memory, std::max<std::size_t>(bytes, 1)), "allocating pinned memory");
  if (status.ok()) return static_cast<std::byte*>(memory);
  if (status.code() != ErrorCode::kBudget) return status;
  return Status(ErrorCode::kBudget,
                "the system gives no " + format_size(bytes) + " of pinned memory for " + name_);
}

void CudaDevice::release_pinned(std::byte* memory) {
  static_cast<void>(begin());
  static_cast<void>(check(cudaDeviceSynchronize(), "waiting for all work"));
  static_cast<void>(check(cudaFreeHost(memory), "freeing pinned memory"));
}

Result<StreamIndex> CudaDevice::make_stream() {
  SLUICE_TRY(begin());
  cudaStream_t stream = nullptr;
  SLUICE_TRY(check(cudaStreamCreateWithFlags(&stream, cudaStreamNonBlocking), "making a stream"));
  streams_.push_back(stream);
  operations_.emplace_back(*this, static_cast<StreamIndex>(streams_.size() - 1));
  return static_cast<StreamIndex>(streams_.size() - 1);
}

Status CudaDevice::upload(StreamIndex stream, std::byte* device, const std::byte* host,
                          std::size_t bytes) {
  SLUICE_TRY(lost());
  if (operations_[stream].batches().open()) {
    operations_[stream].upload(device, host, bytes);
    return {};
  }
  SLUICE_TRY(begin());
  return check(cudaMemcpyAsync(device, host, bytes, cudaMemcpyHostToDevice, streams_[stream]),
               "a copy to it");
}

Status CudaDevice::download(StreamIndex stream, std::byte* host, const std::byte* device,
                            std::size_t bytes) {
  SLUICE_TRY(lost());
  if (operations_[stream].batches().open()) {
    operations_[stream].download(host, device, bytes);
    return {};
  }
  SLUICE_TRY(begin());
  return check(cudaMemcpyAsync(host, device, bytes, cudaMemcpyDeviceToHost, streams_[stream]),
               "a copy from it");
}

/// As many tasks at a time as the ring takes, a launch of them cut where they end.
cudaError_t CudaDevice::give(cudaStream_t stream) {
  constexpr std::size_t kMost = UploadRing::kMost<ProductTask>;
  const std::span<const ProductTask> all = plan_.tasks();
  auto launch = plan_.launches().begin();
  std::uint32_t launched = 0;  // of the launch's tasks
  for (std::size_t first = 0; first < all.size(); first += kMost) {
    const auto some = all.subspan(first, std::min(kMost, all.size() - first));
    const ProductTask* there = nullptr;
    cudaError_t error = put(stream, some, there);
    for (std::size_t done = 0; error == cudaSuccess && done < some.size();) {
      ProductLaunch part = *launch;
      part.n_tasks =
          std::min(launch->n_tasks - launched, static_cast<std::uint32_t>(some.size() - done));
      error = launch_product(part, there + done, stream);
      done += part.n_tasks;
      launched += part.n_tasks;
      if (launched == launch->n_tasks) {
        ++launch;
        launched = 0;
      }
    }
    const cudaError_t closed = close(stream);
    if (error != cudaSuccess || closed != cudaSuccess) {
      return error != cudaSuccess ? error : closed;
    }
  }
  return cudaSuccess;
}

void CudaDevice::begin_batch(StreamIndex stream, std::uint64_t key) {
  operations_[stream].batches().begin(key);
}

Status CudaDevice::end_batch(StreamIndex stream) {
  SLUICE_TRY(lost());
  return operations_[stream].batches().end();
}

BatchStatistics CudaDevice::batches() const {
  BatchStatistics all;
  for (const BatchedOperations& stream : operations_) all += stream.batches().statistics();
  return all;
}

Result<DeviceEvent> CudaDevice::record(StreamIndex stream) {
  SLUICE_TRY(begin());
  SLUICE_TRY(operations_[stream].launches().take_error());
  DeviceEvent event;
  SLUICE_TRY(check(events_.record(streams_[stream], event.number), "recording an event"));
  operations_[stream].batches().recorded(event.number);
  return event;
}

Status CudaDevice::wait(StreamIndex stream, DeviceEvent event) {
  SLUICE_TRY(begin());
  cudaEvent_t const found = events_.find(event.number);
  if (found == nullptr) return {};
  return check(cudaStreamWaitEvent(streams_[stream], found, 0), "waiting for an event");
}

Result<bool> CudaDevice::done(DeviceEvent event) {
  SLUICE_TRY(begin());
  cudaEvent_t const found = events_.find(event.number);
  if (found == nullptr) return true;
  const cudaError_t error = cudaEventQuery(found);
  if (error == cudaErrorNotReady) return false;
  SLUICE_TRY(check(error, "work before an event"));
  happened(event);
  return true;
}

Status CudaDevice::finish(DeviceEvent event) {
  SLUICE_TRY(begin());
  cudaEvent_t const found = events_.find(event.number);
  if (found == nullptr) return {};
  SLUICE_TRY(check(cudaEventSynchronize(found), "work before an event"));
  happened(event);
  return {};
}

void CudaDevice::happened(DeviceEvent event) {
  for (BatchedOperations& stream : operations_) stream.batches().happened(event.number);
}

Result<double> CudaDevice::seconds_between(DeviceEvent first, DeviceEvent second) {
  SLUICE_TRY(begin());
  cudaEvent_t const from = events_.find(first.number), to = events_.find(second.number);
  if (from == nullptr || to == nullptr) {
    return Status(ErrorCode::kInvalidArgument, name_ + ": the time of an event is forgotten when " +
                                                   std::to_string(EventRing::kEvents) +
                                                   " younger ones are recorded");
  }
  float milliseconds = 0;
  SLUICE_TRY(check(cudaEventElapsedTime(&milliseconds, from, to), "the time between events"));
  return 1e-3 * static_cast<double>(milliseconds);
}

}  // namespace sluice::cuda
