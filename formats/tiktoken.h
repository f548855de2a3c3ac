#pragma once
// tiktoken's vocabulary files: a line a token, its bytes in base64 and its rank, which is its id.

#include <string>

#include "base/status.h"
#include "base/tokenizer_data.h"

namespace sluice {

/// Ids that nobody uses, in all, that a vocabulary may have: more would be memory for nothing.
inline constexpr std::size_t kMostIdGaps = 65536;

/// The tokens by rank; ranks that no line has get an empty text. kCorrupt names the file and line.
Result<StringTable> read_tiktoken_table(const std::string& path);

}  // namespace sluice
