#include "devices/hybrid_layer.h"

#include <algorithm>
#include <utility>

namespace sluice {
namespace {

/// Of the device's memory, at most, for what experts read and write.
constexpr std::uint64_t kScratchShare = 4;
/// Of one arrival from the disk in what is known of it.
constexpr double kArrivalShare = 0.1;
constexpr double kUsualDisk = 1 / 2e9;  // seconds a byte

}  // namespace

HybridCosts HybridLayer::usual_costs(unsigned threads) {
  constexpr double kWeightsAByte = 1.8;
  HybridCosts costs;
  costs.cpu = CostCurve::roofline(std::min(10e9 * threads, 40e9), 66e9 * threads, kWeightsAByte);
  costs.gpu = CostCurve::roofline(400e9, 20e12, kWeightsAByte);
  costs.cpu_start = 5e-6;
  costs.gpu_start = 30e-6;
  costs.upload_start = 10e-6;
  costs.upload_byte = 1 / 12e9;
  costs.staging_byte = 1 / (6e9 * std::min(threads, 4u));
  costs.cpu_beside_upload = costs.upload_beside_cpu = 0.8;
  return costs;
}

HybridStatistics& HybridStatistics::operator+=(const HybridStatistics& more) {
  uses += more.uses;
  on_device += more.on_device;
  found += more.found;
  redone += more.redone;
  tier += more.tier;
  return *this;
}

std::uint64_t HybridLayer::host_bytes(const ModelDescription& model,
                                      const ExpertCatalogue& catalogue) {
  return DeviceScratch::host_bytes(model) + DeviceTier::host_bytes(catalogue);
}

Result<std::unique_ptr<HybridLayer>> HybridLayer::create(const ModelDescription& model,
                                                         std::span<const LayerWeights> layers,
                                                         const ExpertCatalogue& catalogue,
                                                         DeviceBackend& device, Compute& compute,
                                                         const HybridOptions& options) {
  SLUICE_ASSIGN(const DeviceBackend::Memory memory, device.memory());
  const std::uint64_t vram = std::min(options.vram, memory.free);
  SLUICE_ASSIGN(DeviceScratch scratch,
                DeviceScratch::create(model, layers, device, std::max<std::size_t>(1, options.rows),
                                      options.eight_bit, vram / kScratchShare));
  SLUICE_ASSIGN(std::unique_ptr<DeviceTier> tier,
                DeviceTier::create(device, catalogue,
                                   {.bytes = vram - std::min(vram, scratch.bytes()),
                                    .first_layer = options.first_layer,
                                    .end_layer = options.end_layer,
                                    .policy = options.policy}));
  std::unique_ptr<HybridLayer> made(
      new HybridLayer(model, device, compute, options, std::move(scratch), std::move(tier)));
  return made;
}

HybridLayer::HybridLayer(const ModelDescription& model, DeviceBackend& device, Compute& compute,
                         const HybridOptions& options, DeviceScratch scratch,
                         std::unique_ptr<DeviceTier> tier)
    : device_(device),
      compute_(compute),
      placement_(options.placement),
      clock_(options.clock),
      scratch_(std::move(scratch)),
      tier_(std::move(tier)),
      learner_(options.costs),
      worth_(tier_->shape()),
      disk_byte_(kUsualDisk) {
  const std::size_t experts = model.router.experts;
  experts_.reserve(experts);
  bits_.reserve(experts);
  work_.reserve(experts);
  rows_.reserve(experts);
  pinned_.reserve(experts);
  to_upload_.reserve(experts);
  uploads_.reserve(experts);
  plan_.gpu_rows.reserve(experts);
  plan_.uploads.reserve(experts);
}

HybridStatistics HybridLayer::statistics() const {
  HybridStatistics statistics = statistics_;
  statistics.tier = tier_->statistics();
  return statistics;
}

void HybridLayer::plan(std::uint32_t layer, std::span<const std::uint32_t> experts,
                       std::span<const std::uint32_t> rows, std::span<const float> scores,
                       std::span<const std::uint8_t> bits, std::size_t pass_rows,
                       const ExpertStore& store) {
  settle();
  layer_ = layer;
  experts_.assign(experts.begin(), experts.end());
  bits_.assign(bits.begin(), bits.end());
  work_.clear();
  rows_.assign(experts.size(), 0);
  pinned_.assign(experts.size(), 0);
  to_upload_.assign(experts.size(), 0);
  uploads_.clear();
  residents_ = 0;
  given_ = promoted_ = false;
  promotion_.reset();
  as_planned_ = true;
  begun_ = clock_();
  cpu_seconds_ = staging_seconds_ = 0;
  staging_known_ = true;
  read_bytes_ = 0;
  note(tier_->poll());
  come_before_ = tier_->statistics().come;
  link_before_ = tier_->statistics().seconds;
  if (!open() || !tier_->takes(layer) || pass_rows > scratch_.max_rows()) return;
  tier_->visit(layer, experts, scores);
  measure_work(rows, store);
  share_out(rows);
  unpin_idle();
  if (placement_.mode == Placement::Mode::kAuto) choose_promotion();
  statistics_.uses += experts.size();
  statistics_.found += residents_;
  statistics_.on_device += residents_ + uploads_.size();
}

/// What is on the device stays there meanwhile.
void HybridLayer::measure_work(std::span<const std::uint32_t> rows, const ExpertStore& store) {
  std::uint64_t missing = 0;
  for (std::uint32_t i = 0; i < experts_.size(); ++i) {
    ExpertWork work{.rows = rows[i], .bytes = tier_->copy_bytes(id(i), bits(i))};
    pinned_[i] = tier_->pin(id(i), bits(i)) ? kPinned : 0;
    if (pinned_[i] != 0) work.on_gpu_at = tier_->comes(id(i)) ? link_taken() : 0;
    if (!store.resident(id(i))) {
      missing += work.bytes;
      work.in_ram_at = static_cast<double>(missing) * disk_byte_;
    }
    work_.push_back(work);
  }
}

void HybridLayer::share_out(std::span<const std::uint32_t> rows) {
  if (work_.empty()) return;
  std::size_t room = tier_->has_passage() ? work_.size() : tier_->room();
  switch (placement_.mode) {
    case Placement::Mode::kCpuOnly:
      break;
    case Placement::Mode::kAuto: {
      const HybridCosts& costs = learner_.costs();
      plan_ = scheduler_.plan(work_, costs,
                              {.most_uploads = room,
                               .upload_credit = upload_credit(costs, work_.front().bytes),
                               .link_taken = link_taken()});
      rows_.assign(plan_.gpu_rows.begin(), plan_.gpu_rows.end());
      uploads_.assign(plan_.uploads.begin(), plan_.uploads.end());
      break;
    }
    case Placement::Mode::kGpuOnly:
    case Placement::Mode::kStatic:
      for (std::uint32_t i = 0; i < experts_.size(); ++i) {
        const bool fetched =
            placement_.mode == Placement::Mode::kGpuOnly && pinned_[i] == 0 && room > 0;
        if (fetched) {
          uploads_.push_back(i);
          room -= 1;
        }
        if (fetched || pinned_[i] != 0) rows_[i] = rows[i];
      }
      break;
  }
  for (const std::uint32_t i : uploads_) to_upload_[i] = 1;
}

void HybridLayer::unpin_idle() {
  for (std::uint32_t i = 0; i < experts_.size(); ++i) {
    if (pinned_[i] == 0) continue;
    if (rows_[i] > 0) {
      residents_ += 1;
    } else {
      tier_->unpin(id(i));
      pinned_[i] = 0;
    }
  }
}

/// What the tier's policy would not keep, and what does not pay, is not copied for later layers.
void HybridLayer::choose_promotion() {
  if (ended_ > 0) worth_.was_idle(begun_ - ended_);
  worth_.visit(tier_->key_of({layer_, 0}).layer, experts_);
  if (work_.empty()) return;
  const HybridCosts& costs = learner_.costs();
  const auto candidate = worth_.candidate(experts_, work_, plan_, costs);
  if (!candidate || tier_->has(id(*candidate))) return;  // a narrower one
  const CacheKey key = tier_->key_of(id(*candidate));
  const auto displaced = tier_->displaced_by(id(*candidate), bits(*candidate));
  if (displaced != key && worth_.pays(key, displaced, work_[*candidate].bytes, costs)) {
    promotion_ = candidate;
  }
}

void HybridLayer::begin(const ExpertRows& rows) {
  given_ = true;
  if (open()) note(scratch_.begin(rows));
}

ExpertWeights HybridLayer::weights(std::uint32_t index, unsigned wanted) const {
  return tier_->weights(id(index), wanted);
}

void HybridLayer::add(std::uint32_t index, const FfnTask& task) {
  if (open()) note(tier_->await(scratch_.stream(), id(index)));
  if (open()) scratch_.add(layer_, task);
}

void HybridLayer::launch() {
  if (!open()) return;
  const auto launched = scratch_.launch();
  note(launched.status());
  for (std::uint32_t i = 0; i < pinned_.size() && open() && passing_ > 0; ++i) {
    if (pinned_[i] != kPassing) continue;
    tier_->passed(id(i), *launched);
    pinned_[i] = 0;
    passing_ -= 1;
  }
}

void HybridLayer::fetch() {
  if (open()) note(scratch_.fetch());
}

bool HybridLayer::can_upload() {
  if (!open()) return true;  // nothing is to be waited for
  const auto free = tier_->staging_free();
  return !free.ok() || *free;
}

bool HybridLayer::upload(std::uint32_t index, const ExpertWeights& weights) {
  if (open()) {
    staging_known_ = staging_known_ && can_upload();
    const double begun = clock_();
    const bool began = begin_upload(index, weights);
    staging_seconds_ += clock_() - begun;
    if (began) copies(work_[index].bytes);
    if (began) return true;
  }
  as_planned_ = false;
  rows_[index] = 0;
  statistics_.on_device -= 1;
  return false;
}

/// Where experts can pass, only those stay that the policy would rather have than another.
bool HybridLayer::begin_upload(std::uint32_t index, const ExpertWeights& weights) {
  using Room = DeviceTier::Room;
  const Room room = tier_->has_passage() ? Room::kWorth : Room::kAny;
  auto began = tier_->upload(id(index), bits(index), weights, room, compute_);
  if (began.ok() && *began && tier_->pin(id(index), bits(index))) {
    pinned_[index] = kPinned;
    return true;
  }
  if (!began.ok() || !tier_->has_passage()) return false;
  began = tier_->upload(id(index), bits(index), weights, Room::kPassing, compute_);
  if (!began.ok() || !*began) return false;
  pinned_[index] = kPassing;
  passing_ += 1;
  return true;
}

void HybridLayer::promote(std::uint32_t index, const ExpertWeights& weights) {
  if (!open() || work_.empty() || rows_[index] > 0 || tier_->has(id(index))) return;
  DeviceTier::Room room = DeviceTier::Room::kWorth;
  if (placement_.mode == Placement::Mode::kStatic) {
    if (tier_->statistics().uploads >= placement_.experts) return;
    room = DeviceTier::Room::kFree;  // waits for the link, a few times in all
  } else if (promotion_ != index || tier_->uploads_under_way()) {
    return;
  }
  const auto began = tier_->upload(id(index), bits(index), weights, room, compute_);
  promoted_ = began.ok() && *began;
  if (promoted_) copies(work_[index].bytes);
}

/// The link is taken for so much longer.
void HybridLayer::copies(std::uint64_t bytes) {
  link_taken_to_ = std::max(link_taken_to_, clock_()) + learner_.costs().upload_seconds(bytes);
}

double HybridLayer::link_taken() const {
  return tier_->uploads_under_way() ? std::max(0.0, link_taken_to_ - begun_) : 0;
}

void HybridLayer::computed(std::span<const FfnTask> tasks, double seconds) {
  cpu_seconds_ += seconds;
  if (given_ && open()) note(scratch_.bring(tasks));
}

void HybridLayer::arrived(std::uint32_t index) {
  if (work_.empty() || work_[index].in_ram_at <= 0) return;
  read_bytes_ += work_[index].bytes;
  const double took = (clock_() - begun_) / static_cast<double>(read_bytes_);
  disk_byte_ += kArrivalShare * (std::min(took, 10 * disk_byte_) - disk_byte_);
}

bool HybridLayer::sum() {
  if (!given_ || !open()) return false;
  note(scratch_.sum());
  return summing_ = open();
}

bool HybridLayer::finish() {
  double gpu = 0;
  summing_ = false;
  if (given_) {
    fetch();
    // Also where the tier is closed: what was under way reads and writes what others have next.
    const auto seconds = scratch_.wait();
    if (open()) note(seconds.status());
    if (seconds.ok()) gpu = *seconds;
  }
  scratch_.forget();
  for (std::uint32_t i = 0; i < experts_.size(); ++i) {
    if (pinned_[i] == kPinned) tier_->unpin(id(i));
    pinned_[i] = 0;
  }
  passing_ = 0;
  if (open()) learn(gpu);
  ended_ = clock_();
  return open() || !given_;
}

/// Of a layer that went as it was planned.
void HybridLayer::learn(double gpu) {
  note(tier_->poll());
  if (placement_.mode != Placement::Mode::kAuto || work_.empty() || !as_planned_) return;
  HybridLearner::Timing timing{.cpu = cpu_seconds_, .gpu = gpu};
  if (staging_known_) timing.staging = staging_seconds_;
  const DeviceTierStatistics& tier = tier_->statistics();
  if (!promoted_ && tier.come - come_before_ == uploads_.size()) {
    timing.link = tier.seconds - link_before_;
  }
  learner_.observe(work_, plan_, timing);
}

}  // namespace sluice
