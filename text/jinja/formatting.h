#pragma once
// How values become text: str(), repr(), JSON, and Python's two ways of formatting.

#include <string>

#include "text/jinja/render_state.h"

namespace sluice::jinja {

/// str(value); nothing for an undefined value.
std::string to_text(RenderState& state, const Value& value);
void append_text(RenderState& state, std::string& out, const Value& value);
/// repr(value)
void append_repr(RenderState& state, std::string& out, const Value& value);
/// The shortest decimals that read back as the same double, as Python writes them.
std::string real_text(double value);

struct JsonStyle {
  std::optional<std::string> indent;  // of one level; nothing: one line
  std::string item_separator = ", ";
  std::string key_separator = ": ";
  bool sort_keys = false;
  bool ascii = false;  // escape what is not ASCII
};
/// As json.dumps has it.
void append_json(RenderState& state, std::string& out, const Value& value, const JsonStyle& style);

/// text % values
Value format_percent(RenderState& state, const Value& text, const Value& values);
/// text.format(…)
Value format_braces(RenderState& state, const Value& text, const Arguments& arguments);

/// What may stand before the letter that says how to format.
struct FormatSpec {
  std::string fill = " ";
  char align = 0;  // '<', '>', '^', '=' or 0
  char sign = '-';
  bool alternate = false;
  char grouping = 0;  // ',' or '_'
  std::size_t width = 0;
  std::optional<int> precision;
  char type = 0;
};
/// A number or text in a field. Fails where the type does not fit the value.
std::string format_value(RenderState& state, const FormatSpec& spec, const Value& value);

}  // namespace sluice::jinja
