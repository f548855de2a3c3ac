#pragma once
// Finds tokens that are matched in the text itself, before it is normalised, cut and merged.

#include <array>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/tokenizer_data.h"

namespace sluice {

/// A stretch of text: an added token, or text between two.
struct Section {
  std::string_view text;
  std::optional<TokenId> id;
};

class AddedTokens {
 public:
  AddedTokens() = default;
  /// Of equal texts the first counts; empty texts never match.
  explicit AddedTokens(std::vector<AddedToken> tokens);

  bool empty() const { return tokens_.empty(); }

  /// Cuts `text` at the leftmost, longest tokens; sections are in order and text sections not
  /// empty. A token that may not count where it was found (single_word within a word; special while
  /// `special` is false) stays text, as a whole: no other token is looked for within it. White
  /// space that a token strips belongs to its section.
  std::vector<Section> split(std::string_view text, bool special) const;

 private:
  struct Found {
    const AddedToken* token = nullptr;
    std::size_t end = 0;
  };
  Found longest_at(std::string_view text, std::size_t at) const;

  std::vector<AddedToken> tokens_;     // sorted by text
  std::array<bool, 256> can_start_{};  // by first byte
};

}  // namespace sluice
