#include "text/byte_fallback.h"

#include <algorithm>

namespace sluice {

std::optional<unsigned char> byte_of_token(std::string_view text) {
  if (text.size() != 6 || !text.starts_with("<0x") || text.back() != '>') return std::nullopt;
  unsigned value = 0;
  for (const char c : text.substr(3, 2)) {
    const bool digit = c >= '0' && c <= '9';
    const bool upper = c >= 'A' && c <= 'F';
    if (!digit && !upper) return std::nullopt;
    value = value * 16 + static_cast<unsigned>(digit ? c - '0' : c - 'A' + 10);
  }
  return static_cast<unsigned char>(value);
}

ByteFallback::ByteFallback(const TokenizerData& data) : unknown_(data.unknown) {
  bytes_.fill(-1);
  if (!data.byte_fallback) return;
  for (std::size_t id = 0; id < data.tokens.size(); ++id) {
    const auto byte = byte_of_token(data.tokens[id]);
    if (byte && bytes_[*byte] < 0) bytes_[*byte] = static_cast<TokenId>(id);
  }
}

bool ByteFallback::has_bytes(std::string_view text) const {
  return std::all_of(text.begin(), text.end(), [&](char c) { return byte(c) >= 0; });
}

void ByteFallback::emit(std::string_view character, bool& after_unknown,
                        std::vector<TokenId>& ids) const {
  if (has_bytes(character)) {
    for (const char c : character) ids.push_back(byte(c));
    after_unknown = false;
  } else if (unknown_ && !after_unknown) {
    ids.push_back(*unknown_);
    after_unknown = true;
  }
}

}  // namespace sluice
