#pragma once
// From one piece of text to ids: byte-pair encoding, byte-level and SentencePiece's and tiktoken's
// way, and SentencePiece's Unigram.

#include <memory>
#include <string_view>
#include <vector>

#include "base/status.h"
#include "base/tokenizer_data.h"
#include "text/lattice.h"
#include "text/pair_merging.h"
#include "text/vocabulary.h"

namespace sluice {

/// The working memory of one text.
struct PieceScratch {
  PairMerging merging;
  Lattice lattice;
};

/// Immutable; the working memory is the caller's.
class PieceModel {
 public:
  virtual ~PieceModel() = default;
  /// Appends the ids of `piece`, whose bytes may be anything. REQUIRES: fewer than 2^31 bytes.
  virtual void encode(std::string_view piece, PieceScratch& scratch,
                      std::vector<TokenId>& ids) const = 0;
  /// The same for the next part of a piece: appends the ids that are certain whatever follows, with
  /// `final` all. Returns how many bytes from the front they stand for; the next call gets the
  /// rest, and more. REQUIRES: well-formed UTF-8; the scratch has seen nothing else since the piece
  /// began.
  virtual std::size_t advance(std::string_view text, bool final, PieceScratch& scratch,
                              std::vector<TokenId>& ids) const {
    const std::size_t certain = final ? text.size() : settled(text);
    if (certain > 0) encode(text.substr(0, certain), scratch, ids);
    return certain;
  }

 protected:
  /// How many bytes from the front of a piece can be encoded on their own, whatever follows; 0 if
  /// that is not known.
  virtual std::size_t settled(std::string_view /*piece*/) const { return 0; }
};

/// Ranked merges over bytes. `vocabulary` and `data` are only read during creation unless
/// data.ignore_merges is set; then they must outlive the model.
Result<std::unique_ptr<PieceModel>> create_byte_level_bpe(const TokenizerData& data,
                                                          const Vocabulary& vocabulary);

/// tiktoken's: bytes merge into whatever is a token, the lowest id first, and a whole piece that is
/// a token is that token. `vocabulary` must outlive the model. kCorrupt: a byte has no token.
Result<std::unique_ptr<PieceModel>> create_ranked_bytes_bpe(const Vocabulary& vocabulary);

/// SentencePiece's BPE over characters, by `data.merges` if there are any, else by `data.scores`.
/// What is no token becomes byte tokens (<0x0A>) if byte_fallback is set and the vocabulary has
/// them, else the unknown token, once for a run, else nothing. `data` and `vocabulary` must outlive
/// the model.
Result<std::unique_ptr<PieceModel>> create_sentencepiece_bpe(const TokenizerData& data,
                                                             const Vocabulary& vocabulary);

/// SentencePiece's Unigram: of all ways to cut a piece into the tokens whose `included` is true
/// (all, if it is empty), the one of the greatest log probability. A character that is no token
/// counts 10 less than the least likely token, and becomes what it does above. `data` must outlive
/// the model. kCorrupt: a log probability that is not finite, or one too many.
Result<std::unique_ptr<PieceModel>> create_unigram(const TokenizerData& data,
                                                   const std::vector<bool>& included);

}  // namespace sluice
