#pragma once
// Which experts of a layer the GPU computes, which the CPU, and which are worth moving.
//
// Few rows are computed where the weights lie, for moving a row is cheaper than moving an expert;
// many are worth a copy (Fiddler, arXiv 2402.07033). The link copies while the CPU computes, the
// GPU takes what has come (HybriMoE's three queues, arXiv 2504.05897): the layer ends when the
// slower of the two does. How the three get in each other's way is LayerClock's to know; here plans
// are changed for as long as that makes the end come sooner.

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <initializer_list>
#include <span>
#include <vector>

#include "hybrid/layer_plan.h"

namespace sluice {

/// What a plan may do, and what it is for.
struct HybridAims {
  std::size_t most_uploads = ~std::size_t{0};  // the GPU has room for, beside what it has
  bool splits = true;                          // an expert's rows may be divided between both
  double upload_credit = 0;  // seconds that an expert, once copied, saves later layers
  double link_taken = 0;     // seconds that the link goes on with an earlier copy
};

/// What a copy to the GPU saves later, of the time that it takes to do without it once: how often
/// the expert is wanted again before it leaves, and how much of that time others would have hidden.
/// Anything from 0.15 to 0.5 keeps up with the best fixed mode on the recorded traces.
inline constexpr double kSavedLater = 0.3;

/// HybridAims::upload_credit of experts of so many bytes.
inline double upload_credit(const HybridCosts& costs, std::uint64_t bytes) {
  return kSavedLater * std::min(costs.cpu.seconds(bytes, 1), costs.upload_seconds(bytes));
}

/// A pure function of its arguments; keeps lists from call to call, so that decode steps allocate
/// nothing.
class HybridScheduler {
 public:
  /// Valid until the next call. An expert that is nowhere and not on its way makes it end at
  /// kNever.
  const LayerPlan& plan(std::span<const ExpertWork> work, const HybridCosts& costs,
                        const HybridAims& aims);

  /// How much sooner the layer ends if this expert were on the GPU from its start on: what it is
  /// worth to have it there.
  double worth_on_gpu(std::span<const ExpertWork> work, const HybridCosts& costs,
                      const HybridAims& aims, std::size_t expert);

 private:
  double cost_of(const std::vector<std::uint32_t>& gpu_rows);
  void order_uploads(const std::vector<std::uint32_t>& gpu_rows);
  void swap_uploads(const std::vector<std::uint32_t>& gpu_rows);
  bool take_over();
  bool improve(std::initializer_list<std::uint32_t> experts);
  bool improve(std::size_t expert, std::uint32_t gpu_rows);
  void find_different();
  bool first_alike(std::uint32_t expert, std::uint32_t after) const;
  enum class Start { kWhereTheyLie, kLargestFirst, kSmallestFirst };
  void search(Start start);
  void begin();
  void deal_out(bool largest_first);
  void scan_uploads();
  bool change_one();
  bool change_more();
  bool split();
  std::uint32_t whole_other(std::size_t expert) const;

  std::span<const ExpertWork> work_;
  const HybridCosts* costs_ = nullptr;
  HybridAims aims_;
  LayerClock clock_;
  LayerPlan best_, kept_;
  double best_cost_ = 0;  // seconds of best_, less what its copies save later
  std::vector<std::uint32_t> rows_, uploads_, order_, different_;
  std::vector<std::uint32_t> alike_;  // [experts]: the first that is the same work
  std::vector<double> keys_;
  std::vector<ExpertWork> dealt_, other_;  // other_: of worth_on_gpu
};

}  // namespace sluice
