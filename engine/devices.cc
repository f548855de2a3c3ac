#include "engine/devices.h"

#include <algorithm>
#include <utility>

#include "hybrid/layer_division.h"

namespace sluice {
namespace {

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

}  // namespace

std::uint64_t Devices::host_bytes(const ModelDescription& model, const ExpertCatalogue& catalogue,
                                  const Runtime& runtime) {
  return runtime.devices().size() * HybridLayer::host_bytes(model, catalogue);
}

std::unique_ptr<Devices> Devices::create(const Checkpoint& checkpoint,
                                         const ModelDescription& model, const DenseWeights& weights,
                                         const ExpertCatalogue& catalogue, Runtime& runtime,
                                         const DevicesOptions& options) {
  auto made = std::make_unique<Devices>();
  if (runtime.devices().empty()) return made;
  std::vector<LayerOwner> owners;
  for (std::size_t i = 0; i < runtime.devices().size(); ++i) {
    owners.push_back({runtime.vram(i), HybridLayer::usual_costs(options.threads)});
  }
  const auto layers = static_cast<std::uint32_t>(model.layers.size());
  const auto division = divide_layers(owners, layers, needs_of(model, weights, catalogue));
  const std::uint32_t first_dense =
      layers - std::min(layers, runtime.device_layers().value_or(layers));
  std::uint32_t next = 0;
  for (std::size_t i = 0; i < division.size(); ++i) {
    Share share;
    share.first = next;
    share.end = next += division[i];
    share.device = runtime.devices()[i].get();
    std::uint64_t taken = 0;
    if (std::max(first_dense, share.first) < share.end) {
      auto dense = DenseDevice::create(checkpoint, model, weights, *share.device,
                                       {.vram = runtime.vram(i),
                                        .first_layer = std::max(first_dense, share.first),
                                        .end_layer = share.end,
                                        .index = made->kv_pools().size(),
                                        .rows = options.rows,
                                        .context = options.context,
                                        .sequences = options.sequences,
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
      auto hybrid =
          HybridLayer::create(model, weights.layers(), catalogue, *share.device, runtime.compute(),
                              {.vram = runtime.vram(i) - std::min(taken, runtime.vram(i)),
                               .first_layer = share.first,
                               .end_layer = share.end,
                               .placement = runtime.placement(),
                               .policy = options.policy,
                               .rows = options.rows,
                               .eight_bit = options.eight_bit,
                               .threads = options.threads});
      if (hybrid.ok()) {
        share.hybrid = std::move(*hybrid);
      } else {
        made->unused_ = hybrid.status().message();
      }
    }
    if (share.dense != nullptr || share.hybrid != nullptr)
      made->shares_.push_back(std::move(share));
  }
  return made;
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
