#pragma once
// The tokens that a text begins with: a sorted list of ids over the strings that are there anyway,
// 4 bytes a token.

#include <array>
#include <cstddef>
#include <cstdint>
#include <string_view>
#include <vector>

#include "base/tokenizer_data.h"

namespace sluice {

class PrefixIndex {
 public:
  /// Knows `ids`, whose texts are not empty. Of equal texts the greatest id counts, as in the
  /// tokenizers package. `tokens` is borrowed and must stay as it is.
  PrefixIndex(const StringTable& tokens, std::vector<TokenId> ids);

  /// Calls take(length, id) for the tokens that `text` begins with, the shortest first. True: the
  /// text ended on the way to longer ones.
  template <typename Take>
  bool for_each(std::string_view text, const Take& take) const {
    if (text.empty()) return true;
    const auto first = static_cast<unsigned char>(text.front());
    std::size_t low = first_bytes_[first];
    std::size_t high = first_bytes_[first + std::size_t{1}];
    for (std::size_t length = 1; low < high; ++length) {
      if (text_of(low).size() == length) {
        take(length, ids_[low]);
        ++low;
      }
      if (length == text.size()) return low < high;
      narrow(length, text[length], low, high);
    }
    return false;
  }

 private:
  std::string_view text_of(std::size_t at) const {
    return tokens_[static_cast<std::size_t>(ids_[at])];
  }
  /// From the tokens at [low, high), which are longer than `depth`, to those with `byte` there.
  void narrow(std::size_t depth, char byte, std::size_t& low, std::size_t& high) const;

  const StringTable& tokens_;
  std::vector<TokenId> ids_;                      // by text
  std::array<std::uint32_t, 257> first_bytes_{};  // where the tokens with each first byte begin
};

}  // namespace sluice
