#include "text/jinja/lexer.h"

#include <algorithm>
#include <charconv>
#include <cmath>

#include "text/jinja/code_points.h"

namespace sluice::jinja {
namespace {

bool is_digit(char c) { return c >= '0' && c <= '9'; }

/// Line ends become "\n", and one at the very end goes.
std::string with_unix_lines(std::string_view source) {
  std::string out;
  out.reserve(source.size());
  for (std::size_t i = 0; i < source.size(); ++i) {
    if (source[i] == '\r') {
      out += '\n';
      if (i + 1 < source.size() && source[i + 1] == '\n') ++i;
    } else {
      out += source[i];
    }
  }
  if (out.ends_with('\n')) out.pop_back();
  return out;
}

class Lexer {
 public:
  explicit Lexer(std::string_view source) : source_(source) {}

  Result<std::vector<Token>> run() {
    while (at_ < source_.size()) SLUICE_TRY(outside_of_tags());
    add(TokenKind::kEnd, {});
    return std::move(tokens_);
  }

 private:
  Status error(const std::string& message, ErrorCode code = ErrorCode::kCorrupt) const {
    return {code, "line " + std::to_string(line_) + ": " + message};
  }
  bool has(std::string_view text) const { return source_.substr(at_).starts_with(text); }
  char peek(std::size_t ahead = 0) const {
    return at_ + ahead < source_.size() ? source_[at_ + ahead] : '\0';
  }

  void add(TokenKind kind, std::string_view text) {
    Token token;
    token.kind = kind;
    token.line = line_;
    token.text = std::string(text);
    tokens_.push_back(std::move(token));
  }

  /// Goes on to `end`, counting lines.
  void go_to(std::size_t end) {
    line_ += static_cast<int>(std::count(source_.begin() + static_cast<std::ptrdiff_t>(at_),
                                         source_.begin() + static_cast<std::ptrdiff_t>(end), '\n'));
    if (end > at_) line_starting_ = source_[end - 1] == '\n';
    at_ = end;
  }

  std::size_t after_spaces(std::size_t at) const {
    const std::string_view rest = source_.substr(at);
    return at + rest.size() - strip(rest, Side::kLeft).size();
  }

  /// The text up to `end`, at which a tag begins with `sign` after its bracket.
  void add_data(std::size_t end, char sign, bool variable) {
    std::string_view text = source_.substr(at_, end - at_);
    if (sign == '-') {
      text = strip(text, Side::kRight);
    } else if (sign != '+' && !variable) {
      const std::size_t newline = text.rfind('\n');
      const std::size_t begin = newline == std::string_view::npos ? 0 : newline + 1;
      if ((begin > 0 || line_starting_) && strip(text.substr(begin)).empty())
        text = text.substr(0, begin);
    }
    if (!text.empty()) add(TokenKind::kData, text);
    go_to(end);
  }

  static char sign_at(std::string_view text, std::size_t at) {
    return at < text.size() && (text[at] == '-' || text[at] == '+') ? text[at] : '\0';
  }

  Status outside_of_tags() {
    std::size_t begin = source_.find('{', at_);
    while (begin != std::string_view::npos &&
           (begin + 1 == source_.size() ||
            std::string_view("%{#").find(source_[begin + 1]) == std::string_view::npos)) {
      begin = source_.find('{', begin + 1);
    }
    if (begin == std::string_view::npos) {
      add(TokenKind::kData, source_.substr(at_));
      go_to(source_.size());
      return {};
    }
    const char bracket = source_[begin + 1];
    const char sign = sign_at(source_, begin + 2);
    add_data(begin, sign, bracket == '{');
    if (bracket == '%') {
      if (const std::size_t end = raw_end(begin, "raw", false); end != 0) {
        go_to(end);
        return raw();
      }
    }
    if (bracket != '#')
      add(bracket == '%' ? TokenKind::kBlockBegin : TokenKind::kVariableBegin, {});
    go_to(begin + (sign != 0 ? 3 : 2));
    return bracket == '#' ? comment() : tag(bracket == '%');
  }

