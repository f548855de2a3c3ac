#pragma once
// One sequence: the tokens so far and their keys and values.

#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "engine/model.h"

namespace sluice {

/// Borrows its model. Not thread-safe, but different sessions of a model may be on different
/// threads.
class Session {
 public:
  explicit Session(Model& model)
      : model_(model), kv_(model.kv_pool(), model.plan().context, model.devices().kv_pools()) {}

  enum class Logits { kNone, kLast, kAll };
  /// Appends tokens, in passes of at most model.max_rows(). `sink` gets the asked rows' logits,
  /// numbered from the first of `tokens`. kInvalidArgument when the context cannot hold them
  /// (nothing was computed). After another error the session is as before the call.
  Status eval(std::span<const TokenId> tokens, Logits wanted, const LogitsSink& sink,
              const PassOptions& options = {});

  /// Forgets all but the first `length` tokens.
  void truncate(std::size_t length);
  /// Forgets all but what `text` begins with, too, and returns its length: the rest of `text` is to
  /// be computed, at least its last token, whose logits say how it goes on.
  std::size_t keep_prefix(std::span<const TokenId> text);

  const std::vector<TokenId>& tokens() const { return tokens_; }
  std::size_t length() const { return tokens_.size(); }
  std::uint32_t context() const { return model_.plan().context; }
  Model& model() const { return model_; }
  KvSequence& kv() { return kv_; }

 private:
  Status append(std::span<const TokenId> tokens, Logits wanted, const LogitsSink& sink,
                const PassOptions& options);
  Status compute(std::span<const TokenId> tokens, std::size_t first, Logits wanted,
                 const LogitsSink& sink, const PassOptions& options);

  Model& model_;
  KvSequence kv_;
  std::vector<TokenId> tokens_;
  std::vector<Row> rows_;
};

}  // namespace sluice
