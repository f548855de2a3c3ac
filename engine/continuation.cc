#include "engine/continuation.h"

#include <algorithm>
#include <cmath>
#include <utility>

namespace sluice {
namespace {

bool contains(const std::vector<TokenId>& ids, TokenId id) {
  return std::find(ids.begin(), ids.end(), id) != ids.end();
}

}  // namespace

Continuation::Continuation(const Tokenizer* tokenizer, const GenerateOptions& options,
                           std::vector<TokenId> history)
    : tokenizer_(tokenizer),
      options_(options),
      sampler_(options.sampling),
      filter_(options.stop),
      history_(std::move(history)) {
  if (tokenizer != nullptr) detokenizer_.emplace(*tokenizer, /*continues=*/!options.own_text);
}

Status Continuation::choose(std::span<const float> logits) {
  chosen_ = sampler_.sample(logits, history_);
  if (std::isfinite(logits[static_cast<std::size_t>(chosen_)])) return {};
  return Status(ErrorCode::kCorrupt, "the model's logits are not numbers");
}

bool Continuation::ends(TokenId token) const {
  if (options_.ignore_end) return false;
  return (tokenizer_ != nullptr && tokenizer_->ends_generation(token)) ||
         contains(options_.end_tokens, token);
}

std::string Continuation::accept() {
  if (ends(chosen_)) return end(StopReason::kEndOfText);
  tokens_.push_back(chosen_);
  history_.push_back(chosen_);
  std::string text;
  if (detokenizer_) {
    text = filter_.push(detokenizer_->push(chosen_, contains(options_.shown_tokens, chosen_)));
  }
  if (filter_.stopped()) {
    text += end(StopReason::kStopString);
  } else if (tokens_.size() == options_.max_tokens) {
    text += end(StopReason::kMaxTokens);
  }
  return text;
}

std::string Continuation::end(StopReason reason) {
  reason_ = reason;
  std::string text;
  if (detokenizer_ && !filter_.stopped()) text = filter_.push(detokenizer_->finish());
  return text + filter_.finish();
}

}  // namespace sluice
