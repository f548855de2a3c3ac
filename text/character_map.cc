#include "text/character_map.h"

#include <optional>

#include "text/utf8.h"

namespace sluice {
namespace {

constexpr std::size_t kUnit = 4;  // bytes

std::uint32_t read_unit(std::string_view bytes) {
  std::uint32_t unit = 0;
  for (std::size_t i = kUnit; i-- > 0;) unit = unit << 8 | static_cast<unsigned char>(bytes[i]);
  return unit;
}

// The fields of a unit. One that holds a value has the top bit set, so that no byte is its label.
bool has_value(std::uint32_t unit) { return (unit >> 8 & 1) != 0; }
std::uint32_t value_of(std::uint32_t unit) { return unit & 0x7FFFFFFF; }
std::uint32_t label_of(std::uint32_t unit) { return unit & 0x800000FF; }
std::uint32_t offset_of(std::uint32_t unit) { return (unit >> 10) << ((unit & 1u << 9) >> 6); }

bool is_well_formed(std::string_view text) {
  if (text.empty()) return true;
  const Utf8Run run = utf8_run(text);
  return run.well_formed && run.length == text.size();
}

/// The replacement that begins at `at`, if it is one.
std::optional<std::string_view> replacement_at(std::string_view all, std::size_t at) {
  if (at >= all.size()) return std::nullopt;
  const std::string_view rest = all.substr(at, CharacterMap::kLongestReplacement + 1);
  const std::string_view text = rest.substr(0, rest.find('\0'));
  if (text.size() > CharacterMap::kLongestReplacement || !is_well_formed(text)) return std::nullopt;
  return text;
}

}  // namespace

Result<CharacterMap> CharacterMap::create(std::string_view file) {
  const std::uint32_t bytes = file.size() < kUnit ? 0 : read_unit(file);
  if (bytes == 0 || bytes % kUnit != 0 || bytes > file.size() - kUnit) {
    return Status(ErrorCode::kCorrupt, "tokenizer: precompiled_charsmap: " + std::to_string(bytes) +
                                           " bytes of trie in " + std::to_string(file.size()) +
                                           " bytes");
  }
  CharacterMap map;
  map.units_.reserve(bytes / kUnit);
  for (std::size_t at = kUnit; at < kUnit + bytes; at += kUnit) {
    map.units_.push_back(read_unit(file.substr(at, kUnit)));
  }
  map.replacements_ = file.substr(kUnit + bytes);
  return map;
}

/// Calls take(length, replacement) for the fronts of `text` that are known, the shortest first,
/// until it returns false. True: the text ended on the way to longer ones.
template <typename Take>
bool CharacterMap::walk(std::string_view text, const Take& take) const {
  std::size_t at = offset_of(units_.front());
  for (std::size_t length = 0; length < text.size();) {
    const auto byte = static_cast<unsigned char>(text[length]);
    at ^= byte;
    if (at >= units_.size() || label_of(units_[at]) != byte) return false;
    ++length;
    const std::uint32_t unit = units_[at];
    at ^= offset_of(unit);
    if (at >= units_.size()) return false;
    const bool whole =
        length == text.size() || (static_cast<unsigned char>(text[length]) & 0xC0) != 0x80;
    if (!has_value(unit) || !whole) continue;
    const auto replacement = replacement_at(replacements_, value_of(units_[at]));
    if (replacement && !take(length, *replacement)) return false;
  }
  return true;
}

CharacterMap::Found CharacterMap::longest(std::string_view text) const {
  Found found;
  found.open = walk(text, [&](std::size_t length, std::string_view replacement) {
    found.length = length;
    found.replacement = replacement;
    return true;
  });
  return found;
}

CharacterMap::Found CharacterMap::shortest(std::string_view text) const {
  Found found;
  walk(text, [&](std::size_t length, std::string_view replacement) {
    found = {length, replacement, false};
    return false;
  });
  return found;
}

}  // namespace sluice
