#include "text/vocabulary.h"

#include <xxhash.h>

#include <algorithm>

#include "text/hash_slots.h"

namespace sluice {

Vocabulary::Vocabulary(const StringTable& tokens, const std::vector<bool>& included)
    : tokens_(tokens) {
  const auto known = [&](std::size_t id) { return included.empty() || included[id]; };
  std::size_t count = 0;
  for (std::size_t id = 0; id < tokens.size(); ++id) count += known(id);
  slots_.assign(hash_slots(count), -1);
  for (std::size_t id = 0; id < tokens.size(); ++id) {
    const std::string_view text = tokens[id];
    if (!known(id) || find(text)) continue;
    std::size_t slot = home(text);
    while (slots_[slot] >= 0) slot = slot + 1 == slots_.size() ? 0 : slot + 1;
    slots_[slot] = static_cast<TokenId>(id);
    longest_ = std::max(longest_, text.size());
  }
}

std::size_t Vocabulary::home(std::string_view text) const {
  return hash_slot(XXH3_64bits(text.data(), text.size()), slots_.size());
}

std::optional<TokenId> Vocabulary::find(std::string_view text) const {
  for (std::size_t slot = home(text); slots_[slot] >= 0;
       slot = slot + 1 == slots_.size() ? 0 : slot + 1) {
    if (tokens_[static_cast<std::size_t>(slots_[slot])] == text) return slots_[slot];
  }
  return std::nullopt;
}

}  // namespace sluice
