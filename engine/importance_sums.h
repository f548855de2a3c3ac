#pragma once
// What an importance matrix is made of: the sums of the squares of what experts read. Gate and up
// read the layer's rows that were routed to an expert, down what the two make of these.

#include <cstdint>
#include <span>
#include <vector>

#include "base/aligned_buffer.h"
#include "base/status.h"
#include "layers/model_description.h"
#include "layers/routing_observer.h"

namespace sluice {

/// Sees passes. Every sum is taken in the order of the text, in float64: how passes were cut,
/// threads and what was in memory change no bit.
class ImportanceSums final : public RoutingObserver {
 public:
  /// Of some of the layers. kBudget when there is no memory for them.
  static Result<ImportanceSums> create(const ModelDescription& model,
                                       std::span<const std::uint32_t> layers);
  /// Bytes that it holds for a layer.
  static std::uint64_t layer_bytes(const ModelDescription& model);

  void routed(const Routing&) override {}
  void computed(std::uint32_t layer, std::uint32_t expert, const FfnTask& task) override;
  bool needs_products() const override { return true; }

  /// Of a layer's experts. REQUIRES, here and below: one of the layers.
  std::span<const double> inputs(std::uint32_t layer) const;         // [experts, hidden]
  std::span<const double> hidden(std::uint32_t layer) const;         // [experts, expert_ffn]
  std::span<const std::uint64_t> counts(std::uint32_t layer) const;  // [experts]: rows

 private:
  explicit ImportanceSums(const ModelDescription& model);

  double* of(std::uint32_t layer) const;

  std::size_t experts_, input_columns_, hidden_columns_;
  std::vector<std::size_t> place_;     // [layers]: which of those that are seen, or kUnseen
  std::vector<std::uint64_t> counts_;  // [seen, experts]
  AlignedBuffer memory_;
  double* sums_ = nullptr;  // in it: [seen] of [experts, hidden] and [experts, expert_ffn]
};

}  // namespace sluice
