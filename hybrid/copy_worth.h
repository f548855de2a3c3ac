#pragma once
// Whether it is worth while to copy an expert to the GPU for the sake of layers to come.
//
// A copy costs the CPU the time to stage it, as far as the layer waits for that; and the link,
// while it copies, slows the CPU down. It saves what every use of the expert takes longer on the
// CPU, until it leaves again, less the same for the one that leaves for it. How often an expert
// will be wanted is told by how often it was, and by what became of others of which that was true:
// every visit shows that, whether anything is copied or not. So copying ends where it does not pay,
// and begins again when that changes.
//
// Not thread-safe. Times are seconds.

#include <array>
#include <cstdint>
#include <optional>
#include <span>
#include <vector>

#include "cache/cache_policy.h"
#include "hybrid/layer_plan.h"

namespace sluice {

class CopyWorth {
 public:
  explicit CopyWorth(const CacheShape& shape);

  /// The layer's turn: it wants these.
  void visit(std::uint32_t layer, std::span<const std::uint32_t> experts);
  /// How often the layer's coming turns will want the expert; the farther off they are, the less
  /// they count, for by then it may have left.
  double uses(CacheKey key) const { return uses_[kinds_[shape_.index(key)]]; }

  /// Of what the visit's plan leaves to the CPU alone, the expert that will be wanted most, an
  /// index into `experts`; and notes how much sooner the layer would end if the GPU had it. None:
  /// there is none. REQUIRES: `experts` are the last visit's, and `work` and `plan` are about
  /// these.
  std::optional<std::uint32_t> candidate(std::span<const std::uint32_t> experts,
                                         std::span<const ExpertWork> work, const LayerPlan& plan,
                                         const HybridCosts& costs);
  /// Whether it should be copied once the CPU has computed its part, where `displaced` leaves for
  /// it.
  bool pays(CacheKey candidate, std::optional<CacheKey> displaced, std::uint64_t bytes,
            const HybridCosts& costs) const;
  /// Between the end of a layer and the begin of the next one.
  void was_idle(double seconds);

 private:
  // Shares of visits that wanted an expert, of late and for longer, fall into so many grades; two
  // of them make a kind.
  static constexpr std::size_t kGrades = 8;
  struct Shares {
    float late = 0, longer = 0;
  };
  /// Of all that was seen at first, and later of about the last so many.
  struct Average {
    double value = 0, seen = 0;
    void see(double next, double memory);
  };
  static std::uint8_t kind(const Shares& shares);
  double cost(std::uint64_t bytes, const HybridCosts& costs) const;

  const CacheShape shape_;
  std::vector<Shares> shares_;         // [keys]
  std::vector<std::uint8_t> kinds_;    // [keys]
  std::vector<bool> wanted_;           // [keys]: by the visit
  std::vector<std::uint32_t> visits_;  // [layers]
  std::uint32_t layer_ = 0;            // the last visit's
  std::array<double, kGrades * kGrades> uses_{}, seen_{};
  Average saved_, idle_;
  LayerTimes planned_;
  LayerClock clock_;
  std::vector<ExpertWork> other_;
  std::vector<std::uint32_t> rows_;
};

}  // namespace sluice
