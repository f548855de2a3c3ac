#pragma once
// The devices that a model's layers are divided over: each has consecutive layers, computes the
// dense parts of as many as its memory holds, from the last of them on, and shares out the experts
// of all.

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "devices/dense_device.h"
#include "devices/device_set.h"
#include "devices/hybrid_layer.h"
#include "devices/machine_costs.h"

namespace sluice {

struct DevicesOptions {
  std::string policy = "auto";                          // of the tiers
  std::uint32_t rows = 0;                               // in a pass, at most
  std::uint32_t context = 0, sequences = 1, seats = 1;  // as MemoryRequest has them
  KvType kv_type = KvType::kF16;
  bool eight_bit = true;
  unsigned threads = 1;     // of the CPU
  std::uint64_t spare = 0;  // of the host's memory, that nothing has yet
};

class Devices {
 public:
  /// Of the host's memory, beyond the scratch.
  static std::uint64_t host_bytes(const ModelDescription& model, const ExpertCatalogue& catalogue,
                                  const DeviceSet& set);
  /// What a device cannot have is the host's: unused() says why none has anything. `weights` are as
  /// their files have them. All that is passed but the options outlives it.
  static std::unique_ptr<Devices> create(const Checkpoint& checkpoint,
                                         const ModelDescription& model, const DenseWeights& weights,
                                         const ExpertCatalogue& catalogue, const DeviceSet& set,
                                         Compute& compute, const DevicesOptions& options);

  ~Devices();

  /// Whose pinned memory the scratch of a pass is in; null: no device has anything.
  DeviceBackend* pinning() const;
  /// Why; empty where there is no device.
  const std::string& unused() const { return unused_; }
  /// In a pass, where that is fewer than `rows`.
  std::uint32_t max_rows(std::uint32_t rows) const;
  /// From now on the host computes all.
  void leave(const Status& why);

  /// Null: the host computes the layer's dense part. The last layer's device has the head.
  DenseDevice* dense(std::uint32_t layer) const;
  /// False once one of them was lost: then the host computes the dense parts of all layers.
  bool dense_open() const;
  /// Waits for what is under way of a pass; the error, if one was lost.
  Status end() const;
  /// Null: the CPU computes the layer's experts. Else on the device that has the layer's dense
  /// part, if one has.
  HybridLayer* hybrid(std::uint32_t layer) const;
  bool has(ExpertId id) const;

  /// One for each that has dense parts, in DenseDevice::index's order.
  std::vector<KvPool*> kv_pools() const;

  std::uint32_t dense_layers() const;
  std::uint64_t dense_bytes() const;
  /// Why one was lost; empty: none was.
  std::string dense_closed() const;
  /// Together; none: no device has experts.
  std::optional<HybridStatistics> statistics() const;

 private:
  struct Share {
    std::uint32_t first = 0, end = 0;  // layers
    DeviceBackend* device = nullptr;
    std::unique_ptr<DenseDevice> dense;
    std::unique_ptr<HybridLayer> hybrid;
    std::string key;  // that its costs are kept under; empty: they are nobody's
  };
  const Share* share(std::uint32_t layer) const;

  std::vector<Share> shares_;  // those that have layers, in their order
  std::string unused_;
  MachineCosts kept_;
};

}  // namespace sluice
