#include <array>
#include <cstddef>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "text/pattern.h"
#include "text/unicode_additions.h"

namespace sluice {
namespace {

// What Unicode calls White_Space. PCRE2's \s has U+180E too, which Unicode took off that list.
constexpr std::string_view kWhiteSpace =
    R"(\t-\r\x{20}\x{85}\x{A0}\x{1680}\x{2000}-\x{200A}\x{2028}\x{2029}\x{202F}\x{205F}\x{3000})";
// Letters, circled and squared ones too, marks, numbers of letters, connectors: with digits, what
// words are made of.
constexpr std::string_view kWord =
    R"(\p{L}\p{M}\p{Nl}\p{Pc}\x{24B6}-\x{24E9}\x{1F130}-\x{1F149}\x{1F150}-\x{1F169}\x{1F170}-\x{1F189})";

// Oniguruma takes Latin-1's own word for these (superscripts and fractions), but in classes.
constexpr std::string_view kWordOutsideClasses = R"(\x{B2}\x{B3}\x{B9}\x{BC}-\x{BE})";

// Oniguruma's long names of general categories.
constexpr std::array<std::pair<std::string_view, std::string_view>, 12> kLongNames = {{
    {"Letter", "L"},
    {"Mark", "M"},
    {"Number", "N"},
    {"Punctuation", "P"},
    {"Punct", "P"},
    {"Symbol", "S"},
    {"Separator", "Z"},
    {"Other", "C"},
    {"Upper", "Lu"},
    {"Lower", "Ll"},
    {"Digit", "Nd"},
    {"Alpha", "L"},
}};

std::string hex(char32_t code_point) {
  constexpr std::string_view kDigits = "0123456789ABCDEF";
  std::string text;
  for (int shift = 20; shift >= 0; shift -= 4) text += kDigits[(code_point >> shift) & 15];
  return "\\x{" + text + "}";
}

/// The characters of a general category that PCRE2's older tables do not know, as the inside of a
/// class.
std::string additions(std::string_view category) {
  std::string ranges;
  for (const UnicodeAddition& addition : unicode_additions()) {
    if (addition.category.substr(0, category.size()) != category) continue;
    ranges += hex(addition.first);
    if (addition.last != addition.first) ranges += '-' + hex(addition.last);
  }
  return ranges;
}

// The same for the one script that published patterns ask for.
constexpr std::string_view kNewerHan = R"(\x{2B739}\x{2EBF0}-\x{2EE5D}\x{31350}-\x{323AF})";

class Translator {
 public:
  explicit Translator(std::string_view pattern) : pattern_(pattern) {}

  Result<std::string> run() {
    while (at_ < pattern_.size()) {
      const char c = pattern_[at_];
      if (c == '\\') {
        SLUICE_TRY(escape());
      } else if (c == '[') {
        SLUICE_TRY(open_class());
      } else if (c == ']' && in_class_) {
        SLUICE_TRY(close_class());
      } else if (in_class_ && pattern_.substr(at_, 2) == "&&") {
        SLUICE_TRY(intersect());
      } else if (!in_class_ && (c == '^' || c == '$')) {
        // Ruby's anchors are those of lines.
        out_ += c == '^' ? "(?m:^)" : "(?m:$)";
        ++at_;
      } else if (!in_class_ && pattern_.substr(at_, 2) == "(?") {
        group_options();
      } else if (!in_class_ && c == '{') {
        SLUICE_TRY(interval());
      } else {
        take(1);
      }
    }
    if (in_class_) return unsupported("an unfinished class");
    return std::move(out_);
  }

 private:
  Status unsupported(const std::string& what) const {
    return Status(ErrorCode::kUnsupported,
                  "tokenizer: pattern \"" + std::string(pattern_) + "\" has " + what);
  }

  void take(std::size_t count) {
    out_ += pattern_.substr(at_, count);
    at_ += count;
  }

  Status open_class() {
    if (in_class_) {
      if (pattern_.substr(at_, 2) != "[:") return unsupported("a class within a class");
      const std::size_t end = pattern_.find(":]", at_);
      if (end == npos) return unsupported("an unfinished class");
      take(end + 2 - at_);
      return {};
    }
    in_class_ = true;
    operands_.clear();
    negated_ = pattern_.substr(at_, 2) == "[^";
    begin_operand();
    return {};
  }

  /// At the bracket of a class.
  void begin_operand() {
    operand_begin_ = out_.size();
    take(1);
    if (at_ < pattern_.size() && pattern_[at_] == '^') take(1);
    if (at_ < pattern_.size() && pattern_[at_] == ']')
      take(1);  // a first bracket stands for itself
  }
  void end_operand() {
    operands_.push_back(out_.substr(operand_begin_));
    out_.resize(operand_begin_);
  }

  /// At "&&". PCRE2 knows no intersections, but it can look ahead: [a&&b] is (?:(?=[a])[b]).
  Status intersect() {
    if (negated_) return unsupported("the complement of an intersection");
    if (!nested_done_) {
      out_ += ']';
      end_operand();
    }
    nested_done_ = false;
    at_ += 2;
    nested_ = pattern_.substr(at_, 1) == "[" && pattern_.substr(at_, 2) != "[:";
    if (nested_) {
      begin_operand();
    } else {
      operand_begin_ = out_.size();
      out_ += '[';
    }
    return {};
  }

