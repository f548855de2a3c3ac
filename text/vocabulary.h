#pragma once
// Looks a token's text up: a hash of ids over the strings that are there anyway, 6 bytes a token.

#include <cstdint>
#include <optional>
#include <string_view>
#include <vector>

#include "base/tokenizer_data.h"

namespace sluice {

class Vocabulary {
 public:
  /// Knows the tokens whose `included` is true (all, if it is empty). Of equal texts the first id
  /// counts. `tokens` is borrowed and must stay as it is. REQUIRES: fewer than 2^31 tokens.
  Vocabulary(const StringTable& tokens, const std::vector<bool>& included);

  std::optional<TokenId> find(std::string_view text) const;
  /// Bytes of the longest text known.
  std::size_t longest() const { return longest_; }

 private:
  std::size_t home(std::string_view text) const;

  const StringTable& tokens_;
  std::vector<TokenId> slots_;  // -1: free
  std::size_t longest_ = 0;
};

}  // namespace sluice
