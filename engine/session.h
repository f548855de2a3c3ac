#pragma once
// One sequence: the tokens so far and their keys and values.

#include <algorithm>
#include <cstdint>
#include <span>
#include <vector>

#include "engine/batch.h"
#include "engine/model.h"

namespace sluice {

/// Borrows its model. Not thread-safe, but different sessions of a model may be on different
/// threads.
class Session {
 public:
  /// `context`: positions, at most the model's; 0: as many as that.
  explicit Session(Model& model, std::uint32_t context = 0)
      : model_(model),
        context_(context == 0 ? model.plan().context : std::min(context, model.plan().context)),
        kv_(model.kv_pool(), context_, model.devices().kv_pools()) {}

  using Logits = WantedLogits;
  /// Appends tokens, in passes of at most model.max_rows(): a batch of this session alone.
  Status eval(std::span<const TokenId> tokens, Logits wanted, const LogitsSink& sink,
              const PassOptions& options = {});

  /// Forgets all but the first `length` tokens.
  void truncate(std::size_t length);
  /// Forgets all but what `text` begins with, too, and returns its length: the rest of `text` is to
  /// be computed, at least its last token, whose logits say how it goes on.
  std::size_t keep_prefix(std::span<const TokenId> text);

  const std::vector<TokenId>& tokens() const { return tokens_; }
  std::size_t length() const { return tokens_.size(); }
  std::uint32_t context() const { return context_; }
  Model& model() const { return model_; }
  KvSequence& kv() { return kv_; }

 private:
  friend class Batch;
  /// They have been computed.
  void appended(std::span<const TokenId> tokens) {
    tokens_.insert(tokens_.end(), tokens.begin(), tokens.end());
  }

  Model& model_;
  const std::uint32_t context_;
  KvSequence kv_;
  std::vector<TokenId> tokens_;
  Batch batch_;
};

}  // namespace sluice
