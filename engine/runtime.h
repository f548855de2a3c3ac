#pragma once
// What a process has to compute with: processors, a disk reader and a budget. The one file of the
// engine that names a device.

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "base/compute.h"
#include "base/status.h"
#include "devices/device_set.h"
#include "io/block_reader.h"

namespace sluice {

struct RuntimeOptions {
  std::uint64_t ram = 0;  // bytes for the whole process; 0: what is free now under every control
                          // group's limit, less a margin
  unsigned threads = 0;   // 0: the processors that this process may use
  ReaderKind reader = ReaderKind::kAuto;
  // Bytes of each GPU's memory, at most; 0: none is used; none: what is free on `devices`, and
  // nothing of GPUs of the machine's, which are used only where that is asked for.
  std::optional<std::uint64_t> vram = std::nullopt;
  Placement placement = {};
  // As DeviceSet has them.
  std::optional<std::uint32_t> device_layers = std::nullopt;
  bool calibrate = false;
  std::string machine_costs = {};
  DeviceFactory devices = nullptr;  // null: the machine's GPUs, if this build knows any
};

/// Outlives the models that are opened with it. Not thread-safe.
class Runtime {
 public:
  static Result<std::unique_ptr<Runtime>> create(const RuntimeOptions& options);
  /// With a reader of the caller's: for tests.
  static Result<std::unique_ptr<Runtime>> create(const RuntimeOptions& options,
                                                 std::unique_ptr<BlockReader> reader);

  /// Whether this build can use a GPU without being told how by RuntimeOptions::devices.
  static bool knows_gpus();

  Compute& compute() { return *compute_; }
  BlockReader& reader() { return *reader_; }
  std::uint64_t ram() const { return ram_; }
  /// Without devices where there are none, or none is to be used. One model at a time may be opened
  /// with them.
  const DeviceSet& device_set() const { return device_set_; }
  unsigned threads() const { return threads_; }

 private:
  Runtime() = default;
  Status open_devices(const RuntimeOptions& options);

  std::uint64_t ram_ = 0;
  unsigned threads_ = 0;
  std::unique_ptr<Compute> compute_;
  DeviceSet device_set_;
  std::unique_ptr<BlockReader> reader_;
};

}  // namespace sluice
