#pragma once
// Which tokens end an answer, beyond those that the checkpoint lists.

#include "base/tokenizer_data.h"

namespace sluice {

/// Adds the end-of-sequence token and the control tokens by which the known chat formats end a turn
/// to `data.end_of_generation`, drops ids outside the vocabulary, and sorts it.
void complete_end_of_generation(TokenizerData& data);

}  // namespace sluice
