#pragma once
// One compiled pattern of a pre-tokenizer. Published patterns are written for Oniguruma with
// Unicode 16; here PCRE2 runs a translation of them that matches the same text.

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>

#include "base/status.h"

namespace sluice {

struct PatternMatch {
  std::size_t begin = 0;
  std::size_t end = 0;
};

/// The working memory of matching; one for each thread that matches.
class PatternScratch {
 public:
  PatternScratch();
  ~PatternScratch();
  PatternScratch(const PatternScratch&) = delete;
  PatternScratch& operator=(const PatternScratch&) = delete;

 private:
  friend class Pattern;
  struct State;
  std::unique_ptr<State> state_;
};

class Pattern {
 public:
  /// `literal`: the pattern is plain text. kUnsupported: it does not compile here; the message
  /// names it.
  static Result<Pattern> compile(std::string_view pattern, bool literal);
  ~Pattern();
  Pattern(Pattern&&) noexcept;
  Pattern& operator=(Pattern&&) noexcept;

  /// The first match that begins at `from` or later; none also where the match needs more than the
  /// limits on steps (64 a byte of the subject, at least 10 million) or memory (64 MiB) allow: the
  /// rest then counts as unmatched text, so that a hostile text or pattern costs bounded work and
  /// loses no character. REQUIRES: subject is well-formed UTF-8, from is at the start of a
  /// character or the end.
  std::optional<PatternMatch> find(std::string_view subject, std::size_t from,
                                   PatternScratch& scratch) const;
  /// The same where more text may follow the subject: a match only if none of that can change it.
  /// Else `undecided` is where the search goes on once there is more.
  std::optional<PatternMatch> find_certain(std::string_view subject, std::size_t from,
                                           PatternScratch& scratch, std::size_t& undecided) const;
  /// Bytes before `from` that a search may look at.
  std::size_t context() const;

 private:
  struct Compiled;
  explicit Pattern(std::unique_ptr<Compiled> compiled);
  /// PCRE2's answer, a limit that was met as PCRE2_ERROR_NOMATCH; the bounds are in `scratch`.
  int match(std::string_view subject, std::size_t from, std::uint32_t options,
            PatternScratch& scratch) const;
  std::unique_ptr<Compiled> compiled_;
};

/// The PCRE2 spelling (UTF and UCP) of a pattern in Oniguruma's Ruby syntax, as the tokenizers
/// package takes it. kUnsupported: it uses something that has no such spelling.
Result<std::string> translate_pattern(std::string_view pattern);

}  // namespace sluice
