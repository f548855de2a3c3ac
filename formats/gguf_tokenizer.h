#pragma once
// The tokenizer.* keys of a GGUF file.

#include "base/status.h"
#include "base/tokenizer_data.h"
#include "formats/gguf_metadata.h"

namespace sluice {

/// Moves everything about the tokenizer out of the metadata. A model of a kind that cannot be used
/// gives kNone and says so in `unusable`; what contradicts itself is kCorrupt and names the key.
Result<TokenizerData> take_gguf_tokenizer(GgufMetadata& metadata);

}  // namespace sluice
