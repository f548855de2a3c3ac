#pragma once

#include <cstdint>

#include "base/types.h"
#include "layers/kv_cache.h"

namespace sluice {

/// A token to compute. Rows of one sequence come in the order of their positions; what lies before
/// the first is in its cache.
struct Row {
  KvSequence* sequence = nullptr;
  TokenId token = 0;
  std::uint32_t position = 0;
  bool wants_logits = false;
};

}  // namespace sluice
