#pragma once
// Cuts a template into tokens, as jinja2 does with trim_blocks and lstrip_blocks: the first newline
// after a block or comment goes, and so does the white space before one that begins a line; `-`
// strips more, `+` nothing.

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "base/status.h"

namespace sluice::jinja {

enum class TokenKind {
  kData,  // text to be written as it is
  kVariableBegin,
  kVariableEnd,  // {{ }}
  kBlockBegin,
  kBlockEnd,  // {% %}
  kName,
  kText,
  kInteger,
  kReal,
  kOperator,
  kEnd,
};

struct Token {
  TokenKind kind = TokenKind::kEnd;
  int line = 1;
  std::string text;  // a string literal's value, else as it is written
  std::int64_t integer = 0;
  double real = 0;
};

/// The tokens, the last of them kEnd. REQUIRES: `source` is well-formed UTF-8.
Result<std::vector<Token>> tokenize(std::string_view source);

/// The value of what stands between the quotes of a string literal. Errors: an escape that means
/// nothing.
Result<std::string> unescape(std::string_view literal);

}  // namespace sluice::jinja
