#include "engine/session.h"

#include <fmt/format.h>

#include <algorithm>

namespace sluice {
namespace {

constexpr std::size_t kKeepEvery = 256;  // tokens

}  // namespace

Status Session::eval(std::span<const TokenId> tokens, Logits wanted, const LogitsSink& sink,
                     const PassOptions& options) {
  const std::size_t before = length();
  if (before + tokens.size() > context()) {
    return Status(ErrorCode::kInvalidArgument,
                  fmt::format("the text needs {} tokens and the context holds {}: open the model "
                              "with a larger one, or truncate the session first",
                              before + tokens.size(), context()));
  }
  std::size_t told = 0;  // rows whose logits the caller has
  const LogitsSink once = [&](std::size_t row, std::span<const float> logits) {
    if (row < told) return;
    told = row + 1;
    sink(row, logits);
  };
  Status status = append(tokens, wanted, once, options);
  if (status.code() == ErrorCode::kDeviceLost && kv_.has_twins()) {
    kv_.forget_twins();
    status = append(tokens, wanted, once, options);
  }
  if (!status.ok()) {
    kv_.restore_states(before);
    kv_.truncate(before);
    return status;
  }
  tokens_.insert(tokens_.end(), tokens.begin(), tokens.end());
  // The end of a prompt is where a conversation goes back to; and no way back shall be long.
  if (tokens.size() > 1 || length() - kv_.kept_length() >= kKeepEvery) kv_.keep_states();
  return {};
}

Status Session::append(std::span<const TokenId> tokens, Logits wanted, const LogitsSink& sink,
                       const PassOptions& options) {
  const std::size_t before = length();
  SLUICE_TRY(kv_.reserve(before + tokens.size()));
  // What recurrent layers have forgotten with a truncation, or a device took along, is seen once
  // more.
  if (const std::size_t seen = kv_.seen(); seen < before) {
    SLUICE_TRY(compute(std::span(tokens_).subspan(seen), seen, Logits::kNone, sink,
                       {.cancel = options.cancel}));
  }
  return compute(tokens, before, wanted, sink, options);
}

/// Tokens at positions from `first` on.
Status Session::compute(std::span<const TokenId> tokens, std::size_t first, Logits wanted,
                        const LogitsSink& sink, const PassOptions& options) {
  for (std::size_t begin = 0; begin < tokens.size(); begin += model_.max_rows()) {
    const std::size_t count = std::min(model_.max_rows(), tokens.size() - begin);
    rows_.clear();
    for (std::size_t i = begin; i < begin + count; ++i) {
      const bool last = i + 1 == tokens.size();
      rows_.push_back(
          {.sequence = &kv_,
           .token = tokens[i],
           .position = static_cast<std::uint32_t>(first + i),
           .wants_logits = wanted == Logits::kAll || (wanted == Logits::kLast && last)});
    }
    SLUICE_TRY(model_.step(rows_, options, [&](std::size_t row, std::span<const float> logits) {
      sink(begin + row, logits);
    }));
    kv_.set_seen(first + begin + count);
  }
  return {};
}

void Session::truncate(std::size_t length) {
  tokens_.resize(std::min(length, tokens_.size()));
  kv_.truncate(tokens_.size());
}

std::size_t Session::keep_prefix(std::span<const TokenId> text) {
  const auto known = text.first(text.empty() ? 0 : text.size() - 1);
  const auto [end, ignored] = std::ranges::mismatch(known, tokens_);
  const auto length = static_cast<std::size_t>(end - known.begin());
  truncate(length);
  return length;
}

}  // namespace sluice
