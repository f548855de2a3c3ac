#include "experts/cached_expert_store.h"

#include <algorithm>
#include <functional>
#include <string>
#include <utility>

namespace sluice {
namespace {

/// Enough for a disk's latency. With more in flight all of a layer's experts arrive together, at
/// the end, and nothing is left to be read while they are computed: on the one virtual disk
/// measured, 64 MiB decoded a fifth slower.
constexpr std::size_t kLeastInFlight = std::size_t{5} << 20;
/// While many rows are computed for an expert, a disk could read many: what it is given grows to
/// this.
constexpr std::size_t kMostInFlight = std::size_t{64} << 20;
/// Of what an earlier run had: all that a visit may have to wait behind, once.
constexpr std::size_t kMostWarming = std::size_t{16} << 20;
/// Of one visit in the share of those that missed: it remembers about a hundred.
constexpr float kVisitShare = 1.0f / 64;

}  // namespace

CachedExpertStore::CachedExpertStore(const ExpertCatalogue& catalogue, BlockReader& reader,
                                     ExpertLoader loader, AlignedBuffer memory,
                                     std::size_t capacity, std::size_t widest, CacheShape shape,
                                     std::unique_ptr<CachePolicy> policy,
                                     const ExpertStoreOptions& options)
    : catalogue_(catalogue),
      reader_(reader),
      clock_(options.clock),
      loader_(std::move(loader)),
      memory_(std::move(memory)),
      widest_(widest),
      in_flight_(std::max(kLeastInFlight, 2 * widest)),
      limit_(in_flight_),
      cache_(std::move(shape), capacity, std::move(policy)),
      statistics_(catalogue.layers().size()),
      // Of one, two and three experts of 2.4 MB at a time, two were as fast as three and read less
      // in vain.
      prefetcher_(cache_, loader_, memory_.data(), catalogue.widest_layer(), statistics_,
                  options.judge_guesses ? 0 : in_flight_ / std::max<std::size_t>(1, widest),
                  by_key(options.elsewhere)),
      // A model without experts has a store, too, whose slots are empty.
      warm_(cache_, loader_, memory_.data(),
            std::max<std::size_t>(1, kMostWarming / std::max<std::size_t>(1, widest)), statistics_,
            by_key(options.elsewhere)),
      preparer_(catalogue, loader_, memory_.data(), cache_.shape(), options.sparse_hidden) {
  if (!statistics_.empty()) turn_ = static_cast<std::uint32_t>(statistics_.size() - 1);
  const std::size_t most = catalogue.widest_layer();
  const std::size_t most_wants = most * catalogue.most_parts();
  visit_.experts.reserve(most);
  visit_.wants.reserve(most_wants);
  keys_.reserve(most_wants);
  scores_.reserve(most_wants);
  arrived_.reserve(most);
  handed_.reserve(most);
  starting_.reserve(most_wants);
  finished_.reserve(2 * most_wants);
  want_of_.assign(most_wants, kNone);
  if (memory_.size() > 0) reader_.register_memory({memory_.data(), memory_.size()});
}

CachedExpertStore::~CachedExpertStore() {
  end();
  settle();
  if (memory_.size() > 0) reader_.forget_memory({memory_.data(), memory_.size()});
}

Status CachedExpertStore::begin(std::uint32_t layer, std::span<const std::uint32_t> experts,
                                std::span<const float> scores, std::span<const std::uint8_t> bits) {
  if (open_) return Status(ErrorCode::kInvalidArgument, "the last visit was not ended");
  if (!scores.empty() && scores.size() != experts.size()) {
    return Status(ErrorCode::kInvalidArgument, std::to_string(scores.size()) + " scores for " +
                                                   std::to_string(experts.size()) + " experts");
  }
  if (!bits.empty() && bits.size() != experts.size()) {
    return Status(ErrorCode::kInvalidArgument, std::to_string(bits.size()) + " widths for " +
                                                   std::to_string(experts.size()) + " experts");
  }
  limit_in_flight(in_flight_);
  stop_warming();
  SLUICE_TRY(open_visit(layer, experts, scores, bits));
  const double now = clock_();
  if (usual_) prefetcher_.worth().was_idle(now - idle_since_);
  idle_since_ = now;
  usual_ = true;
  pin_present();
  Status status = load_deferred();
  if (!status.ok()) end();
  return status;
}

std::function<bool(CacheKey)> CachedExpertStore::by_key(
    const std::function<bool(ExpertId)>& elsewhere) const {
  return [this, elsewhere](CacheKey key) {
    return elsewhere({catalogue_.layers()[key.layer].layer, key.expert});
  };
}

/// What came in time is there; what did not is in the way from now on.
void CachedExpertStore::stop_warming() {
  loader_.reap(finished_, /*wait=*/false);
  hand_over_finished();
  warm_.yield();
}

Status CachedExpertStore::open_visit(std::uint32_t layer, std::span<const std::uint32_t> experts,
                                     std::span<const float> scores,
                                     std::span<const std::uint8_t> bits) {
  const ExpertLayer* where = catalogue_.find(layer);
  if (where == nullptr) {
    return Status(ErrorCode::kInvalidArgument,
                  "layer " + std::to_string(layer) + " has no routed experts");
  }
  visit_.experts.clear();
  keys_.clear();
  scores_.clear();
  visit_.wants.clear();
  Status status;
  for (std::size_t i = 0; i < experts.size(); ++i) {
    const std::uint32_t expert = experts[i];
    const CacheKey key{turn_of(*where), static_cast<std::uint16_t>(expert), 0};
    if (expert >= where->experts || want_of(key) != kNone) {
      status = Status(ErrorCode::kInvalidArgument,
                      "layer " + std::to_string(layer) + ", expert " + std::to_string(expert) +
                          (expert >= where->experts ? ": there is no such expert"
                                                    : ": wanted twice in one visit"));
      break;
    }
    const std::size_t there = where->parts_there(expert);
    want(key, bits.empty() ? there : std::min(there, where->parts_of(bits[i])));
    if (!scores.empty()) scores_.resize(visit_.wants.size(), scores[i]);
  }
  if (!status.ok()) {
    for (const Want& want : visit_.wants) want_of(want.key) = kNone;
    return status;
  }
  open_ = true;
  failure_ = {};
  arrived_.clear();
  next_arrived_ = 0;
  next_deferred_ = 0;
  deferred_ = visit_.wants.size();
  turn_ = turn_of(*where);
  cache_.visit(turn_, keys_, scores_);
  warm_.count(turn_, keys_);
  statistics_[turn_].requests += visit_.experts.size();
  return {};
}

/// The first `parts` of an expert.
void CachedExpertStore::want(CacheKey key, std::size_t parts) {
  const auto count = static_cast<std::uint32_t>(parts);
  visit_.experts.push_back({static_cast<std::uint32_t>(visit_.wants.size()), count, count});
  for (std::size_t part = 0; part < parts; ++part) {
    key.plane_group = static_cast<std::uint16_t>(part);
    want_of(key) = static_cast<std::uint32_t>(visit_.wants.size());
    keys_.push_back(key);
    Want& added = visit_.wants.emplace_back();
    added.key = key;
    added.expert = static_cast<std::uint32_t>(visit_.experts.size() - 1);
  }
}

/// Before any room is made: what this visit will use must not be evicted for the rest of it.
void CachedExpertStore::pin_present() {
  for (Want& want : visit_.wants) {
    const PinnedCopy pinned = cache_.pin(want.key);
    if (pinned.state == CopyState::kEmpty) {
      prefetcher_.miss(want.key);
      continue;
    }
    const bool read_ahead = prefetcher_.claim(want.key);
    want.copy = pinned.copy;
    deferred_ -= 1;
    if (pinned.state == CopyState::kReady) {
      want.returned = !read_ahead;
      arrive(want);
    } else {
      if (!read_ahead) warm_.claim(want.key);
      cache_.unpin(want.key);  // the guess's: one of the two is enough
      want.stage = Stage::kLoading;
      loading_ += 1;
    }
  }
  statistics_[turn_].hits += arrived_.size();
  prefetcher_.close(turn_);
  prefetcher_.worth().missed(deferred_ > 0);
  const bool missing = std::any_of(visit_.wants.begin(), visit_.wants.end(),
                                   [](const Want& want) { return !want.returned; });
  missing_share_ += kVisitShare * ((missing ? 1.0f : 0.0f) - missing_share_);
}

/// A part is in memory, and perhaps the last one of its expert.
void CachedExpertStore::arrive(Want& want) {
  want.stage = Stage::kArrived;
  if (--visit_.experts[want.expert].awaited == 0) arrived_.push_back(want.expert);
}

/// Starts every deferred load that finds room, in order, all in one submission.
Status CachedExpertStore::load_deferred() {
  starting_.clear();
  for (; next_deferred_ < visit_.wants.size(); ++next_deferred_) {
    Want& want = visit_.wants[next_deferred_];
    if (want.stage != Stage::kDeferred) continue;
    if (const PinnedCopy there = cache_.pin(want.key); there.state == CopyState::kReady) {
      want.copy = there.copy;  // since it was loosened
      deferred_ -= 1;
      arrive(want);
      continue;
    }
    const auto copy = cache_.reserve(want.key, loader_.slot_bytes(want.key));
    if (!copy) break;  // the next one is as large
    want.copy = *copy;
    want.stage = Stage::kLoading;
    loader_.add(want.key, memory_.data() + copy->extent.offset);
    starting_.push_back(static_cast<std::uint32_t>(next_deferred_));
  }
  if (starting_.empty()) return {};
  deferred_ -= starting_.size();
  Status status = loader_.submit();
  if (status.ok()) {
    loading_ += starting_.size();
    return status;
  }
  for (const std::uint32_t index : starting_) {
    cache_.failed(visit_.wants[index].key);
    visit_.wants[index].stage = Stage::kOver;
  }
  return status;
}

/// Parts of experts that lack others would wait for room that they take from one another: all of
/// them are let go but those of the first such expert, which then finds it; or, where its own are
/// in its way, they and all else that is in the cache. False: room can only come from `release`.
bool CachedExpertStore::loosen() {
  const std::uint32_t first = visit_.wants[next_deferred_].expert;
  const auto let_go = [this, first](bool own) {
    bool any = false;
    for (Want& want : visit_.wants) {
      WantedExpert& expert = visit_.experts[want.expert];
      if (want.stage != Stage::kArrived || expert.awaited == 0) continue;
      if ((want.expert == first) != own) continue;
      want.stage = Stage::kDeferred;
      expert.awaited += 1;
      deferred_ += 1;
      cache_.unpin(want.key);
      any = true;
    }
    if (any) next_deferred_ = 0;
    return any;
  };
  if (let_go(/*own=*/false)) return true;
  if (std::ranges::any_of(visit_.experts, &WantedExpert::handed)) return false;
  if (!let_go(/*own=*/true)) return false;
  cache_.clear();
  return true;
}

void CachedExpertStore::expect(std::uint32_t layer, std::span<const LikelyExpert> likely,
                               Reach reach) {
  const ExpertLayer* where = catalogue_.find(layer);
  if (where == nullptr) return;
  if (!open_) take_finished(/*wait=*/false);
  if (!open_ && !usual_) idle_since_ = clock_();
  if (reach == Reach::kAll) usual_ = false;
  prefetcher_.expect(turn_of(*where), likely, reach);
  read_ahead();
}

/// Where the visit's own reads leave the disk something to do.
void CachedExpertStore::read_ahead() {
  if (deferred_ > 0) return;
  const std::size_t enough = limit_ / widest_;
  prefetcher_.start(enough - std::min(enough, loader_.under_way()),
                    (turn_ + 1) % cache_.shape().layers(), idle_left());
  const bool idle =
      loading_ == 0 && !prefetcher_.streams() && loader_.under_way() == warm_.under_way();
  if (idle && warm_.pending()) warm_.start();
}

/// Of the time that the disk has nothing to read for visits, usually, before the next one begins.
double CachedExpertStore::idle_left() const {
  const double usually = prefetcher_.worth().idle();
  if (loading_ > 0) return usually;  // it has not begun
  return std::max(0.0, usually - (clock_() - idle_since_));
}

bool CachedExpertStore::warm_up() {
  limit_in_flight(kMostInFlight);
  warm_.start_all();
  while (loader_.under_way() > 0) {
    loader_.reap(finished_, /*wait=*/true);
    hand_over_finished();
  }
  return warm_.pending();
}

void CachedExpertStore::limit_in_flight(std::size_t bytes) {
  limit_ = bytes;
  reader_.limit_in_flight(bytes);
}

/// While reads are under way, small groups are handed out. Between them the disk is given its next
/// reads, and misses that wait for room get what the group before them gave back.
std::size_t CachedExpertStore::group_limit() const {
  std::size_t limit = arrived_.size() - next_arrived_;
  if (loading_ > 0) limit = std::min(limit, in_flight_ / 2 / widest_);
  if (deferred_ > 0) limit = std::min(limit, (arrived_.size() - next_arrived_ + loading_) / 4);
  return std::max<std::size_t>(1, limit);
}

Result<std::span<const std::uint32_t>> CachedExpertStore::ready() {
  handed_.clear();
  if (!open_) return Status(ErrorCode::kInvalidArgument, "no visit is open");
  take_finished(/*wait=*/false);
  read_ahead();
  while (failure_.ok() && next_arrived_ == arrived_.size()) {
    if (loading_ == 0 && deferred_ > 0) failure_ = load_deferred();  // guesses had the room
    if (next_arrived_ < arrived_.size() || (loading_ == 0 && deferred_ == 0)) break;
    if (loader_.under_way() > 0) {
      take_finished(/*wait=*/true);
    } else if (!loosen()) {
      break;
    }
  }
  if (!failure_.ok()) return failure_;
  if (next_arrived_ == arrived_.size() && deferred_ > 0) return no_room();
  const std::size_t count = std::min(group_limit(), arrived_.size() - next_arrived_);
  for (std::size_t i = 0; i < count; ++i) {
    const std::uint32_t index = arrived_[next_arrived_++];
    visit_.experts[index].handed = true;
    handed_.push_back(index);
  }
  return std::span<const std::uint32_t>(handed_);
}

Status CachedExpertStore::no_room() const {
  const Want& want = visit_.wants[next_deferred_];
  return Status(ErrorCode::kBudget,
                "layer " + std::to_string(catalogue_.layers()[want.key.layer].layer) + ", expert " +
                    std::to_string(want.key.expert) + " needs " +
                    std::to_string(loader_.slot_bytes(want.key)) + " bytes of a cache of " +
                    std::to_string(cache_.capacity()) + ", of which " +
                    std::to_string(cache_.pinned_bytes()) +
                    " are in use: release experts before asking for more");
}

void CachedExpertStore::take_finished(bool wait) {
  if (loader_.under_way() == 0) return;
  const double start = wait ? clock_() : 0;
  const std::size_t before = loader_.under_way();
  loader_.reap(finished_, wait);
  if (wait) {
    statistics_[turn_].wait_nanoseconds += static_cast<std::uint64_t>(1e9 * (clock_() - start));
  } else if (finished_.size() * widest_ >= limit_ && limit_ < kMostInFlight &&
             (finished_.size() < before || prefetcher_.streams())) {
    // All that the disk had been given came in while something was computed: it could have read
    // more.
    limit_in_flight(2 * limit_);
    loader_.reap(finished_, false);
  }
  const bool visits = loading_ > 0;
  hand_over_finished();
  if (visits && loading_ == 0) idle_since_ = clock_();
}

/// Of each load that has come in, or has failed: whose it was.
void CachedExpertStore::hand_over_finished() {
  for (FinishedLoad& load : finished_) {
    ExpertStatistics& statistics = statistics_[load.key.layer];
    statistics.bytes_read += load.bytes;
    if (load.status.ok()) statistics.loads += 1;
    if (load.seconds > 0) prefetcher_.worth().read_took(load.seconds);
    if (prefetcher_.finish(load) || warm_.finish(load)) continue;
    Want& want = visit_.wants[want_of(load.key)];
    loading_ -= 1;
    if (load.status.ok()) {
      cache_.loaded(load.key);
      arrive(want);
    } else {
      cache_.failed(load.key);
      want.stage = Stage::kOver;
      if (failure_.ok()) failure_ = std::move(load.status);
    }
  }
  finished_.clear();
}

Status CachedExpertStore::prepare(std::span<const std::uint32_t> indices, Compute& compute) {
  Status damage = preparer_.prepare(visit_, indices, compute);
  for (const std::uint32_t index : preparer_.damaged()) {
    cache_.discard(visit_.wants[index].key);
    visit_.wants[index].stage = Stage::kOver;
  }
  if (failure_.ok()) failure_ = damage;
  return damage;
}

ExpertWeights CachedExpertStore::weights(std::uint32_t index, unsigned bits) const {
  return preparer_.weights(visit_, index, bits);
}

Status CachedExpertStore::release(std::span<const std::uint32_t> indices) {
  for (const std::uint32_t index : indices) {
    if (index >= visit_.experts.size() || !visit_.experts[index].handed) {
      return Status(ErrorCode::kInvalidArgument,
                    "expert " + std::to_string(index) + " of the visit is not handed out");
    }
    visit_.experts[index].handed = false;
    for (Want& want : visit_.wants_of(index)) {
      want.stage = Stage::kOver;
      cache_.unpin(want.key);
    }
  }
  if (!failure_.ok() || deferred_ == 0) return {};
  failure_ = load_deferred();
  return failure_;
}

void CachedExpertStore::end() {
  if (!open_) return;
  while (loading_ > 0) take_finished(/*wait=*/true);
  for (const Want& want : visit_.wants) {
    if (want.stage == Stage::kArrived) cache_.unpin(want.key);
    want_of(want.key) = kNone;
  }
  visit_.wants.clear();
  visit_.experts.clear();
  read_ahead();  // until the next visit
  open_ = false;
}

void CachedExpertStore::settle() {
  prefetcher_.expect_nothing();
  usual_ = false;
  stop_warming();
  while (loader_.under_way() > 0) take_finished(/*wait=*/true);
}

bool CachedExpertStore::resident(ExpertId id) const {
  const ExpertLayer* layer = catalogue_.find(id.layer);
  if (layer == nullptr || id.expert >= layer->experts) return false;
  return cache_.state({turn_of(*layer), static_cast<std::uint16_t>(id.expert), 0}) ==
         CopyState::kReady;
}

std::size_t CachedExpertStore::slot_bytes(ExpertId id) const {
  const std::uint32_t turn = turn_of(*catalogue_.find(id.layer));
  return loader_.slot_bytes({turn, static_cast<std::uint16_t>(id.expert), 0});
}

}  // namespace sluice
