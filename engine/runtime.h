#pragma once
// What a process has to compute with: processors, a disk reader and a budget. The one file of the
// engine that names a device.

#include <cstdint>
#include <memory>
#include <string>

#include "base/compute.h"
#include "base/status.h"
#include "io/block_reader.h"

namespace sluice {

struct RuntimeOptions {
  std::uint64_t ram = 0;  // bytes for the whole process; 0: what is free now under every control
                          // group's limit, less a margin
  unsigned threads = 0;   // 0: the processors that this process may use
  ReaderKind reader = ReaderKind::kAuto;
};

/// Outlives the models that are opened with it. Not thread-safe.
class Runtime {
 public:
  static Result<std::unique_ptr<Runtime>> create(const RuntimeOptions& options);
  /// With a reader of the caller's: for tests.
  static Result<std::unique_ptr<Runtime>> create(const RuntimeOptions& options,
                                                 std::unique_ptr<BlockReader> reader);

  Compute& compute() { return *compute_; }
  BlockReader& reader() { return *reader_; }
  std::uint64_t ram() const { return ram_; }
  unsigned threads() const { return threads_; }

 private:
  Runtime() = default;
  std::uint64_t ram_ = 0;
  unsigned threads_ = 0;
  std::unique_ptr<Compute> compute_;
  std::unique_ptr<BlockReader> reader_;
};

}  // namespace sluice
