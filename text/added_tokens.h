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

/// How far a text that arrives in parts has been searched.
struct AddedTokenSearch {
  std::size_t done = 0;  // what lies before was given out as sections
  std::size_t at = 0;    // what lies before holds no token that was not given out

  /// The text has lost its first `bytes`. REQUIRES: bytes <= done.
  void drop(std::size_t bytes) {
    done -= bytes;
    at -= bytes;
  }
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
  /// The next of those sections that are certain, whatever follows `text`; with `final`, nothing
  /// follows. Of a section of text a part, which holds whole characters, may come earlier than the
  /// rest. The next call gets the same text, less what was dropped, and more.
  std::vector<Section> advance(std::string_view text, bool special, bool final,
                               AddedTokenSearch& search) const;
  /// Bytes before AddedTokenSearch::done that `advance` may look at.
  static constexpr std::size_t kContext = 4;

 private:
  struct Found {
    const AddedToken* token = nullptr;
    std::size_t end = 0;
  };
  Found longest_at(std::string_view text, std::size_t at) const;

  std::vector<AddedToken> tokens_;     // sorted by text
  std::array<bool, 256> can_start_{};  // by first byte
  std::size_t longest_ = 0;            // in bytes
  bool strips_left_ = false;           // any of them
};

}  // namespace sluice