  /// Where the tag at `begin` ends if it is {% name %}, else 0. `trims`: an ordinary tag, which
  /// takes a newline along.
  std::size_t raw_end(std::size_t begin, std::string_view name, bool trims) const {
    std::size_t at = begin + 2;
    if (sign_at(source_, at) != 0) ++at;
    at = after_spaces(at);
    if (!source_.substr(at).starts_with(name)) return 0;
    at = after_spaces(at + name.size());
    return end_of_tag(at, "%}", trims, trims);
  }

  /// Past the closing bracket at `at` with its sign and the white space that it takes along, or 0.
  std::size_t end_of_tag(std::size_t at, std::string_view bracket, bool trims, bool plus) const {
    const std::string_view rest = source_.substr(at);
    if (rest.starts_with('-') && rest.substr(1).starts_with(bracket))
      return after_spaces(at + 1 + bracket.size());
    if (plus && rest.starts_with('+') && rest.substr(1).starts_with(bracket))
      return at + 1 + bracket.size();
    if (!rest.starts_with(bracket)) return 0;
    const std::size_t end = at + bracket.size();
    return trims && end < source_.size() && source_[end] == '\n' ? end + 1 : end;
  }

  Status raw() {
    for (std::size_t begin = source_.find("{%", at_); begin != std::string_view::npos;
         begin = source_.find("{%", begin + 1)) {
      const std::size_t end = raw_end(begin, "endraw", true);
      if (end == 0) continue;
      add_data(begin, sign_at(source_, begin + 2), false);
      go_to(end);
      return {};
    }
    return at_ == source_.size() ? Status() : error("Missing end of raw directive");
  }

  Status comment() {
    const std::size_t mark = source_.find("#}", at_);
    if (mark == std::string_view::npos)
      return at_ == source_.size() ? Status() : error("Missing end of comment tag");
    const bool sign = mark > at_ && sign_at(source_, mark - 1) != 0;
    go_to(end_of_tag(sign ? mark - 1 : mark, "#}", true, true));
    return {};
  }

  Status tag(bool block) {
    std::string open;  // the brackets that wait for their counterparts
    while (at_ < source_.size()) {
      const std::size_t end = end_of_tag(at_, block ? "%}" : "}}", block, block);
      if (end != 0 && open.empty()) {
        add(block ? TokenKind::kBlockEnd : TokenKind::kVariableEnd, {});
        go_to(end);
        return {};
      }
      const CodePoint c = code_point_at(source_, at_);
      if (is_space(c.value)) {
        go_to(after_spaces(at_));
      } else if (is_digit(peek())) {
        SLUICE_TRY(number());
      } else if (is_identifier_part(c.value)) {
        SLUICE_TRY(name());
      } else if (peek() == '"' || peek() == '\'') {
        SLUICE_TRY(text());
      } else {
        SLUICE_TRY(operation(open));
      }
    }
    return {};
  }

  Status name() {
    if (!is_identifier_start(code_point_at(source_, at_).value))
      return error("Invalid character in identifier");
    std::size_t end = at_;
    while (end < source_.size()) {
      const CodePoint c = code_point_at(source_, end);
      if (!is_identifier_part(c.value)) break;
      end += c.length;
    }
    add(TokenKind::kName, source_.substr(at_, end - at_));
    go_to(end);
    return {};
  }

  Status text() {
    const char quote = peek();
    std::size_t end = at_ + 1;
    while (end < source_.size() && source_[end] != quote) end += source_[end] == '\\' ? 2 : 1;
    if (end >= source_.size()) return error("a string has no end");
    auto value = unescape(source_.substr(at_ + 1, end - at_ - 1));
    if (!value.ok()) return error(value.status().message(), value.status().code());
    add(TokenKind::kText, *value);
    go_to(end + 1);
    return {};
  }

  /// Digits of `base`, with single underscores between them; their end.
  std::size_t digits_end(std::size_t at, std::string_view digits) const {
    const auto is_one = [&](std::size_t i) {
      return i < source_.size() && digits.find(source_[i]) != std::string_view::npos;
    };
    while (is_one(at) || (at < source_.size() && source_[at] == '_' && is_one(at + 1))) ++at;
    return at;
  }