  Status close_class() {
    if (nested_) {
      take(1);
      end_operand();
      nested_ = false;
      nested_done_ = true;
      const bool ends = pattern_.substr(at_, 1) == "]" || pattern_.substr(at_, 2) == "&&";
      return ends ? Status() : unsupported("a class within a class");
    }
    in_class_ = false;
    if (operands_.empty()) {
      take(1);
      return {};
    }
    if (nested_done_) {
      ++at_;
    } else {
      take(1);
      end_operand();
    }
    nested_done_ = false;
    out_ += "(?:";
    for (std::size_t i = 0; i + 1 < operands_.size(); ++i) out_ += "(?=" + operands_[i] + ")";
    out_ += operands_.back() + ")";
    return {};
  }

  /// "(?i:": Ruby's m is what others call s.
  void group_options() {
    take(2);
    while (at_ < pattern_.size() && std::string_view("imx-").find(pattern_[at_]) != npos) {
      out_ += pattern_[at_] == 'm' ? 's' : pattern_[at_];
      ++at_;
    }
  }

  /// "{1,3}+" repeats the interval in Ruby's syntax, where PCRE2 takes the plus for possessive.
  Status interval() {
    const std::size_t end = pattern_.find('}', at_);
    if (end == npos || pattern_.substr(end + 1, 1) != "+") {
      take(1);
      return {};
    }
    const std::string_view inside = pattern_.substr(at_ + 1, end - at_ - 1);
    if (inside != "1" && inside.substr(0, 2) != "1,") return unsupported("a repeated interval");
    out_ += '+';
    at_ = end + 2;
    return {};
  }

  /// The characters of `inside`, or with `negated` all others.
  void emit_set(std::string_view inside, bool negated) {
    out_ += negated ? "[^" : "[";
    out_ += inside;
    out_ += ']';
  }

  Status escape() {
    const char kind = at_ + 1 < pattern_.size() ? pattern_[at_ + 1] : '\0';
    switch (kind) {
      case 's':
      case 'S': {
        at_ += 2;
        if (!in_class_) {
          emit_set(kWhiteSpace, kind == 'S');
        } else {
          out_ += kind == 's' ? kWhiteSpace : std::string_view(R"(\S\x{180E})");
        }
        return {};
      }
      case 'w':
      case 'W':
      case 'd':
      case 'D':
      case 'h':
      case 'H':
        return shorthand(kind);
      case 'p':
      case 'P':
        return property(kind == 'P');
      default:
        take(2);
        return {};
    }
  }

  /// \w, \d, \h and, as capitals, what they do not match.
  Status shorthand(char kind) {
    const bool word = kind == 'w' || kind == 'W';
    const bool hexadecimal = kind == 'h' || kind == 'H';
    const bool negated = kind < 'a';
    if (in_class_ && negated) return unsupported("\\" + std::string(1, kind) + " within a class");
    std::string set = hexadecimal ? "0-9A-Fa-f" : "\\p{Nd}" + additions("Nd");
    if (word) set += std::string(kWord) + additions("L") + additions("M");
    if (word && !in_class_) set += kWordOutsideClasses;
    at_ += 2;
    if (in_class_) {
      out_ += set;
    } else {
      emit_set(set, negated);
    }
    return {};
  }

  Status property(bool negated) {
    if (pattern_.substr(at_ + 2, 1) != "{") return unsupported("a property without braces");
    const std::size_t end = pattern_.find('}', at_);
    if (end == npos) return unsupported("an unfinished property");
    std::string_view name = pattern_.substr(at_ + 3, end - at_ - 3);
    if (!name.empty() && name.front() == '^') {
      negated = !negated;
      name.remove_prefix(1);
    }
    at_ = end + 1;
    for (const auto& [long_name, category] : kLongNames) {
      if (name == long_name) name = category;
    }
    const bool is_category = name.size() <= 2;
    // A script's bare name would mean its extensions to PCRE2.
    const bool is_plain = is_category || name == "Any" || name.find(':') != name.npos;
    const std::string body = (is_plain ? "" : "sc:") + std::string(name) + "}";
    const std::string newer =
        is_category ? additions(name) : std::string(name == "Han" ? kNewerHan : "");
    if (!in_class_ && !newer.empty()) {
      emit_set("\\p{" + body + newer, negated);
    } else {
      out_ += (negated ? "\\P{" : "\\p{") + body;
      if (!negated) out_ += newer;
    }
    return {};
  }

  static constexpr std::size_t npos = std::string_view::npos;

  std::string_view pattern_;
  std::size_t at_ = 0;
  std::string out_;

  bool in_class_ = false;
  bool negated_ = false;               // it begins with "^"
  std::vector<std::string> operands_;  // of its intersection, so far
  std::size_t operand_begin_ = 0;      // of the one that is read, in out_
  bool nested_ = false;                // that is a class within the class …
  bool nested_done_ = false;           // … or has just been one
};

}  // namespace

Result<std::string> translate_pattern(std::string_view pattern) {
  return Translator(pattern).run();
}

}  // namespace sluice
