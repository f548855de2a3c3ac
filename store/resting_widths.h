#pragma once
// The width at which each expert of a store rests: how many of its groups of planes the store has.
// What an expert's width costs is how much its three matrices err there, each relative to itself
// (nested_errors.h), times the share of its layer's tokens that take it, times what errors of the
// layer count; widths are then planned so that all cost little together (width_planner.h).
// docs/nesting.md, "Resting widths", says what else was tried.

#include <atomic>
#include <cstdint>
#include <functional>
#include <map>
#include <span>
#include <vector>

#include "base/status.h"
#include "formats/imatrix.h"
#include "formats/store_format.h"
#include "io/block_reader.h"
#include "store/width_planner.h"

namespace sluice {

struct RestingOptions {
  double bits = 0;  // as RestingWidths::choose has them; 0: nothing is chosen yet
  /// Of columns, and how often each expert was taken; null: all alike.
  const ImportanceMatrix* importance = nullptr;
  /// [layers] of the model: how sensitive it is to each; none: alike.
  std::span<const float> sensitivities = {};
  std::function<void(std::uint64_t done, std::uint64_t all)> progress = {};  // may be empty
  const std::atomic<bool>* cancel = nullptr;
};

struct RestingWidths {
  /// Of each of the plan's nested experts: widths that it may have, narrowest first, and what they
  /// cost.
  std::vector<std::vector<std::uint8_t>> widths;
  std::vector<std::vector<WidthOption>> options;
  WidthPlan chosen;
  double weights = 0;            // of all routed experts
  std::uint64_t kept_bytes = 0;  // of those that stay as they are

  /// Of what each expert costs, widths that have at most so many bits: of the weights of all routed
  /// experts, scales and offsets included, those of layers that stay as they are, too; gaps between
  /// blocks are not. kInvalidArgument: no widths make so few bits, or so many, and which do.
  Status choose(double bits);
  /// The fewest and the most bits that there are to choose.
  double least_bits() const;
  double most_bits() const;

  std::uint8_t width(std::size_t expert) const { return widths[expert][chosen.options[expert]]; }
  double mean_bits() const { return 8 * static_cast<double>(chosen.bytes + kept_bytes) / weights; }
  /// As StoreChoice has them.
  std::map<std::uint32_t, std::vector<std::uint8_t>> by_layer(const StorePlan& plan) const;
};

/// `plan`: of the source, with all widths that there are. Reads every expert once; the same source
/// and options give the same widths. kInvalidArgument of bits before anything is read; kCancelled,
/// and what reading and fitting have.
Result<RestingWidths> plan_resting_widths(const Checkpoint& source, const StorePlan& plan,
                                          BlockReader& reader, const RestingOptions& options);

}  // namespace sluice
