#pragma once
// What happens to text before it is cut and merged.

#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "base/status.h"
#include "base/tokenizer_data.h"
#include "text/normalize_stage.h"

namespace sluice {

/// How far the text between two added tokens has been normalised.
class Normalizing {
 public:
  /// `prefix`: it has the model's space prefix, where the model has one.
  explicit Normalizing(bool prefix = false) : prefix_(prefix) {}
  /// Bytes that wait for more text.
  std::size_t held() const;

 private:
  friend class Normalizer;
  bool prefix_;
  std::vector<StageProgress> stages_;
};

class Normalizer {
 public:
  /// kUnsupported, kCorrupt: a step that cannot be done.
  static Result<Normalizer> create(const TokenizerData& data);

  /// Of the text's next part, and what was held of those before, what added tokens that match in
  /// normalised text are looked for in: the steps done, spaces as "▁" and "▁" before the text, as
  /// far as that is certain; with `final`, the text ends. REQUIRES: well-formed UTF-8.
  std::string advance(std::string_view text, bool final, Normalizing& progress,
                      PatternScratch& scratch) const;
  /// What is left to do to the text between those tokens: pre-tokenizers mark or put spaces only
  /// there.
  std::string mark(std::string text, bool prefix) const;

 private:
  explicit Normalizer(const TokenizerData& data);
  std::string with_marks(std::string_view text, bool prefix) const;

  std::vector<std::unique_ptr<NormalizeStage>> stages_;
  bool marks_spaces_;
  bool prefix_;
  bool metaspace_;
};

inline constexpr std::string_view kSpaceMark = "\xE2\x96\x81";  // "▁", U+2581

}  // namespace sluice
