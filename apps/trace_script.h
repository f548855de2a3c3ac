#pragma once
// A recorded routing as a script for a model of random weights (bench --routing): its tokens take
// the experts that another model's routers once chose.

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "cache/routing_trace.h"
#include "engine/model.h"
#include "layers/routing_script.h"

namespace sluice::apps {

/// Deterministic. Used by one thread.
class TraceScript final : public RoutingScript {
 public:
  struct Options {
    double guess_recall = 0.85;  // how many of the experts that `guess` names are the right ones
    std::uint64_t seed = 1;      // of the wrong ones
    std::size_t most_rows = 0;   // more are not kept, of the prompt as of the answer
  };
  /// Where the model has fewer layers than the trace, these are the trace's first; where it has
  /// more experts, they are never wanted. kInvalidArgument names what does not fit and what would.
  static Result<std::unique_ptr<TraceScript>> read(const std::string& path,
                                                   const ModelOutline& model,
                                                   const Options& options);

  /// The next passes are of a prompt: they take the rows of the trace's prompts, then those of its
  /// answers. Or they are decode steps, which take the answers' rows. Each goes on where it was and
  /// begins again after the last row; a trace of prompts or answers alone serves both.
  void begin_prefill() { phase_ = &prefill_; }
  void begin_decode() { phase_ = &decode_; }

  std::uint32_t top_k() const override { return top_k_; }
  void begin(std::size_t rows) override;
  void choose(std::uint32_t layer, std::size_t row, std::span<std::uint32_t> ids,
              std::span<float> weights) override;
  void guess(std::uint32_t layer, std::size_t row, std::span<std::uint32_t> ids) override;

  std::size_t prompt_rows() const { return prompt_rows_; }
  std::size_t answer_rows() const { return rows_ - prompt_rows_; }
  /// How often so many rows of prefill, or so many of decode, go over those that they take,
  /// whichever is more; above 1 rows come again.
  double repeats(std::uint64_t prefill, std::uint64_t decode) const;
  /// Of the trace; the model may have fewer.
  std::uint32_t recorded_layers() const { return recorded_layers_; }
  std::uint32_t recorded_experts() const { return recorded_experts_; }
  /// What it holds in memory.
  std::size_t bytes() const { return chosen_.capacity() * sizeof(RoutedExpert); }

 private:
  class Builder;
  /// Rows [first, first + count) in turn.
  struct Phase {
    std::size_t first = 0, count = 0;
    std::uint64_t pass = 0, next = 0;  // rows since the start: of the pass, and of the next one
  };

  TraceScript() = default;
  std::span<const RoutedExpert> at(std::uint32_t layer, std::size_t row) const;

  Options options_;
  std::uint32_t top_k_ = 0, layers_ = 0, recorded_layers_ = 0, recorded_experts_ = 0;
  std::vector<std::uint32_t> turns_;    // [the model's layers]
  std::vector<std::uint32_t> experts_;  // [layers]: of the model
  std::size_t rows_ = 0, prompt_rows_ = 0;
  std::vector<RoutedExpert> chosen_;  // [rows, layers, top_k]; scores of a row's layer sum to 1
  Phase prefill_, decode_;
  Phase* phase_ = &prefill_;
};

}  // namespace sluice::apps
