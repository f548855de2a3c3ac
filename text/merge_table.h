#pragma once
// Ranked merges by the ids of their halves: 24 bytes a merge, whatever the texts.

#include <cstdint>
#include <vector>

#include "base/status.h"
#include "base/tokenizer_data.h"
#include "text/vocabulary.h"

namespace sluice {

/// Two neighbours that may become one token.
struct Merge {
  std::uint32_t rank = 0;  // lower merges first
  TokenId merged = -1;     // -1: they may not merge

  explicit operator bool() const { return merged >= 0; }
};

class MergeTable {
 public:
  /// kCorrupt: a merge that is not two tokens of the vocabulary whose concatenation is a token.
  static Result<MergeTable> create(const StringTable& merges, const Vocabulary& vocabulary);

  Merge find(TokenId left, TokenId right) const;

 private:
  struct Entry {
    TokenId left = -1;  // -1: free
    TokenId right = -1;
    Merge merge;
  };
  explicit MergeTable(std::size_t count);
  std::size_t home(TokenId left, TokenId right) const;
  /// The slot of the pair, or the free one where it would be.
  std::size_t slot_of(TokenId left, TokenId right) const;

  std::vector<Entry> entries_;
};

}  // namespace sluice
