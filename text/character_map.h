#pragma once
// SentencePiece's normalisation rules as its models carry them ("precompiled_charsmap"): short
// texts and what they become.

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "base/status.h"

namespace sluice {

/// The texts stand in a double-array trie, whose units are 32 bits: a byte's unit is where the unit
/// before says, exclusive-or that byte.
///
///     trie bytes: u32 | units | replacements, each ended by NUL
///
/// Whatever points outside the file's arrays, and replacements that are not UTF-8, longer than
/// kLongestReplacement or for less than whole characters, count as absent.
class CharacterMap {
 public:
  static constexpr std::size_t kLongestReplacement = 1024;

  /// kCorrupt: `file` is no such map.
  static Result<CharacterMap> create(std::string_view file);

  /// What is known of a text's front.
  struct Found {
    std::size_t length = 0;  // of the front that is replaced; 0: none
    std::string_view replacement;
    bool open = false;  // more text might have a longer one
  };
  /// REQUIRES: well-formed UTF-8, for both.
  Found longest(std::string_view text) const;
  Found shortest(std::string_view text) const;

 private:
  template <typename Take>
  bool walk(std::string_view text, const Take& take) const;

  std::vector<std::uint32_t> units_;
  std::string replacements_;
};

}  // namespace sluice
