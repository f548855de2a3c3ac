#pragma once
// GGUF names a pre-tokenizer instead of spelling it out: the table from names to what they mean.

#include <string_view>
#include <vector>

#include "base/status.h"
#include "base/tokenizer_data.h"

namespace sluice {

struct PreTokenizer {
  std::vector<SplitStep> splits;
  bool ignore_merges = false;
  bool nfc = false;
};

/// The row of a byte-level vocabulary's tokenizer.ggml.pre. kUnsupported names a name that is not
/// in the table.
Result<PreTokenizer> pre_tokenizer(std::string_view name);

/// All names of the table.
std::vector<std::string_view> pre_tokenizer_names();

}  // namespace sluice
