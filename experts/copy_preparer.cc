#include "experts/copy_preparer.h"

#include <algorithm>
#include <array>
#include <functional>
#include <utility>

namespace sluice {

CopyPreparer::CopyPreparer(const ExpertCatalogue& catalogue, ExpertLoader& loader,
                           std::byte* memory, const CacheShape& shape, bool sparse_hidden)
    : catalogue_(catalogue),
      loader_(loader),
      memory_(memory),
      shape_(shape),
      sparse_hidden_(sparse_hidden),
      layouts_(shape.size()) {
  const std::size_t most = catalogue.widest_layer();
  unchecked_.reserve(most * catalogue.most_parts());
  damaged_.reserve(most * catalogue.most_parts());
  returned_.reserve(most);
  repack_tasks_.reserve(3 * most);
}

Status CopyPreparer::prepare(const ExpertVisit& visit, std::span<const std::uint32_t> experts,
                             Compute& compute) {
  SLUICE_TRY(check(visit, experts, compute));
  relay(visit, experts, compute);
  repack(visit, experts, compute);
  return {};
}

/// Of copies that nobody has looked at yet; those of relaid layers are noted once they are relaid.
Status CopyPreparer::check(const ExpertVisit& visit, std::span<const std::uint32_t> experts,
                           Compute& compute) {
  unchecked_.clear();
  damaged_.clear();
  for (const std::uint32_t expert : experts) {
    for (const Want& want : visit.wants_of(expert)) {
      if (layer_of(want).blocks.empty() || is_current(want)) continue;
      unchecked_.push_back({static_cast<std::uint32_t>(&want - visit.wants.data()), {}});
    }
  }
  const auto check_one = [&](std::size_t i) {
    const Want& want = visit.wants[unchecked_[i].want];
    unchecked_[i].status = loader_.check(want.key, slot(want));
  };
  if (!unchecked_.empty()) compute.share_out(unchecked_.size(), std::ref(check_one));
  Status failure;
  for (Unchecked& unchecked : unchecked_) {
    const Want& want = visit.wants[unchecked.want];
    if (!unchecked.status.ok()) {
      damaged_.push_back(unchecked.want);
      if (failure.ok()) failure = std::move(unchecked.status);
    } else if (!layer_of(want).relaid()) {
      const auto& views = layer_of(want).views;
      layout_of(want) = {want.copy.version,
                         false,
                         {views[0].matrix.layout, views[1].matrix.layout, views[2].matrix.layout}};
    }
  }
  return failure;
}

/// Those that were read since, also by a visit that ended before it came to them.
void CopyPreparer::relay(const ExpertVisit& visit, std::span<const std::uint32_t> experts,
                         Compute& compute) {
  for (const std::uint32_t expert : experts) {
    const Want& want = visit.first_of(expert);
    if (!layer_of(want).relaid() || is_current(want)) continue;
    loader_.relay(want.key, slot(want), compute);
    layout_of(want) = {want.copy.version, false, {}};
  }
}

/// Planes have no better order.
void CopyPreparer::repack(const ExpertVisit& visit, std::span<const std::uint32_t> experts,
                          Compute& compute) {
  returned_.clear();
  repack_tasks_.clear();
  for (const std::uint32_t expert : experts) {
    const Want& want = visit.first_of(expert);
    if (!want.returned || layer_of(want).planes()) continue;
    if (is_current(want) && layout_of(want).repacked) continue;
    returned_.push_back({expert, weights(visit, expert, kExactWidth)});
    ExpertWeights& matrices = returned_.back().weights;
    for (WeightMatrix* matrix : {&matrices.gate, &matrices.up, &matrices.down}) {
      if (matrix->layout != WeightLayout::kRows) continue;  // its bytes may be another's too
      std::byte* const data = slot(want) + (matrix->data - slot(want));
      repack_tasks_.push_back({matrix, data, sparse_hidden_ && matrix == &matrices.down});
    }
  }
  if (returned_.empty()) return;
  compute.repack(repack_tasks_);
  for (const auto& [expert, matrices] : returned_) {
    const Want& want = visit.first_of(expert);
    layout_of(want) = {
        want.copy.version, true, {matrices.gate.layout, matrices.up.layout, matrices.down.layout}};
  }
}

ExpertWeights CopyPreparer::weights(const ExpertVisit& visit, std::uint32_t expert,
                                    unsigned bits) const {
  const std::span<const Want> wants = visit.wants_of(expert);
  const std::size_t parts = bits == kExactWidth
                                ? wants.size()
                                : std::min(wants.size(), layer_of(wants.front()).parts_of(bits));
  std::array<const std::byte*, kMostNestedGroups> slots{};
  for (std::size_t part = 0; part < parts; ++part) slots[part] = slot(wants[part]);
  ExpertWeights weights = loader_.weights(wants.front().key, std::span(slots).first(parts));
  if (is_current(wants.front())) {
    const CopyLayout& layout = layout_of(wants.front());
    weights.gate.layout = layout.matrices[0];
    weights.up.layout = layout.matrices[1];
    weights.down.layout = layout.matrices[2];
  }
  return weights;
}

}  // namespace sluice
