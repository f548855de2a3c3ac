#include <charconv>

#include "text/jinja/code_points.h"
#include "text/jinja/lexer.h"
#include "text/utf8.h"

namespace sluice::jinja {
namespace {

/// Reads exactly `digits` hexadecimal digits.
Result<char32_t> hexadecimal(std::string_view literal, std::size_t at, std::size_t digits) {
  const std::string_view text = literal.substr(std::min(at, literal.size()), digits);
  std::uint32_t value = 0;
  const auto [stopped, error] = std::from_chars(text.data(), text.data() + text.size(), value, 16);
  if (text.size() != digits || error != std::errc() || stopped != text.data() + text.size()) {
    return Status(ErrorCode::kCorrupt, "a string has an escape with too few digits");
  }
  if (value > 0x10FFFF || (value >= 0xD800 && value < 0xE000)) {
    return Status(ErrorCode::kCorrupt, "a string has an escape that is no character");
  }
  return static_cast<char32_t>(value);
}

char simple_escape(char c) {
  switch (c) {
    case 'n':
      return '\n';
    case 'r':
      return '\r';
    case 't':
      return '\t';
    case 'a':
      return '\a';
    case 'b':
      return '\b';
    case 'f':
      return '\f';
    case 'v':
      return '\v';
    case '\\':
    case '\'':
    case '"':
      return c;
    default:
      return 0;
  }
}

/// jinja2 writes what is not ASCII as an escape before it undoes the escapes. A backslash before
/// such a character thus escapes the backslash of that, and leaves its digits.
std::string escaped_letter(char32_t c) {
  const bool small = c < 0x100, medium = c < 0x10000;
  const std::size_t digits = small ? 2 : medium ? 4 : 8;
  char buffer[8];
  const auto [end, unused] =
      std::to_chars(buffer, buffer + sizeof buffer, static_cast<std::uint32_t>(c), 16);
  std::string text(buffer, end);
  text.insert(0, digits - text.size(), '0');
  return std::string("\\") + (small ? 'x' : medium ? 'u' : 'U') + text;
}

}  // namespace

Result<std::string> unescape(std::string_view literal) {
  std::string out;
  for (std::size_t i = 0; i < literal.size();) {
    if (literal[i] != '\\' || i + 1 == literal.size()) {
      out += literal[i++];
      continue;
    }
    const char c = literal[i + 1];
    i += 2;
    if (const char plain = simple_escape(c)) {
      out += plain;
    } else if (c == '\n') {  // the line goes on
    } else if (c >= '0' && c <= '7') {
      char32_t value = 0;
      const std::size_t end = std::min(i + 2, literal.size());
      for (--i; i < end && literal[i] >= '0' && literal[i] <= '7'; ++i) {
        value = value * 8 + static_cast<char32_t>(literal[i] - '0');
      }
      append_utf8(out, value);
    } else if (c == 'x' || c == 'u' || c == 'U') {
      const std::size_t digits = c == 'x' ? 2 : c == 'u' ? 4 : 8;
      SLUICE_ASSIGN(const char32_t value, hexadecimal(literal, i, digits));
      append_utf8(out, value);
      i += digits;
    } else if (c == 'N') {
      return Status(ErrorCode::kUnsupported, "a string names a character with \\N");
    } else if (static_cast<unsigned char>(c) >= 0x80) {
      const CodePoint letter = code_point_at(literal, i - 1);
      out += escaped_letter(letter.value);
      i += letter.length - 1;
    } else {
      out += '\\';
      out += c;
    }
  }
  return out;
}

}  // namespace sluice::jinja
