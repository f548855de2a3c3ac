#include "devices/devices.h"

#include <fmt/format.h>

#include <algorithm>
#include <utility>

#include "devices/hybrid_calibration.h"
#include "experts/device_copy.h"
#include "hybrid/layer_division.h"

namespace sluice {
namespace {

constexpr double kCalibration = 1.5;  // seconds, of all devices together

/// Of an average layer.
LayerNeeds needs_of(const ModelDescription& model, const DenseWeights& weights,
                    const ExpertCatalogue& catalogue) {
  const auto layers = static_cast<std::uint32_t>(model.layers.size());
  LayerNeeds needs{.dense_bytes = weights.device_bytes(0, layers, /*head=*/false) / layers,
                   .experts = model.router.experts,
                   .top_k = model.router.top_k};
  std::uint64_t expert_bytes = 0, experts = 0;
  for (const ExpertLayer& layer : catalogue.layers()) {
    experts += layer.experts;
    for (std::uint32_t expert = 0; expert < layer.experts && has_device_copy(layer); ++expert) {
      expert_bytes += device_copy_bytes(layer, expert, layer.parts_there(expert));
    }
  }
  if (experts > 0) needs.expert_bytes = expert_bytes / experts;
  return needs;
}

/// The first layer whose experts the device multiplies; null: there is none.
const ExpertLayer* measured_layer(const ExpertCatalogue& catalogue, const DeviceBackend& device) {
  const auto found = std::ranges::find_if(
      catalogue.layers(), [&](const ExpertLayer& layer) { return multiplies(device, layer); });
  return found == catalogue.layers().end() ? nullptr : &*found;
}

/// All that costs depend on.
std::string key_of(const DeviceBackend& device, Compute& compute, const ExpertLayer& layer,
                   const DevicesOptions& options) {
  const ExpertWeights weights = device_weights(layer, 0, layer.parts_there(0), nullptr);
  std::string key =
      fmt::format("{}; {}; {} at work; {}; {} activations", MachineCosts::processor(),
                  compute.name(), options.threads, device.name(), options.eight_bit ? "q8" : "f32");
  for (const WeightMatrix& matrix : {weights.gate, weights.up, weights.down}) {
    key += fmt::format("; {} {}x{} in {} bytes", matrix.format->name, matrix.rows, matrix.columns,
                       matrix.bytes());
  }
  return key;
}

struct FoundCosts {
  HybridCosts costs;
  std::string key;  // to be kept under; empty: guesses are not
};

/// Kept ones, or measured ones, or else what is usual.
FoundCosts find_costs(const ModelDescription& model, const ExpertCatalogue& catalogue,
                      const DeviceSet& set, Compute& compute, std::size_t index,
                      const MachineCosts& kept, const DevicesOptions& options) {
  FoundCosts found{HybridLayer::usual_costs(options.threads), {}};
  DeviceBackend& device = *set.devices[index];
  const ExpertLayer* const layer = measured_layer(catalogue, device);
  if (layer == nullptr || set.placement.mode != Placement::Mode::kAuto) return found;
  std::string key = key_of(device, compute, *layer, options);
  if (const auto earlier = kept.find(key)) return {*earlier, std::move(key)};
  if (!set.calibrate) return found;
  const auto memory = device.memory();
  if (!memory.ok()) return found;
  // What it takes is given back before anything else is allocated.
  const auto measured =
      calibrate(device, compute,
                {.model = model,
                 .layer = *layer,
                 .experts = catalogue.total_experts(),
                 .rows = options.rows,
                 .eight_bit = options.eight_bit},
                {.seconds = kCalibration / static_cast<double>(set.devices.size()),
                 .host_bytes = options.spare + HybridLayer::host_bytes(model, catalogue),
                 .device_bytes = std::min(set.vram[index], memory->free),
                 .usual = found.costs});
  if (!measured.ok()) return found;
  kept.keep(key, *measured);
  return {*measured, std::move(key)};
}

}  // namespace

std::uint64_t Devices::host_bytes(const ModelDescription& model, const ExpertCatalogue& catalogue,
                                  const DeviceSet& set) {
  return set.devices.size() * HybridLayer::host_bytes(model, catalogue);
}

std::unique_ptr<Devices> Devices::create(const Checkpoint& checkpoint,
                                         const ModelDescription& model, const DenseWeights& weights,
                                         const ExpertCatalogue& catalogue, const DeviceSet& set,
                                         Compute& compute, const DevicesOptions& options) {
  auto made = std::make_unique<Devices>();
  if (set.devices.empty()) return made;
  made->kept_ = MachineCosts(set.machine_costs);
  std::vector<LayerOwner> owners;
  std::vector<std::string> keys;
  for (std::size_t i = 0; i < set.devices.size(); ++i) {
    FoundCosts found = find_costs(model, catalogue, set, compute, i, made->kept_, options);
    owners.push_back({set.vram[i], found.costs});
    keys.push_back(std::move(found.key));
  }
  const auto layers = static_cast<std::uint32_t>(model.layers.size());
  const auto division = divide_layers(owners, layers, needs_of(model, weights, catalogue));
  const std::uint32_t first_dense = layers - std::min(layers, set.device_layers.value_or(layers));
  std::uint32_t next = 0;
  for (std::size_t i = 0; i < division.size(); ++i) {
    Share share;
    share.first = next;
    share.end = next += division[i];
    share.device = set.devices[i].get();
    std::uint64_t taken = 0;
    if (std::max(first_dense, share.first) < share.end) {
      auto dense = DenseDevice::create(checkpoint, model, weights, *share.device,
                                       {.vram = set.vram[i],
                                        .first_layer = std::max(first_dense, share.first),
                                        .end_layer = share.end,
                                        .index = made->kv_pools().size(),
                                        .rows = options.rows,
                                        .context = options.context,
                                        .sequences = options.sequences,
                                        .seats = options.seats,
                                        .kv_type = options.kv_type,
                                        .eight_bit = options.eight_bit,
                                        .threads = options.threads});
      if (dense.ok()) {
        share.dense = std::move(*dense);
        taken = share.dense->bytes();
      } else {
        made->unused_ = dense.status().message();
      }
    }
    if (share.first < share.end && !catalogue.layers().empty()) {
      auto hybrid = HybridLayer::create(model, weights.layers(), catalogue, *share.device, compute,
                                        {.vram = set.vram[i] - std::min(taken, set.vram[i]),
                                         .first_layer = share.first,
                                         .end_layer = share.end,
                                         .placement = set.placement,
                                         .policy = options.policy,
                                         .rows = options.rows,
                                         .eight_bit = options.eight_bit,
                                         .costs = owners[i].costs});
      if (hybrid.ok()) {
        share.hybrid = std::move(*hybrid);
        share.key = keys[i];
      } else {
        made->unused_ = hybrid.status().message();
      }
    }
    if (share.dense != nullptr || share.hybrid != nullptr)
      made->shares_.push_back(std::move(share));
  }
  return made;
}

/// With what layers have taught since.
Devices::~Devices() {
  for (const Share& share : shares_) {
    if (share.hybrid == nullptr || share.key.empty() || !share.hybrid->open()) continue;
    kept_.keep(share.key, share.hybrid->costs());
  }
}

DeviceBackend* Devices::pinning() const { return shares_.empty() ? nullptr : shares_[0].device; }

std::uint32_t Devices::max_rows(std::uint32_t rows) const {
  // Narrower passes read every expert too often: then wide ones are the CPU's.
  constexpr std::uint32_t kLeast = 64;
  for (const Share& share : shares_) {
    if (share.dense != nullptr) rows = std::min(rows, share.dense->max_rows());
    if (share.hybrid == nullptr) continue;
    rows = std::min(rows, std::max(kLeast, static_cast<std::uint32_t>(share.hybrid->max_rows())));
  }
  return rows;
}

void Devices::leave(const Status& why) {
  unused_ = why.message();
  shares_.clear();
}

const Devices::Share* Devices::share(std::uint32_t layer) const {
  const auto found = std::ranges::find_if(
      shares_, [=](const Share& share) { return share.first <= layer && layer < share.end; });
  return found == shares_.end() ? nullptr : &*found;
}

DenseDevice* Devices::dense(std::uint32_t layer) const {
  const Share* const found = share(layer);
  if (found == nullptr || found->dense == nullptr || !found->dense->has(layer)) return nullptr;
  return found->dense.get();
}

bool Devices::dense_open() const {
  bool any = false;
  for (const Share& share : shares_) {
    if (share.dense == nullptr) continue;
    if (!share.dense->open()) return false;
    any = true;
  }
  return any;
}

Status Devices::end() const {
  Status first;
  for (const Share& share : shares_) {
    if (share.hybrid != nullptr) share.hybrid->settle();
    if (share.dense == nullptr) continue;
    const Status status = share.dense->end();
    if (first.ok()) first = status;
  }
  return first;
}

HybridLayer* Devices::hybrid(std::uint32_t layer) const {
  const Share* const found = share(layer);
  return found == nullptr ? nullptr : found->hybrid.get();
}

bool Devices::has(ExpertId id) const {
  const HybridLayer* const found = hybrid(id.layer);
  return found != nullptr && found->has(id);
}

std::vector<KvPool*> Devices::kv_pools() const {
  std::vector<KvPool*> pools;
  for (const Share& share : shares_) {
    if (share.dense != nullptr) pools.push_back(&share.dense->kv_pool());
  }
  return pools;
}

std::uint32_t Devices::dense_layers() const {
  std::uint32_t layers = 0;
  for (const Share& share : shares_) layers += share.dense == nullptr ? 0 : share.dense->layers();
  return layers;
}

std::uint64_t Devices::dense_bytes() const {
  std::uint64_t bytes = 0;
  for (const Share& share : shares_) bytes += share.dense == nullptr ? 0 : share.dense->bytes();
  return bytes;
}

std::string Devices::dense_closed() const {
  for (const Share& share : shares_) {
    if (share.dense != nullptr && !share.dense->open()) return share.dense->closed();
  }
  return {};
}

std::optional<HybridStatistics> Devices::statistics() const {
  std::optional<HybridStatistics> all;
  for (const Share& share : shares_) {
    if (share.hybrid == nullptr) continue;
    if (!all) all.emplace();
    *all += share.hybrid->statistics();
  }
  return all;
}

}  // namespace sluice
