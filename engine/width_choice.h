#pragma once
// How many bits of an expert a row is multiplied by, where experts are read in parts (`--width
// auto`): the fewer, the less the expert counts for the row.
//
// What the narrow form of an expert adds to a row's error is its share of the row's weights times
// its own error. So an expert has the fewest bits at which that product is at most what a share of
// `narrow` makes with an error of 30 %, which is about what two bits err. How much each width does
// depends on the form (base/nested_error.h): MXFP4's two bits, whose codes are uneven, err 37 %.
// A bit about halves an error: bits follow the share's logarithm. (D2MoE, arXiv 2504.15299, matches
// bits to gate scores, too.)
//
// Where a calibration knows how sensitive the model is to each layer (skip_sensitivity.h), a
// layer's limit is inverse to that: then one bit more or less of any layer's experts is felt alike.
//
// That depends on nothing but the row: results stay the same for every budget, number of threads
// and way to cut a prompt.

#include <atomic>
#include <cmath>
#include <cstdint>
#include <map>
#include <span>
#include <vector>

#include "base/status.h"
#include "engine/width_script.h"
#include "experts/expert_catalogue.h"
#include "layers/row.h"

namespace sluice {

class WidthChoice {
 public:
  /// The share that costs the bundled model less than a percent of perplexity, whatever its
  /// experts' form. Where shares are equal, a row's squared error is that of one expert over top_k:
  /// so one that a row takes many of bears fewer bits, though not as many fewer as its share is
  /// smaller.
  static float usual_narrow(std::uint32_t top_k) {
    return 0.3f / std::sqrt(static_cast<float>(top_k));
  }

  /// `narrow` `[layers of the model]`: above 0, as said above.
  WidthChoice(const ExpertCatalogue& catalogue, const std::vector<float>& narrow);
  /// Every expert has the width at which it rests whatever its share: `rests`, of a layer's number,
  /// `[experts]`; all that the file has of it where the layer is not named.
  WidthChoice(const ExpertCatalogue& catalogue,
              const std::map<std::uint32_t, std::vector<std::uint8_t>>& rests);

  /// From now on `script` chooses; null: shares do.
  void follow(WidthScript* script) { script_ = script; }
  /// A pass over these rows begins. Errors are those of a script.
  Status begin(std::span<const Row> rows) {
    return script_ == nullptr ? Status() : script_->begin(rows);
  }
  /// Which of a layer's widths, the narrowest being 0, the expert of this rank has, if that is its
  /// share of the row's weights: none wider than the one at which it rests.
  std::size_t level(std::uint32_t layer, std::uint32_t expert, std::size_t row, std::size_t rank,
                    float share) const;
  /// kExactWidth: there is no choice.
  std::uint8_t bits(std::uint32_t layer, std::size_t level) const {
    return layers_[layer].widths[level];
  }

  /// The share up to which experts have the fewest bits, on average over layers that have a choice;
  /// 0: none has.
  float narrowest() const;

  /// So many rows were multiplied at that level. Others may ask for the counts below meanwhile.
  void count(std::uint32_t layer, std::size_t level, std::size_t rows);
  struct Use {
    std::uint8_t bits = 0;  // kExactWidth: of layers without a choice
    std::uint64_t rows = 0;
  };
  /// How often each width was taken, the narrowest first.
  std::vector<Use> uses() const;
  /// Of the weights that rows were multiplied by, scales and offsets included; 0: nothing was.
  double mean_bits() const;

 private:
  /// Of a layer of the model; a dense one has none of it.
  struct Layer {
    std::vector<std::uint8_t> widths;  // [levels], bits
    std::vector<std::uint8_t> most;    // [experts]: levels
    std::vector<double> cost;          // [levels]: bits a weight, all included
    std::vector<float> limits;         // [levels but the widest]: largest shares
  };

  explicit WidthChoice(const ExpertCatalogue& catalogue);
  std::atomic<std::uint64_t>& rows(std::size_t layer, std::size_t level) const {
    return rows_[layer * kMostNestedGroups + level];
  }

  WidthScript* script_ = nullptr;
  std::vector<Layer> layers_;
  mutable std::vector<std::atomic<std::uint64_t>> rows_;  // [layers, levels]: that took it
};

}  // namespace sluice
