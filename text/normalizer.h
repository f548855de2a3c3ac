#pragma once
// What happens to text before it is cut and merged.

#include <string>
#include <string_view>

#include "base/tokenizer_data.h"

namespace sluice {

/// Unicode's normal form C. Linear but for sorting runs of combining marks. REQUIRES: well-formed
/// UTF-8.
std::string to_nfc(std::string_view text);

class Normalizer {
 public:
  explicit Normalizer(const TokenizerData& data)
      : nfc_(data.nfc),
        marks_spaces_(data.model == TokenizerModel::kSentencePieceBpe),
        prefix_(data.add_space_prefix),
        metaspace_(data.space_prefix_unless_there) {}

  /// How many bytes from the front can be normalised on their own, whatever follows: up to the last
  /// character that never changes with what is before it. REQUIRES: well-formed UTF-8.
  std::size_t settled(std::string_view text) const;
  /// What added tokens that match in normalised text are looked for in: normal form C, spaces as
  /// "▁" and with `prefix`, where the model has one, "▁" before the text. REQUIRES: well-formed
  /// UTF-8.
  std::string normalize(std::string_view text, bool prefix) const;
  /// What is left to do to the text between those tokens: pre-tokenizers mark or put spaces only
  /// there.
  std::string mark(std::string text, bool prefix) const;

 private:
  std::string with_marks(std::string_view text, bool prefix) const;

  bool nfc_;
  bool marks_spaces_;
  bool prefix_;
  bool metaspace_;
};

inline constexpr std::string_view kSpaceMark = "\xE2\x96\x81";  // "▁", U+2581

}  // namespace sluice
