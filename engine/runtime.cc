#include "engine/runtime.h"

#include <sched.h>

#include <algorithm>

#include "base/system_memory.h"
#include "cpu/cpu_compute.h"

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
  return runtime;
}

}  // namespace sluice
