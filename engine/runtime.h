#pragma once
// What a process has to compute with: processors, a disk reader and a budget. The one file of the
// engine that names a device.

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "base/compute.h"
#include "base/device_backend.h"
#include "base/status.h"
#include "engine/placement.h"
#include "io/block_reader.h"

namespace sluice {

using DeviceList = std::vector<std::unique_ptr<DeviceBackend>>;
/// Makes the devices; they may compute as the CPU does, with what is passed.
using DeviceFactory = std::function<Result<DeviceList>(Compute& cpu)>;

struct RuntimeOptions {
  std::uint64_t ram = 0;  // bytes for the whole process; 0: what is free now under every control
                          // group's limit, less a margin
  unsigned threads = 0;   // 0: the processors that this process may use
  ReaderKind reader = ReaderKind::kAuto;
  // Bytes of each GPU's memory, at most; 0: none is used; none: what is free on `devices`, and
  // nothing of GPUs of the machine's, which are used only where that is asked for.
  std::optional<std::uint64_t> vram = std::nullopt;
  Placement placement = {};
  // Layers whose other parts a device computes, too, at most; none: as many as there is room for.
  std::optional<std::uint32_t> device_layers = std::nullopt;
  // What experts take on the processors is measured when a model is opened, for some 1.5 seconds,
  // unless `machine_costs` has it; else it is guessed.
  bool calibrate = false;
  std::string machine_costs = {};   // a file that keeps it from run to run; empty: none
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
  /// Empty where there are none, or none is to be used. One model at a time may be opened with
  /// them.
  const DeviceList& devices() const { return devices_; }
  /// Of devices()[index].
  std::uint64_t vram(std::size_t index) const { return vram_[index]; }
  const Placement& placement() const { return placement_; }
  std::optional<std::uint32_t> device_layers() const { return device_layers_; }
  bool calibrates() const { return calibrate_; }
  const std::string& machine_costs() const { return machine_costs_; }
  unsigned threads() const { return threads_; }

 private:
  Runtime() = default;
  Status open_devices(const RuntimeOptions& options);

  std::uint64_t ram_ = 0;
  unsigned threads_ = 0;
  std::unique_ptr<Compute> compute_;
  DeviceList devices_;
  std::vector<std::uint64_t> vram_;
  Placement placement_;
  std::optional<std::uint32_t> device_layers_;
  bool calibrate_ = false;
  std::string machine_costs_;
  std::unique_ptr<BlockReader> reader_;
};

}  // namespace sluice
