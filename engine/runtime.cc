#include "engine/runtime.h"

#include <sched.h>

#include <algorithm>

#include "base/size.h"
#include "base/system_memory.h"
#include "cpu/cpu_compute.h"
#ifdef SLUICE_CUDA
#include "cuda/cuda_device.h"
#endif

namespace sluice {
namespace {

/// What other processes and the kernel may want meanwhile.
std::uint64_t margin(std::uint64_t available) {
  const std::uint64_t wanted = std::max<std::uint64_t>(available / 16, std::uint64_t{64} << 20);
  return std::min(wanted, available / 4);  // in a small container nobody else is there
}

unsigned usable_processors() {
  cpu_set_t set;
  CPU_ZERO(&set);
  if (sched_getaffinity(0, sizeof(set), &set) != 0) return 1;
  return std::max(1, CPU_COUNT(&set));
}

/// All of the machine's.
Result<DeviceList> open_gpus() {
#ifdef SLUICE_CUDA
  DeviceList gpus;
  for (int index = 0; index < std::max(1, cuda::CudaDevice::count()); ++index) {
    SLUICE_ASSIGN(gpus.emplace_back(), cuda::CudaDevice::open(index));
  }
  return gpus;
#else
  return Status(ErrorCode::kUnsupported, "this program was built without CUDA");
#endif
}

}  // namespace

Result<std::unique_ptr<Runtime>> Runtime::create(const RuntimeOptions& options) {
  SLUICE_ASSIGN(std::unique_ptr<BlockReader> reader, make_block_reader(options.reader));
  return create(options, std::move(reader));
}

Result<std::unique_ptr<Runtime>> Runtime::create(const RuntimeOptions& options,
                                                 std::unique_ptr<BlockReader> reader) {
  std::unique_ptr<Runtime> runtime(new Runtime());
  runtime->ram_ = options.ram;
  if (runtime->ram_ == 0) {
    SLUICE_ASSIGN(const SystemMemory memory, system_memory());
    SLUICE_ASSIGN(const ProcessMemory process, process_memory());
    const std::uint64_t most = memory.available + process.resident;
    runtime->ram_ = std::max<std::uint64_t>(1, most - margin(most));  // 0 would be no budget
  }
  runtime->threads_ = options.threads != 0 ? options.threads : usable_processors();
  SLUICE_ASSIGN(runtime->compute_, make_cpu_compute(runtime->threads_));
  runtime->reader_ = std::move(reader);
  SLUICE_TRY(runtime->open_devices(options));
  return runtime;
}

bool Runtime::knows_gpus() {
#ifdef SLUICE_CUDA
  return true;
#else
  return false;
#endif
}

Status Runtime::open_devices(const RuntimeOptions& options) {
  device_set_ = {.devices = {},
                 .vram = {},
                 .placement = options.placement,
                 .device_layers = options.device_layers,
                 .calibrate = options.calibrate,
                 .machine_costs = options.machine_costs};
  const bool wanted = options.devices ? options.vram != 0u : options.vram.value_or(0) > 0;
  if (!wanted || options.placement.mode == Placement::Mode::kCpuOnly) return {};
  auto made = options.devices ? options.devices(*compute_) : open_gpus();
  if (!options.devices && !made.ok()) {
    return Status(ErrorCode::kUnsupported,
                  "there is no GPU to be used (" + made.status().message() + "), and " +
                      format_size(*options.vram) +
                      " of a GPU's memory are asked for: leave that out, or ask for 0");
  }
  SLUICE_ASSIGN(device_set_.devices, std::move(made));
  for (const auto& device : device_set_.devices) {
    SLUICE_ASSIGN(const DeviceBackend::Memory memory, device->memory());
    device_set_.vram.push_back(options.vram.value_or(memory.free - margin(memory.free)) /
                               DeviceBackend::kPage * DeviceBackend::kPage);
  }
  return {};
}

}  // namespace sluice
