#pragma once
// As DecayedFrequency, give up the expert whose next use is expected to be
// farthest away, after 1/f of its layer's turns, but with the share f from four counts instead of
// two, and with the router's probabilities as evidence.
//
// Three counts forget at different rates, in visits of the layer: the last token, the last
// sentence, the last page. A use weighs more the likelier the router found it, for what won
// narrowly is less likely to come again. The fourth count is slow and adds up probabilities over
// all rows, so that a prefill, a single visit to the others, says what the text is about; it has
// little weight and orders what the others have forgotten.

#include <array>

#include "cache/worth_model.h"

namespace sluice {

class MixedFrequency : public WorthModel {
 public:
  explicit MixedFrequency(const CacheShape& shape);
  std::string_view name() const override { return "mixed"; }
  void visit(std::uint32_t layer) override;
  void touch(std::uint32_t layer, std::uint32_t index, float score) override;
  float worth(std::uint32_t layer, std::uint32_t index) const override;
  float distance_of(float worth, float ahead) const override { return 1 / worth + ahead; }

 private:
  static constexpr std::size_t kClocks = 4;
  using Counts = std::array<float, kClocks>;

  Counts decay_;
  std::vector<Counts> totals_;  // [layers] what an expert that is always wanted would have
  std::vector<Counts> uses_;    // [keys]
};

}  // namespace sluice
