#pragma once
// What a checkpoint says about its tokenizer, whichever format it came from: formats/ fills it,
// text/ reads it.

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/types.h"

namespace sluice {

/// Strings end to end in one allocation: a vocabulary of 150,000 must not cost 150,000 allocations.
class StringTable {
 public:
  void reserve(std::size_t count, std::size_t bytes) {
    ends_.reserve(count);
    bytes_.reserve(bytes);
  }
  void push_back(std::string_view text) {
    bytes_.append(text);
    ends_.push_back(bytes_.size());
  }
  std::size_t size() const { return ends_.size(); }
  std::string_view operator[](std::size_t index) const {
    const std::size_t begin = index == 0 ? 0 : ends_[index - 1];
    return std::string_view(bytes_).substr(begin, ends_[index] - begin);
  }

 private:
  std::string bytes_;
  std::vector<std::size_t> ends_;
};

enum class TokenKind : std::uint8_t {
  kNormal = 1,
  kUnknown = 2,
  kControl = 3,
  kUserDefined = 4,
  kUnused = 5,
  kByte = 6
};

enum class TokenizerModel : std::uint8_t {
  kNone,              // the checkpoint carries no vocabulary
  kByteLevelBpe,      // GPT-2's: bytes written as printable characters, ranked merges
  kSentencePieceBpe,  // SentencePiece BPE: "▁" for a space, byte fallback; merges ranked, or by
                      // score where the file has scores
  kUnigram,      // SentencePiece Unigram: "▁" for a space; the likeliest way to cut the text into
                 // tokens
  kRankedBytes,  // tiktoken's tables: tokens are plain bytes, and neighbours merge into the token
                 // of the lowest id
};

/// A token that is matched in the text before anything else.
struct AddedToken {
  TokenId id = 0;
  std::string text;
  bool special = false;  // hidden from output unless asked for
  bool lstrip = false;   // takes white space to its left with it
  bool rstrip = false;
  bool single_word = false;
  bool normalized = false;  // matched in the normalised text
};

/// What happens to text before added tokens of normalised text are looked for in it, and before
/// spaces are marked.
struct NormalizeStep {
  enum class Kind : std::uint8_t { kNfc, kNfd, kNfkc, kNfkd, kReplace, kStrip, kCharacterMap };
  Kind kind = Kind::kNfc;
  std::string pattern = {};  // kReplace: Oniguruma's syntax, or plain text
  bool literal = false;
  std::string content =
      {};  // kReplace: what a match becomes; kCharacterMap: SentencePiece's precompiled_charsmap
  bool left = false;         // kStrip: white space at the beginning …
  bool right = false;        // … and at the end
  bool only_spaces = false;  // kStrip: no other white space
  bool by_cluster = false;   // kCharacterMap: looked up for clusters, as the tokenizers package
                            // does, not for the longest text that it knows, as SentencePiece does
};

/// How text is cut before merging. `pattern`s are applied in turn, each to the pieces of the last.
struct SplitStep {
  enum class Behaviour : std::uint8_t {
    kIsolated,
    kRemoved,
    kMergedWithPrevious,
    kMergedWithNext,
    kContiguous
  };
  std::string pattern;   // Oniguruma's syntax
  bool literal = false;  // the pattern is plain text
  bool invert = false;
  Behaviour behaviour = Behaviour::kIsolated;
};

struct TokenizerData {
  TokenizerModel model = TokenizerModel::kNone;
  std::string unusable;  // why a vocabulary that is there cannot be used; the model is kNone then
  std::vector<std::string> warnings;  // what was passed over because it makes no sense: a sentence
                                      // that names file and field
  StringTable tokens;                 // id → text, as the file writes it
  std::vector<TokenKind> kinds;       // by id; empty: all normal
  std::vector<float> scores;          // by id; empty where the model has merges
  std::vector<double> log_probabilities;  // kUnigram, by id; ids past the end are added tokens that
                                          // the model does not have
  StringTable merges;                     // "left right", best first
  std::vector<AddedToken> added;  // all are in `tokens` too; those of kind control, user-defined
                                  // and unknown count as added whether listed or not
  std::string
      pre_tokenizer;  // GGUF's tokenizer.ggml.pre; empty where `splits` comes from tokenizer.json
  std::vector<SplitStep> splits;         // from tokenizer.json
  std::vector<NormalizeStep> normalize;  // in turn
  bool add_space_prefix = false;         // SentencePiece: "▁" before the text
  bool space_prefix_once =
      false;  // that only at its start, not after each added token (Metaspace "first")
  bool space_prefix_unless_there =
      false;                   // and not where the text begins with a space itself (Metaspace)
  bool ignore_merges = false;  // a whole piece that is a token is that token (llama 3)
  bool byte_fallback = false;
  bool clean_spaces = false;  // clean_up_tokenization_spaces
  std::optional<TokenId> bos, eos, unknown, padding;
  std::vector<TokenId> end_of_generation;  // every id that ends an answer
  bool add_bos = false, add_eos = false;
  std::string chat_template;  // Jinja source; empty when there is none
};

}  // namespace sluice
