#include "engine/session.h"

#include <fmt/format.h>

#include <algorithm>

namespace sluice {

Status Session::eval(std::span<const TokenId> tokens, Logits wanted, const LogitsSink& sink,
                     const PassOptions& options) {
  const std::size_t before = length();
  if (before + tokens.size() > context()) {
    return Status(ErrorCode::kInvalidArgument,
                  fmt::format("the text needs {} tokens and the context holds {}: open a larger "
                              "one (--ctx) or let it shift (--ctx-shift)",
                              before + tokens.size(), context()));
  }
  Status status = kv_.reserve(before + tokens.size());
  for (std::size_t first = 0; status.ok() && first < tokens.size(); first += model_.max_rows()) {
    const std::size_t count = std::min(model_.max_rows(), tokens.size() - first);
    rows_.clear();
    for (std::size_t i = first; i < first + count; ++i) {
      const bool last = i + 1 == tokens.size();
      rows_.push_back(
          {.sequence = &kv_,
           .token = tokens[i],
           .position = static_cast<std::uint32_t>(before + i),
           .wants_logits = wanted == Logits::kAll || (wanted == Logits::kLast && last)});
    }
    status = model_.step(rows_, options, [&](std::size_t row, std::span<const float> logits) {
      sink(first + row, logits);
    });
  }
  if (!status.ok()) {
    kv_.truncate(before);
    return status;
  }
  tokens_.insert(tokens_.end(), tokens.begin(), tokens.end());
  return {};
}

void Session::truncate(std::size_t length) {
  tokens_.resize(std::min(length, tokens_.size()));
  kv_.truncate(tokens_.size());
}

}  // namespace sluice
