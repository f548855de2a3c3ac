#pragma once
// Viterbi's working memory: for each place in a text the best way to cut what lies before it.

#include <cstddef>
#include <cstdint>
#include <vector>

#include "base/types.h"

namespace sluice {

struct Lattice {
  struct Node {
    double score = 0;
    TokenId id = -1;           // of the last token on the best way here
    std::uint32_t length = 0;  // of it, in bytes; 0: no way leads here
  };

  std::vector<Node> nodes;     // by byte after the last place that all ways pass through
  std::vector<Node> way;       // scratch
  double score = 0;            // of the best way to that place
  bool after_unknown = false;  // the id before is the unknown token

  void restart() {
    score = 0;
    after_unknown = false;
  }
};

}  // namespace sluice
