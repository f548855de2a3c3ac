#pragma once
// The key-values of a GGUF file. Scalars and short lists of numbers become settings under the
// file's own keys; the vocabulary's long lists go straight to where they stay, so that 150,000
// tokens cost their bytes and little more.

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "base/status.h"
#include "base/tokenizer_data.h"
#include "formats/checkpoint.h"
#include "formats/header_reader.h"

namespace sluice {

struct GgufMetadata {
  std::map<std::string, Setting, std::less<>> values;
  StringTable tokens;
  StringTable merges;
  std::vector<float> scores;
  std::vector<std::int64_t> token_types;
  std::string character_map;  // tokenizer.ggml.precompiled_charsmap

  /// A value of kind T taken out of `values`; nullopt when there is none; kCorrupt when it is of
  /// another kind.
  template <typename T>
  Result<std::optional<T>> take(std::string_view key) {
    const auto found = values.find(key);
    if (found == values.end()) return std::optional<T>();
    const T* value = std::get_if<T>(&found->second);
    if (value == nullptr) {
      return Status(ErrorCode::kCorrupt,
                    "key '" + std::string(key) + "' has a value of the wrong kind");
    }
    std::optional<T> taken(std::move(*value));
    values.erase(found);
    return taken;
  }
};

/// Reads `count` key-values from where the reader stands.
Result<GgufMetadata> read_gguf_metadata(HeaderReader& reader, std::uint64_t count);

}  // namespace sluice
