#pragma once
// From one piece of text to ids by byte-pair encoding: byte-level, and SentencePiece's way.

#include <array>
#include <memory>
#include <optional>
#include <string_view>
#include <vector>

#include "base/status.h"
#include "base/tokenizer_data.h"
#include "text/merge_table.h"
#include "text/pair_merging.h"
#include "text/vocabulary.h"

namespace sluice {

/// Immutable; the working memory is the caller's.
class BpeModel {
 public:
  virtual ~BpeModel() = default;
  /// Appends the ids of `piece`, whose bytes may be anything. REQUIRES: fewer than 2^31 bytes.
  virtual void encode(std::string_view piece, PairMerging& merging,
                      std::vector<TokenId>& ids) const = 0;
  /// How many bytes from the front of a piece can be encoded on their own, whatever follows; 0 if
  /// that is not known. REQUIRES: well-formed UTF-8.
  virtual std::size_t settled(std::string_view /*piece*/) const { return 0; }
};

/// Ranked merges over bytes. `vocabulary` and `data` are only read during creation unless
/// ignore_merges is set; then they must outlive the model.
Result<std::unique_ptr<BpeModel>> create_byte_level_bpe(const TokenizerData& data,
                                                        const Vocabulary& vocabulary,
                                                        bool ignore_merges);

/// SentencePiece's BPE over characters, by `data.merges` if there are any, else by `data.scores`.
/// What is no token becomes byte tokens (<0xXX>) if byte_fallback is set and the vocabulary has
/// them, else the unknown token, once for a run, else nothing. `data` and `vocabulary` must outlive
/// the model.
Result<std::unique_ptr<BpeModel>> create_sentencepiece_bpe(const TokenizerData& data,
                                                           const Vocabulary& vocabulary);

/// The byte of a token written "<0xXX>".
std::optional<unsigned char> byte_of_token(std::string_view text);

}  // namespace sluice
