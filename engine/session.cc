#include "engine/session.h"

namespace sluice {

Status Session::eval(std::span<const TokenId> tokens, Logits wanted, const LogitsSink& sink,
                     const PassOptions& options) {
  BatchPart part{.session = this, .tokens = tokens, .wanted = wanted, .sink = &sink};
  batch_.eval({&part, 1}, options);
  return part.status;
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
