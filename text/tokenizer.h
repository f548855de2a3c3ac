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

class Tokenizer {
 public:
  /// kUnsupported names an unknown pre-tokenizer or model; kCorrupt names what in the data contradicts itself.
  static Result<std::unique_ptr<Tokenizer>> create(TokenizerData data);
  virtual ~Tokenizer() = default;

  struct EncodeOptions {
    bool add_special = true;    // BOS and EOS where the model wants them
    bool parse_special = true;  // control tokens written in the text become their ids
  };
  virtual std::vector<TokenId> encode(std::string_view utf8, const EncodeOptions& options) const = 0;
  std::vector<TokenId> encode(std::string_view utf8) const { return encode(utf8, EncodeOptions{}); }

  /// The bytes that a token stands for (not necessarily whole characters); empty for control tokens unless asked for.
  virtual std::string piece(TokenId id, bool show_special = false) const = 0;
  /// All ids to text, as the reference implementations decode (a SentencePiece text loses its first space).
  virtual std::string decode(const std::vector<TokenId>& ids, bool show_special = false) const = 0;

  virtual std::size_t size() const = 0;  // ids are below it
  virtual bool ends_generation(TokenId id) const = 0;
  virtual const TokenizerData& data() const = 0;
};

/// Streams pieces as text: holds back the bytes of an unfinished character.
class Detokenizer {
 public:
  explicit Detokenizer(const Tokenizer& tokenizer) : tokenizer_(tokenizer) {}
  /// The text that became certain with this token; may be empty.
  std::string push(TokenId id);
  /// What is left, incomplete characters as U+FFFD.
  std::string finish();

 private:
  const Tokenizer& tokenizer_;
  std::string pending_;
  bool first_ = true;
};

}  // namespace sluice
