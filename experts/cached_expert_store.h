#pragma once
// The experts of a model in a cache in memory, over the files that they lie in.

#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <vector>

#include "base/aligned_buffer.h"
#include "cache/expert_cache.h"
#include "experts/copy_preparer.h"
#include "experts/expert_loader.h"
#include "experts/expert_store.h"
#include "experts/expert_visit.h"
#include "experts/prefetcher.h"
#include "experts/warm_start.h"

namespace sluice {

class CachedExpertStore final : public ExpertStore {
 public:
  /// `capacity` bytes of `memory`; `widest`: bytes of the widest slot, of an expert or of a part of
  /// one. Of the options those that are not in what was made of the others.
  CachedExpertStore(const ExpertCatalogue& catalogue, BlockReader& reader, ExpertLoader loader,
                    AlignedBuffer memory, std::size_t capacity, std::size_t widest,
                    CacheShape shape, std::unique_ptr<CachePolicy> policy,
                    const ExpertStoreOptions& options);
  ~CachedExpertStore() override;

  Status begin(std::uint32_t layer, std::span<const std::uint32_t> experts,
               std::span<const float> scores, std::span<const std::uint8_t> bits) override;
  bool guesses_help(Reach reach) const override {
    return missing_share_ >= 0.1f && (reach == Reach::kAll || prefetcher_.questions_pay());
  }
  void asked(double seconds) override { prefetcher_.asked(seconds); }
  void expect(std::uint32_t layer, std::span<const LikelyExpert> likely, Reach reach) override;
  Result<std::span<const std::uint32_t>> ready() override;
  Status prepare(std::span<const std::uint32_t> indices, Compute& compute) override;
  ExpertWeights weights(std::uint32_t index, unsigned bits) const override;
  Status release(std::span<const std::uint32_t> indices) override;
  void end() override;
  void settle() override;
  std::span<const ExpertStatistics> layer_statistics() const override { return statistics_; }
  bool resident(ExpertId id) const override;
  void warm(const HotSet& earlier) override { warm_.take_over(earlier); }
  bool warm_up() override;
  HotSet hot_set() const override { return warm_.hand_over(cache_.residents()); }
  std::size_t slot_bytes(ExpertId id) const override;

 private:
  static constexpr std::uint32_t kNone = ~std::uint32_t{0};

  std::function<bool(CacheKey)> by_key(const std::function<bool(ExpertId)>& elsewhere) const;
  Status open_visit(std::uint32_t layer, std::span<const std::uint32_t> experts,
                    std::span<const float> scores, std::span<const std::uint8_t> bits);
  void want(CacheKey key, std::size_t parts);
  std::uint32_t turn_of(const ExpertLayer& layer) const {
    return static_cast<std::uint32_t>(&layer - catalogue_.layers().data());
  }
  void stop_warming();
  void pin_present();
  void arrive(Want& want);
  Status load_deferred();
  bool loosen();
  void read_ahead();
  double idle_left() const;
  void limit_in_flight(std::size_t bytes);
  void take_finished(bool wait);
  std::uint32_t& want_of(CacheKey key) {
    return want_of_[key.expert * cache_.shape().plane_groups() + key.plane_group];
  }
  void hand_over_finished();
  std::size_t group_limit() const;
  Status no_room() const;

  const ExpertCatalogue& catalogue_;
  BlockReader& reader_;
  const Clock clock_;
  ExpertLoader loader_;
  AlignedBuffer memory_;
  const std::size_t widest_;     // slot of an expert
  const std::size_t in_flight_;  // bytes that the disk is given at a time, at first
  std::size_t limit_;            // the same by now
  ExpertCache cache_;
  std::vector<ExpertStatistics> statistics_;  // [layers]
  Prefetcher prefetcher_;
  WarmStart warm_;
  CopyPreparer preparer_;

  // Since when the disk has had nothing to read for a visit, and whether the time until the next
  // visit is like others: no pass ends in it, and nothing streams.
  double idle_since_ = 0;
  bool usual_ = false;

  float missing_share_ = 1;  // of visits, lately: wanted what no earlier visit had left in memory

  std::uint32_t turn_ = 0;  // of the last visit; at first the last one of a pass

  // The open visit; everything is reserved for the widest layer.
  bool open_ = false;
  Status failure_;  // the first failed read
  ExpertVisit visit_;
  std::vector<CacheKey> keys_;  // [wants]
  std::vector<float> scores_;   // [wants], or none
  std::vector<std::uint32_t>
      want_of_;  // [experts of the widest layer, parts] → of the visit's wants, or kNone
  std::vector<std::uint32_t> arrived_;  // experts in order of arrival, hits first
  std::size_t next_arrived_ = 0;        // of arrived_: what has not been handed out yet
  std::size_t next_deferred_ = 0;       // of the wants: nothing before it is deferred
  std::size_t deferred_ = 0;
  std::size_t loading_ = 0;
  std::vector<std::uint32_t> handed_;    // by the last `ready`
  std::vector<std::uint32_t> starting_;  // of the wants: what load_deferred found room for
  std::vector<FinishedLoad> finished_;
};

}  // namespace sluice
