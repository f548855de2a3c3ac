#pragma once
// Text to token ids and back. Immutable after creation: any number of threads may use one.

#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "base/status.h"
#include "base/tokenizer_data.h"
#include "base/types.h"

namespace sluice {

/// Encodes a text that arrives in parts, in working memory that its length does not change: a few
/// MiB at most, for texts of ordinary words far less.
class TokenStream {
 public:
  /// A stretch that the tokenizer cannot cut (pieces, and what may still become part of one) may
  /// have so many bytes; a space counts as one, however it is marked.
  static constexpr std::size_t kLongestPiece = 64 << 10;

  virtual ~TokenStream() = default;
  /// Appends to `ids` those that became certain. Parts may end anywhere, within characters too.
  /// kUnsupported: a stretch of more than kLongestPiece that cannot be cut; the stream is of no use
  /// then.
  virtual Status push(std::string_view utf8, std::vector<TokenId>& ids) = 0;
  /// The text ends here.
  virtual Status finish(std::vector<TokenId>& ids) = 0;
};

class Tokenizer {
 public:
  /// kUnsupported names an unknown pre-tokenizer, model or pattern; kCorrupt names what in the data
  /// contradicts itself.
  static Result<std::unique_ptr<Tokenizer>> create(TokenizerData data);
  virtual ~Tokenizer() = default;

  struct EncodeOptions {
    bool add_special = true;    // BOS and EOS where the model wants them
    bool parse_special = true;  // control tokens written in the text become their ids
  };
  /// Any bytes have ids. A run of bytes that are not UTF-8 is a piece of its own: it is not
  /// normalised and no pattern sees it. A byte-level vocabulary gives back every byte then;
  /// SentencePiece has byte tokens for them, or else the unknown token.
  virtual std::vector<TokenId> encode(std::string_view utf8,
                                      const EncodeOptions& options) const = 0;
  std::vector<TokenId> encode(std::string_view utf8) const { return encode(utf8, EncodeOptions{}); }
  /// The same ids for a text that arrives in parts. Borrows the tokenizer.
  virtual std::unique_ptr<TokenStream> stream(const EncodeOptions& options) const = 0;

  /// The bytes that a token stands for (not necessarily whole characters); empty for control tokens
  /// unless asked for, and for ids that are none.
  virtual std::string piece(TokenId id, bool show_special = false) const = 0;
  /// All ids to text, as the reference implementations decode (a SentencePiece text loses its first
  /// space), but for bytes that are not UTF-8: they stay as they are, where the references write
  /// U+FFFD.
  virtual std::string decode(const std::vector<TokenId>& ids, bool show_special = false) const = 0;
  /// Whether decode() takes a space off the front: the model puts one there when it encodes.
  virtual bool strips_first_space() const = 0;

  virtual std::size_t size() const = 0;  // ids are below it
  virtual bool ends_generation(TokenId id) const = 0;
  /// What it was created from, without the merges.
  virtual const TokenizerData& data() const = 0;
};

/// Streams pieces as text, always well-formed: holds back the bytes of an unfinished character, and
/// words that clean_spaces may still change. All that push() and finish() return together is
/// decode() of the ids.
class Detokenizer {
 public:
  /// `continues`: the text goes on after another, so that its first space is wanted.
  explicit Detokenizer(const Tokenizer& tokenizer, bool continues = false)
      : tokenizer_(tokenizer), first_(!continues) {}
  /// The text that became certain with this token; may be empty. `show_special`: also that of a
  /// control token.
  std::string push(TokenId id, bool show_special = false);
  /// What is left, an incomplete character as U+FFFD.
  std::string finish();

 private:
  const Tokenizer& tokenizer_;
  std::string pending_;  // bytes of an unfinished character
  std::string held_;     // text that clean_spaces may still change
  bool first_;
};

}  // namespace sluice
