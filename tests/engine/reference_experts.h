#pragma once
// Routers and feed-forward networks of the reference model.

#include <cstdint>
#include <vector>

#include "layers/model_description.h"
#include "tests/engine/reference_math.h"

namespace sluice::test {

/// Where one position goes in one layer.
struct ReferenceChoice {
  std::vector<std::uint32_t> experts;
  Vector weights;  // of each of them
  Vector scores;   // of every expert
  /// How far the scores would have to change for another choice to be the right one.
  double margin = 0;
};

/// `logits` are the router's outputs; `selection_bias` may be empty.
ReferenceChoice reference_choice(const RouterDescription& router, const Vector& logits,
                                 Numbers selection_bias);

/// A gated network: the matrices of `gate` and `up` are [ffn, hidden], of `down` [hidden, ffn].
struct ReferenceNetwork {
  Numbers gate, up, down;
  Numbers gate_bias = {}, up_bias = {}, down_bias = {};
  Vector run(const ModelDescription& model, const Vector& x) const {
    return multiply(down, hidden(model, x), down_bias);
  }
  /// What `down` reads.
  Vector hidden(const ModelDescription& model, const Vector& x) const;
};

}  // namespace sluice::test
