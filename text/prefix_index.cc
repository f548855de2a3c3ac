#include "text/prefix_index.h"

#include <algorithm>
#include <utility>

namespace sluice {

PrefixIndex::PrefixIndex(const StringTable& tokens, std::vector<TokenId> ids)
    : tokens_(tokens), ids_(std::move(ids)) {
  const auto text = [&](TokenId id) { return tokens_[static_cast<std::size_t>(id)]; };
  std::sort(ids_.begin(), ids_.end(), [&](TokenId a, TokenId b) {
    const int order = text(a).compare(text(b));
    return order != 0 ? order < 0 : a > b;
  });
  const auto same = [&](TokenId a, TokenId b) { return text(a) == text(b); };
  ids_.erase(std::unique(ids_.begin(), ids_.end(), same), ids_.end());
  std::size_t at = 0;
  for (std::size_t byte = 0; byte < 256; ++byte) {
    first_bytes_[byte] = static_cast<std::uint32_t>(at);
    while (at < ids_.size() && static_cast<unsigned char>(text_of(at).front()) == byte) ++at;
  }
  first_bytes_[256] = static_cast<std::uint32_t>(at);
}

void PrefixIndex::narrow(std::size_t depth, char byte, std::size_t& low, std::size_t& high) const {
  const auto byte_of = [&](TokenId id) {
    return static_cast<unsigned char>(tokens_[static_cast<std::size_t>(id)][depth]);
  };
  const auto wanted = static_cast<unsigned char>(byte);
  const auto begin = ids_.begin();
  const auto first = std::partition_point(begin + static_cast<std::ptrdiff_t>(low),
                                          begin + static_cast<std::ptrdiff_t>(high),
                                          [&](TokenId id) { return byte_of(id) < wanted; });
  const auto last = std::partition_point(first, begin + static_cast<std::ptrdiff_t>(high),
                                         [&](TokenId id) { return byte_of(id) == wanted; });
  low = static_cast<std::size_t>(first - begin);
  high = static_cast<std::size_t>(last - begin);
}

}  // namespace sluice
