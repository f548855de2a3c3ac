#pragma once
// One forward pass over rows, each a token at a position of some session. Prefill, decode, several
// sequences and the checking of drafts are the same pass over different rows.

#include <atomic>
#include <cstdint>
#include <functional>
#include <memory>
#include <span>

#include "base/compute.h"
#include "base/status.h"
#include "base/types.h"
#include "engine/dense_weights.h"
#include "engine/kv_cache.h"
#include "engine/model_description.h"
#include "engine/moe_layer.h"
#include "engine/rope_table.h"
#include "engine/scratch.h"
#include "experts/expert_store.h"

namespace sluice {

/// A token to compute. Rows of one sequence come in the order of their positions; what lies before
/// the first is in its cache.
struct Row {
  KvSequence* sequence = nullptr;
  TokenId token = 0;
  std::uint32_t position = 0;
  bool wants_logits = false;
};

/// Receives float32 logits `[vocabulary]` of row `row`, in the order of rows; the span is valid
/// during the call only.
using LogitsSink = std::function<void(std::size_t row, std::span<const float> logits)>;

struct PassOptions {
  RoutingObserver* observer = nullptr;
  const std::atomic<bool>* cancel = nullptr;  // looked at between layers: kCancelled when true
};

/// Not thread-safe: one pass at a time.
class ForwardPass {
 public:
  static Result<std::unique_ptr<ForwardPass>> create(const ModelDescription& model,
                                                     const DenseWeights& weights, Compute& compute,
                                                     ExpertStore& store, KvType kv_type,
                                                     const ScratchShape& scratch);

  std::size_t max_rows() const { return scratch_.max_rows; }
  /// REQUIRES: 0 < rows.size() <= max_rows(); every sequence has room for its rows' positions.
  /// After an error the rows' positions hold no meaningful keys and values; earlier positions are
  /// intact.
  Status run(std::span<const Row> rows, const PassOptions& options, const LogitsSink& sink);

 private:
  ForwardPass(const ModelDescription& model, const DenseWeights& weights, Compute& compute,
              ExpertStore& store, KvType kv_type, Scratch scratch);

  Status embed(std::span<const Row> rows);
  void attention(std::uint32_t layer, std::span<const Row> rows);
  void norm_queries_and_keys(const LayerWeights& weights, std::size_t rows);
  Status feed_forward(std::uint32_t layer, std::size_t rows, RoutingObserver* observer);
  void add_to_residual(std::size_t rows);
  void norm(const float* weight, std::size_t rows);
  void write_logits(std::span<const Row> rows, const LogitsSink& sink);

  const ModelDescription& model_;
  const DenseWeights& weights_;
  Compute& compute_;
  RopeTable rope_;
  AttentionShape shape_;
  Scratch scratch_;
  MoeLayer moe_;
};

}  // namespace sluice
