#pragma once
// The way of a text to its ids, in stages that each hold back only what more text could change:
//
//     bytes ► added tokens ► runs of UTF-8 ► normal form ► added tokens in it ► spaces marked
//           ► pieces ► merging ► ids
//
// A whole text goes through in one go; a stream in parts, and its working memory stays small.

#include <cstddef>
#include <string>
#include <string_view>
#include <vector>

#include "base/status.h"
#include "text/added_tokens.h"
#include "text/held_text.h"
#include "text/normalizer.h"
#include "text/piece_model.h"
#include "text/splitter.h"
#include "text/tokenizer.h"

namespace sluice {

/// What an Encoder works with, all borrowed.
struct EncoderParts {
  const TokenizerData& data;
  const Normalizer& normalizer;
  const AddedTokens& added;             // matched in the text as it comes
  const AddedTokens& added_normalized;  // matched after normalising
  const Splitter& splitter;
  const PieceModel& model;
};

class Encoder final : public TokenStream {
 public:
  Encoder(const EncoderParts& parts, const Tokenizer::EncodeOptions& options)
      : parts_(parts), options_(options) {}

  Status push(std::string_view utf8, std::vector<TokenId>& ids) override;
  Status finish(std::vector<TokenId>& ids) override;
  /// The whole text at once, however long its pieces are. REQUIRES: nothing was pushed.
  void encode(std::string_view utf8, std::vector<TokenId>& ids);

 private:
  // Each takes what the stage before gives; `final`: this section or run ends here.
  void take_bytes(std::string_view bytes, bool final);
  void take_section(std::string_view text, bool final);
  void take_run(std::string_view text, bool final);
  void take_normalized(std::string_view text, bool final);
  void take_marked(std::string_view text, bool final);

  void begin(std::vector<TokenId>& ids);
  void end(std::vector<TokenId>& ids);
  void end_ill_formed();
  void end_run();
  void merge(std::string_view piece) { parts_.model.encode(piece, pieces_, *ids_); }
  std::size_t held() const;

  const EncoderParts parts_;
  const Tokenizer::EncodeOptions options_;
  PatternScratch scratch_;
  PieceScratch pieces_;
  std::vector<TokenId>* ids_ = nullptr;  // during a call

  bool begun_ = false;
  bool at_start_ = true;  // no section was before
  HeldText bytes_;
  AddedTokenSearch search_;

  bool in_section_ = false;
  bool section_prefix_ = false;  // the section's next run has the space prefix
  std::string ill_formed_;       // a run of bytes that are not UTF-8

  bool in_run_ = false;
  Normalizing normalizing_;

  bool mark_prefix_ = false;  // the next text between added tokens has it
  HeldText normalized_;
  AddedTokenSearch normalized_search_;

  bool in_marked_ = false;
  HeldText marked_;
  SplitProgress progress_;
};

}  // namespace sluice
