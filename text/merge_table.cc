#include "text/merge_table.h"

#include <string>

#include "text/hash_slots.h"

namespace sluice {
namespace {

struct Halves {
  TokenId left = -1;
  TokenId right = -1;
  TokenId merged = -1;
};

/// "left right" cut at the space that leaves two tokens which make a third: tokens may hold spaces
/// themselves.
Halves find_halves(std::string_view line, const Vocabulary& vocabulary) {
  std::string whole;
  for (std::size_t space = line.find(' ', 1); space != std::string_view::npos;
       space = line.find(' ', space + 1)) {
    const auto left = vocabulary.find(line.substr(0, space));
    const auto right = vocabulary.find(line.substr(space + 1));
    if (!left || !right) continue;
    whole.assign(line.substr(0, space)).append(line.substr(space + 1));
    if (const auto merged = vocabulary.find(whole)) return {*left, *right, *merged};
  }
  return {};
}

}  // namespace

MergeTable::MergeTable(std::size_t count) : entries_(hash_slots(count)) {}

std::size_t MergeTable::home(TokenId left, TokenId right) const {
  std::uint64_t hash =
      (std::uint64_t{static_cast<std::uint32_t>(left)} << 32) | static_cast<std::uint32_t>(right);
  hash *= 0x9E3779B97F4A7C15u;  // 2^64 / golden ratio; the fold brings low bits up, the product
                                // spreads them
  hash ^= hash >> 32;
  hash *= 0x9E3779B97F4A7C15u;
  return hash_slot(hash, entries_.size());
}

std::size_t MergeTable::slot_of(TokenId left, TokenId right) const {
  std::size_t slot = home(left, right);
  while (entries_[slot].left >= 0 &&
         (entries_[slot].left != left || entries_[slot].right != right)) {
    slot = slot + 1 == entries_.size() ? 0 : slot + 1;
  }
  return slot;
}

Merge MergeTable::find(TokenId left, TokenId right) const {
  if (left < 0 || right < 0) return {};
  return entries_[slot_of(left, right)].merge;  // a free slot merges nothing
}

Result<MergeTable> MergeTable::create(const StringTable& merges, const Vocabulary& vocabulary) {
  MergeTable table(merges.size());
  for (std::size_t rank = 0; rank < merges.size(); ++rank) {
    const Halves halves = find_halves(merges[rank], vocabulary);
    if (halves.merged < 0) {
      return Status(ErrorCode::kCorrupt,
                    "tokenizer: merge " + std::to_string(rank) + " (\"" +
                        std::string(merges[rank]) +
                        "\") is not two tokens of the vocabulary that make a third");
    }
    // A pair that is listed twice has its last rank, as in the tokenizers package.
    table.entries_[table.slot_of(halves.left, halves.right)] = {
        halves.left, halves.right, {static_cast<std::uint32_t>(rank), halves.merged}};
  }
  return table;
}

}  // namespace sluice