  Status number() {
    constexpr std::string_view kDecimal = "0123456789";
    const bool after_point = at_ > 0 && source_[at_ - 1] == '.';
    const std::size_t whole_end = digits_end(at_, kDecimal);
    if (!after_point) {
      std::size_t end = whole_end;
      bool real = false;
      if (end + 1 < source_.size() && source_[end] == '.' && is_digit(source_[end + 1])) {
        end = digits_end(end + 1, kDecimal);
        real = true;
      }
      if (end < source_.size() && (source_[end] | 0x20) == 'e') {
        const std::size_t exponent = end + 1 + (sign_at(source_, end + 1) != 0 ? 1 : 0);
        if (exponent < source_.size() && is_digit(source_[exponent])) {
          end = digits_end(exponent, kDecimal);
          real = true;
        }
      }
      if (real) return add_real(end);
    }
    if (peek() != '0') return add_integer(at_, whole_end, 10);
    constexpr std::string_view kHexadecimal = "0123456789abcdefABCDEF";
    const char letter = static_cast<char>(peek(1) | 0x20);
    const std::string_view set = letter == 'x'   ? kHexadecimal
                                 : letter == 'o' ? kDecimal.substr(0, 8)
                                                 : "01";
    if (letter == 'x' || letter == 'o' || letter == 'b') {
      const std::size_t end = digits_end(at_ + 2, set);
      if (end > at_ + 2)
        return add_integer(at_ + 2, end, letter == 'x' ? 16 : letter == 'o' ? 8 : 2);
    }
    return add_integer(at_, digits_end(at_, "0"), 10);
  }

  std::string plain_digits(std::size_t begin, std::size_t end) const {
    std::string digits(source_.substr(begin, end - begin));
    std::erase(digits, '_');
    return digits;
  }

  Status add_integer(std::size_t begin, std::size_t end, int base) {
    const std::string digits = plain_digits(begin, end);
    std::int64_t value = 0;
    const auto result = std::from_chars(digits.data(), digits.data() + digits.size(), value, base);
    if (result.ec != std::errc())
      return error("an integer does not fit into 64 bits", ErrorCode::kUnsupported);
    add(TokenKind::kInteger, source_.substr(at_, end - at_));
    tokens_.back().integer = value;
    go_to(end);
    return {};
  }

  Status add_real(std::size_t end) {
    const std::string digits = plain_digits(at_, end);
    double value = 0;
    const auto result = std::from_chars(digits.data(), digits.data() + digits.size(), value);
    if (result.ec != std::errc()) {  // too large, or too small
      const std::size_t mark = digits.find_first_of("eE");
      value = mark != std::string::npos && digits[mark + 1] == '-' ? 0.0 : HUGE_VAL;
    }
    add(TokenKind::kReal, source_.substr(at_, end - at_));
    tokens_.back().real = value;
    go_to(end);
    return {};
  }

  Status operation(std::string& open) {
    for (const std::string_view pair : {"**", "//", "==", "!=", ">=", "<="}) {
      if (!has(pair)) continue;
      add(TokenKind::kOperator, pair);
      go_to(at_ + 2);
      return {};
    }
    const char c = peek();
    if (std::string_view("+-/*%~[](){}<>=.:|,;").find(c) == std::string_view::npos) {
      const std::size_t length = code_point_at(source_, at_).length;
      return error("unexpected char '" + std::string(source_.substr(at_, length)) + "'");
    }
    if (c == '(' || c == '[' || c == '{') {
      open += c == '(' ? ')' : c == '[' ? ']' : '}';
    } else if (c == ')' || c == ']' || c == '}') {
      if (open.empty() || open.back() != c) return error(std::string("unexpected '") + c + "'");
      open.pop_back();
    }
    add(TokenKind::kOperator, source_.substr(at_, 1));
    go_to(at_ + 1);
    return {};
  }

  std::string_view source_;
  std::size_t at_ = 0;
  int line_ = 1;
  bool line_starting_ = true;
  std::vector<Token> tokens_;
};

}  // namespace

Result<std::vector<Token>> tokenize(std::string_view source) {
  return Lexer(with_unix_lines(source)).run();
}

}  // namespace sluice::jinja
