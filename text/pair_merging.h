#pragma once
// Byte-pair encoding itself: join the best pair of neighbours, the leftmost among equals, until
// none is left.

#include <algorithm>
#include <cstdint>
#include <vector>

#include "text/merge_table.h"

namespace sluice {

/// A stretch of the text: one character or byte at first, whole tokens in the end.
struct Symbol {
  TokenId id = -1;  // -1: no token
  std::uint32_t begin = 0;
  std::uint32_t length = 0;  // in bytes; 0: joined to the symbol before
  std::uint32_t next = 0;    // index of the next symbol alive; the count of symbols: none
  std::uint32_t previous = 0;
};

/// The working memory of one text, reused from piece to piece.
class PairMerging {
 public:
  std::vector<Symbol>& symbols() { return symbols_; }

  /// Adds a symbol after those there. REQUIRES: bytes of all symbols < 2^32.
  void append(TokenId id, std::size_t length) {
    const auto count = static_cast<std::uint32_t>(symbols_.size());
    const std::uint32_t begin =
        symbols_.empty() ? 0 : symbols_.back().begin + symbols_.back().length;
    symbols_.push_back({id, begin, static_cast<std::uint32_t>(length), count + 1, count - 1});
  }

  /// `merge_of(left, right)` says whether two neighbouring symbols may join. A queue orders the
  /// candidates: O(n log n).
  template <typename MergeOf>
  void run(const MergeOf& merge_of) {
    queue_.clear();
    for (std::uint32_t i = 0; i + 1 < symbols_.size(); ++i) {
      if (Candidate candidate; propose(i, i + 1, merge_of, candidate)) queue_.push_back(candidate);
    }
    std::make_heap(queue_.begin(), queue_.end());
    while (!queue_.empty()) {
      std::pop_heap(queue_.begin(), queue_.end());
      const Candidate best = queue_.back();
      queue_.pop_back();
      join(best, merge_of);
    }
  }

 private:
  struct Candidate {
    std::uint32_t rank;
    std::uint32_t left;
    std::uint32_t
        length;  // of both: symbols only grow, so another length means that one has changed
    TokenId merged;

    /// As std::make_heap wants it: the best is the greatest.
    bool operator<(const Candidate& other) const {
      return rank != other.rank ? rank > other.rank : left > other.left;
    }
  };

  template <typename MergeOf>
  bool propose(std::uint32_t left, std::uint32_t right, const MergeOf& merge_of,
               Candidate& candidate) {
    const Merge merge = merge_of(symbols_[left], symbols_[right]);
    if (!merge) return false;
    candidate = {merge.rank, left, symbols_[left].length + symbols_[right].length, merge.merged};
    return true;
  }

  template <typename MergeOf>
  void join(const Candidate& best, const MergeOf& merge_of) {
    Symbol& left = symbols_[best.left];
    if (left.length == 0 || left.next >= symbols_.size()) return;
    Symbol& right = symbols_[left.next];
    if (left.length + right.length != best.length) return;
    left.id = best.merged;
    left.length = best.length;
    right.length = 0;
    left.next = right.next;
    if (left.next < symbols_.size()) {
      symbols_[left.next].previous = best.left;
      push(best.left, left.next, merge_of);
    }
    if (best.left > 0) push(left.previous, best.left, merge_of);
  }

  template <typename MergeOf>
  void push(std::uint32_t left, std::uint32_t right, const MergeOf& merge_of) {
    Candidate candidate;
    if (!propose(left, right, merge_of, candidate)) return;
    queue_.push_back(candidate);
    std::push_heap(queue_.begin(), queue_.end());
  }

  std::vector<Symbol> symbols_;
  std::vector<Candidate> queue_;
};

}  // namespace sluice
