#include <charconv>
#include <cmath>

#include "text/jinja/code_points.h"
#include "text/jinja/formatting.h"
#include "text/jinja/operators.h"

namespace sluice::jinja {
namespace {

constexpr std::size_t kMaxWidth = 100'000;
constexpr int kMaxPrecision = 1'000;

std::string repeated(const std::string& text, std::size_t count) {
  std::string out;
  for (std::size_t i = 0; i < count; ++i) out += text;
  return out;
}

std::string digits_of(std::uint64_t magnitude, int base) {
  char buffer[72];
  const auto [end, unused] = std::to_chars(buffer, buffer + sizeof buffer, magnitude, base);
  return std::string(buffer, end);
}

/// |value| in the notation of `type`, one of e, f, g and their capitals.
std::string real_digits(double magnitude, char type, int precision) {
  const char kind = static_cast<char>(type | 0x20);
  std::string text;
  if (std::isnan(magnitude)) {
    text = "nan";
  } else if (std::isinf(magnitude)) {
    text = "inf";
  } else {
    const auto format = kind == 'e'   ? std::chars_format::scientific
                        : kind == 'g' ? std::chars_format::general
                                      : std::chars_format::fixed;
    if (kind == 'g' && precision == 0) precision = 1;
    std::string buffer(static_cast<std::size_t>(precision) + 400, '\0');
    const auto [end, unused] =
        std::to_chars(buffer.data(), buffer.data() + buffer.size(), magnitude, format, precision);
    text.assign(buffer.data(), end);
  }
  return type == kind ? text : upper(text);
}

/// Separates the digits before the point in groups of three (of four for other bases than ten).
std::string grouped(const std::string& digits, char separator, std::size_t group) {
  std::size_t whole = 0;
  while (whole < digits.size() && std::isxdigit(static_cast<unsigned char>(digits[whole])) != 0)
    ++whole;
  std::string out;
  for (std::size_t i = 0; i < whole; ++i) {
    if (i != 0 && (whole - i) % group == 0) out += separator;
    out += digits[i];
  }
  return out + digits.substr(whole);
}

std::string pad(const FormatSpec& spec, char default_align, const std::string& sign,
                const std::string& body) {
  const std::size_t size = code_point_count(sign) + code_point_count(body);
  if (size >= spec.width) return sign + body;
  const std::size_t missing = spec.width - size;
  switch (spec.align == 0 ? default_align : spec.align) {
    case '<':
      return sign + body + repeated(spec.fill, missing);
    case '^':
      return repeated(spec.fill, missing / 2) + sign + body +
             repeated(spec.fill, missing - missing / 2);
    case '=':
      return sign + repeated(spec.fill, missing) + body;
    default:
      return repeated(spec.fill, missing) + sign + body;
  }
}

std::string sign_of(const FormatSpec& spec, bool negative) {
  if (negative) return "-";
  return spec.sign == '-' ? "" : std::string(1, spec.sign);
}

std::string format_integer(const FormatSpec& spec, std::int64_t value) {
  const std::uint64_t magnitude =
      value < 0 ? 0 - static_cast<std::uint64_t>(value) : static_cast<std::uint64_t>(value);
  const char kind = static_cast<char>(spec.type | 0x20);
  const int base = kind == 'x' ? 16 : kind == 'o' ? 8 : kind == 'b' ? 2 : 10;
  std::string digits = digits_of(magnitude, base);
  if (spec.precision && digits.size() < static_cast<std::size_t>(*spec.precision)) {  // of % alone
    digits.insert(0, static_cast<std::size_t>(*spec.precision) - digits.size(), '0');
  }
  if (spec.grouping != 0) digits = grouped(digits, spec.grouping, base == 10 ? 3 : 4);
  std::string sign = sign_of(spec, value < 0);
  if (spec.alternate && base != 10) sign += std::string("0") + kind;
  if (spec.type == 'X') {
    digits = upper(digits);
    sign = upper(sign);
  }
  return pad(spec, '>', sign, digits);
}

std::string format_real(const FormatSpec& spec, double value) {
  const bool negative = std::signbit(value) && !std::isnan(value);
  double magnitude = std::fabs(value);
  std::string digits;
  if (spec.type == 0 && !spec.precision) {
    digits = real_text(magnitude);
  } else if (spec.type == '%') {
    digits = real_digits(magnitude * 100, 'f', spec.precision.value_or(6)) + "%";
  } else {
    digits = real_digits(magnitude, spec.type == 0 ? 'g' : spec.type, spec.precision.value_or(6));
    if (spec.type == 0 && std::isfinite(value) && digits.find_first_of(".e") == std::string::npos)
      digits += ".0";
  }
  if (spec.grouping != 0) digits = grouped(digits, spec.grouping, 3);
  return pad(spec, '>', sign_of(spec, negative), digits);
}

std::string format_text(const FormatSpec& spec, std::string_view text) {
  if (spec.precision)
    text = text.substr(0, byte_offset(text, static_cast<std::size_t>(*spec.precision)));
  return pad(spec, '<', "", std::string(text));
}

bool is_one_of(char c, std::string_view set) { return set.find(c) != std::string_view::npos; }

}  // namespace

std::string format_value(RenderState& state, const FormatSpec& spec, const Value& value) {
  if (spec.width > kMaxWidth || spec.precision.value_or(0) > kMaxPrecision) {
    state.fail("a field is formatted too wide");
    return {};
  }
  state.spend_bytes(spec.width);
  if (value.is(Kind::kText) && (spec.type == 0 || spec.type == 's'))
    return format_text(spec, value.text());
  if (value.is_integral() && spec.type == 'c') {
    FormatSpec text_spec = spec;
    text_spec.precision.reset();
    if (value.integer() >= 0 && value.integer() < 128) {
      return format_text(text_spec, std::string(1, static_cast<char>(value.integer())));
    }
  } else if (value.is_integral() && (spec.type == 0 || is_one_of(spec.type, "dboxXn"))) {
    return format_integer(spec, value.integer());
  } else if (value.is_number() && (spec.type == 0 || is_one_of(spec.type, "eEfFgGn%"))) {
    FormatSpec real_spec = spec;
    if (spec.type == 'n') real_spec.type = 'g';
    return format_real(real_spec, value.real());
  }
  state.fail("format code '" + std::string(1, spec.type == 0 ? 's' : spec.type) +
             "' does not suit a '" + std::string(type_name(value)) + "'");
  return {};
}

}  // namespace sluice::jinja
