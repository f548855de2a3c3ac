#pragma once
// What a store's index calls the values of enumerations.

#include <array>
#include <string_view>

namespace sluice::store_words {

// By the values of StoredCode, StoredArithmetic, TokenizerModel, NormalizeStep::Kind and
// SplitStep::Behaviour.
inline constexpr auto kCodes = std::to_array<std::string_view>({"type", "f8_e4m3", "split_mxfp4"});
inline constexpr auto kArithmetics =
    std::to_array<std::string_view>({"none", "plus_one", "minus_exp"});
inline constexpr auto kTokenizers = std::to_array<std::string_view>(
    {"none", "byte_level_bpe", "sentencepiece_bpe", "unigram", "ranked_bytes"});
inline constexpr auto kNormalizations = std::to_array<std::string_view>(
    {"nfc", "nfd", "nfkc", "nfkd", "replace", "strip", "character_map"});
inline constexpr auto kBehaviours = std::to_array<std::string_view>(
    {"isolated", "removed", "merged_with_previous", "merged_with_next", "contiguous"});

}  // namespace sluice::store_words
