#pragma once
// What characters that are no token become: a token for each byte, such as <0x0A>, or the unknown
// token.

#include <array>
#include <optional>
#include <string_view>

#include "base/tokenizer_data.h"

namespace sluice {

/// The byte of a token written as "<0x0A>" is.
std::optional<unsigned char> byte_of_token(std::string_view text);

class ByteFallback {
 public:
  /// Keeps nothing of `data`.
  explicit ByteFallback(const TokenizerData& data);

  /// All bytes of a character have tokens.
  bool has_bytes(std::string_view text) const;
  TokenId byte(char c) const { return bytes_[static_cast<unsigned char>(c)]; }
  std::optional<TokenId> unknown() const { return unknown_; }

  /// Appends what a character becomes; of a run of them one unknown token. `after_unknown`: the id
  /// before is one.
  void emit(std::string_view character, bool& after_unknown, std::vector<TokenId>& ids) const;

 private:
  std::array<TokenId, 256> bytes_{};  // -1: the byte has no token
  std::optional<TokenId> unknown_;
};

}  // namespace sluice
