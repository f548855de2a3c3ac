#include <array>
#include <charconv>
#include <cmath>

#include "text/jinja/code_points.h"
#include "text/jinja/formatting.h"
#include "text/jinja/loop.h"
#include "text/utf8.h"

namespace sluice::jinja {
namespace {

constexpr std::string_view kHexDigits = "0123456789abcdef";

void append_hex(std::string& out, std::uint32_t value, int digits) {
  for (int shift = 4 * (digits - 1); shift >= 0; shift -= 4)
    out += kHexDigits[(value >> shift) & 0xF];
}

std::string text_repr(std::string_view text) {
  const bool has_single = text.find('\'') != std::string_view::npos;
  const bool has_double = text.find('"') != std::string_view::npos;
  const char quote = has_single && !has_double ? '"' : '\'';
  std::string out(1, quote);
  for (std::size_t i = 0; i < text.size();) {
    const CodePoint c = code_point_at(text, i);
    if (c.value == U'\n') {
      out += "\\n";
    } else if (c.value == U'\r') {
      out += "\\r";
    } else if (c.value == U'\t') {
      out += "\\t";
    } else if (c.value == U'\\' || c.value == static_cast<char32_t>(quote)) {
      out += '\\';
      out += static_cast<char>(c.value);
    } else if (is_printable(c.value)) {
      out += text.substr(i, c.length);
    } else if (c.value < 0x100) {
      out += "\\x";
      append_hex(out, c.value, 2);
    } else {
      out += c.value < 0x10000 ? "\\u" : "\\U";
      append_hex(out, c.value, c.value < 0x10000 ? 4 : 8);
    }
    i += c.length;
  }
  return out + quote;
}

void append_items(RenderState& state, std::string& out, const std::vector<Value>& items) {
  for (std::size_t i = 0; i < items.size() && !state.failed(); ++i) {
    if (i != 0) state.append(out, ", ");
    append_repr(state, out, items[i]);
  }
}

void append_dict(RenderState& state, std::string& out, const Dict& dict) {
  state.append(out, "{");
  bool first = true;
  for (const auto& [key, value] : dict.entries) {
    if (state.failed()) return;
    if (!first) state.append(out, ", ");
    first = false;
    append_repr(state, out, key);
    state.append(out, ": ");
    append_repr(state, out, value);
  }
  state.append(out, "}");
}

void append_space(RenderState& state, std::string& out, const Namespace& space) {
  if (space.is_object) {
    state.fail("a cycler cannot be written");
    return;
  }
  state.append(out, "<Namespace {");
  bool first = true;
  for (const auto& [name, value] : space.members) {
    if (state.failed()) return;
    if (!first) state.append(out, ", ");
    first = false;
    state.append(out, text_repr(name) + ": ");
    append_repr(state, out, value);
  }
  state.append(out, "}>");
}

void append_stream(RenderState& state, std::string& out, const Value& value) {
  const Stream& stream = value.stream();
  if (stream.form == Stream::Form::kRange) {
    const std::string step = stream.step == 1 ? "" : ", " + std::to_string(stream.step);
    state.append(out, "range(" + std::to_string(stream.start) + ", " + std::to_string(stream.stop) +
                          step + ")");
  } else if (stream.form == Stream::Form::kGenerator) {
    state.fail("a generator cannot be written; use |list");
  } else {
    state.append(out, std::string(type_name(value)) + "([");
    append_items(state, out, stream.items);
    state.append(out, "])");
  }
}

}  // namespace

std::string real_text(double value) {
  if (std::isnan(value)) return "nan";
  if (std::isinf(value)) return value < 0 ? "-inf" : "inf";
  std::array<char, 64> buffer;
  const auto [end, unused] = std::to_chars(buffer.data(), buffer.data() + buffer.size(), value,
                                           std::chars_format::scientific);
  // d.ddde±xx becomes what repr() has: plain for exponents from -4 to 15.
  std::string_view digits(buffer.data(), static_cast<std::size_t>(end - buffer.data()));
  const std::size_t mark = digits.find('e');
  int exponent = 0;
  const char* exponent_begin = digits.data() + mark + (digits[mark + 1] == '+' ? 2 : 1);
  std::from_chars(exponent_begin, digits.data() + digits.size(), exponent);
  if (exponent < -4 || exponent >= 16) return std::string(digits);
  std::string sign = value < 0 || (value == 0 && std::signbit(value)) ? "-" : "";
  std::string mantissa;
  for (const char c : digits.substr(0, mark)) {
    if (c >= '0' && c <= '9') mantissa += c;
  }
  if (exponent < 0)
    return sign + "0." + std::string(static_cast<std::size_t>(-exponent - 1), '0') + mantissa;
  const std::size_t whole = static_cast<std::size_t>(exponent) + 1;
  if (mantissa.size() < whole + 1) mantissa.append(whole + 1 - mantissa.size(), '0');
  return sign + mantissa.substr(0, whole) + "." + mantissa.substr(whole);
}

void append_repr(RenderState& state, std::string& out, const Value& value) {
  const RenderState::Level level(state);
  if (!level.ok || !state.spend()) return;
  switch (value.kind()) {
    case Kind::kUndefined:
      state.append(out, "Undefined");
      return;
    case Kind::kNone:
      state.append(out, "None");
      return;
    case Kind::kBoolean:
      state.append(out, value.boolean() ? "True" : "False");
      return;
    case Kind::kInteger:
      state.append(out, std::to_string(value.integer()));
      return;
    case Kind::kReal:
      state.append(out, real_text(value.real()));
      return;
    case Kind::kText:
      state.append(out, value.is_markup() ? "Markup(" + text_repr(value.text()) + ")"
                                          : text_repr(value.text()));
      return;
    case Kind::kList: {
      const bool tuple = value.list().is_tuple;
      state.append(out, tuple ? "(" : "[");
      append_items(state, out, value.items());
      if (tuple && value.items().size() == 1) state.append(out, ",");
      state.append(out, tuple ? ")" : "]");
      return;
    }
    case Kind::kDict:
      append_dict(state, out, value.dict());
      return;
    case Kind::kNamespace:
      append_space(state, out, value.space());
      return;
    case Kind::kCallable:
      if (!value.callable().is_macro)
        state.fail("the function '" + value.callable().name + "' cannot be written");
      state.append(out, "<Macro '" + value.callable().name + "'>");
      return;
    case Kind::kStream:
      append_stream(state, out, value);
      return;
    case Kind::kLoop:
      state.append(out, value.loop().description(state));
      return;
  }
}

void append_text(RenderState& state, std::string& out, const Value& value) {
  if (value.is(Kind::kText)) {
    state.append(out, value.text());
  } else if (!value.is(Kind::kUndefined)) {
    append_repr(state, out, value);
  }
}

std::string to_text(RenderState& state, const Value& value) {
  std::string out;
  append_text(state, out, value);
  return out;
}

}  // namespace sluice::jinja
