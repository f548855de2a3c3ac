// Filters that read or make numbers.

#include <charconv>
#include <cmath>

#include "text/jinja/code_points.h"
#include "text/jinja/filters.h"
#include "text/jinja/operators.h"
#include "text/jinja/parameters.h"

namespace sluice::jinja {
namespace {

Value absolute(RenderState& state, const Value& input, const Arguments& arguments) {
  const Parameters parameters(state, "abs", arguments, {});
  if (input.is_integral())
    return input.integer() < 0 ? negate(state, input) : Value::integer(input.integer());
  if (input.is(Kind::kReal)) return Value::real(std::fabs(input.real()));
  return state.fail("bad operand type for abs(): '" + std::string(type_name(input)) + "'");
}

/// Digits without the underscores that may stand between them; nothing if they stand elsewhere.
std::optional<std::string> without_underscores(std::string_view text) {
  std::string out;
  for (std::size_t i = 0; i < text.size(); ++i) {
    if (text[i] != '_') {
      out += text[i];
    } else if (i == 0 || i + 1 == text.size() ||
               std::isalnum(static_cast<unsigned char>(text[i - 1])) == 0 ||
               std::isalnum(static_cast<unsigned char>(text[i + 1])) == 0) {
      return {};
    }
  }
  return out;
}

bool take_sign(std::string& text) {
  const bool negative = text.starts_with('-');
  if (negative || text.starts_with('+')) text.erase(0, 1);
  return negative;
}

/// int(text, base); `too_large` tells what is a number, but not one of 64 bits.
std::optional<std::int64_t> parse_integer(std::string_view text, int base, bool& too_large) {
  auto plain = without_underscores(strip(text));
  if (!plain) return {};
  std::string digits = *std::move(plain);
  const bool negative = take_sign(digits);
  const auto prefixed = [&](char letter) {
    return digits.size() > 2 && digits[0] == '0' && (digits[1] | 0x20) == letter;
  };
  for (const auto& [letter, prefix_base] :
       {std::pair('x', 16), std::pair('o', 8), std::pair('b', 2)}) {
    if (!prefixed(letter) || (base != prefix_base && base != 0)) continue;
    digits.erase(0, 2);
    base = prefix_base;
  }
  if (base == 0) {
    if (digits.size() > 1 && digits[0] == '0' && digits.find_first_not_of('0') != std::string::npos)
      return {};
    base = 10;
  }
  if (negative) digits.insert(0, "-");
  std::int64_t value = 0;
  const char* end = digits.data() + digits.size();
  const auto [stopped, error] = std::from_chars(digits.data(), end, value, base);
  too_large = error == std::errc::result_out_of_range && stopped == end;
  if (error != std::errc() || stopped != end) return {};
  return value;
}

std::optional<double> parse_real(std::string_view text) {
  auto plain = without_underscores(strip(text));
  if (!plain) return {};
  std::string digits = *std::move(plain);
  const bool negative = take_sign(digits);
  if (digits.empty() || digits[0] == '-' || digits[0] == '+' ||
      digits.find('(') != std::string::npos)
    return {};
  double value = 0;
  const char* end = digits.data() + digits.size();
  const auto [stopped, error] = std::from_chars(digits.data(), end, value);
  if (stopped != end || error == std::errc::invalid_argument) return {};
  if (error == std::errc::result_out_of_range) {  // too large, or too small
    const std::size_t mark = digits.find_first_of("eE");
    value = mark != std::string::npos && digits[mark + 1] == '-' ? 0.0 : HUGE_VAL;
  }
  return negative ? -value : value;
}

Value to_integer(RenderState& state, const Value& input, const Arguments& arguments) {
  const Parameters parameters(state, "int", arguments, {"default", "base"});
  const Value otherwise = parameters.value(0, Value::integer(0));
  const std::int64_t base = parameters.integer(1, 10);
  if (base != 0 && (base < 2 || base > 36)) return otherwise;
  if (input.is_integral()) return Value::integer(input.integer());
  if (input.is(Kind::kUndefined)) return state.fail_undefined(input);
  std::optional<double> real;
  if (input.is(Kind::kText)) {
    bool too_large = false;
    if (const auto whole = parse_integer(input.text(), static_cast<int>(base), too_large))
      return Value::integer(*whole);
    if (too_large) return state.fail("an integer does not fit into 64 bits");
    real = parse_real(input.text());
    if (real && std::isinf(*real)) return otherwise;
  } else if (input.is(Kind::kReal)) {
    real = input.real();
  }
  if (!real || std::isnan(*real)) return otherwise;
  const auto whole = truncate_to_integer(*real);
  return whole ? Value::integer(*whole) : state.fail("a float does not fit into an integer");
}

Value to_real(RenderState& state, const Value& input, const Arguments& arguments) {
  const Parameters parameters(state, "float", arguments, {"default"});
  if (input.is_number()) return Value::real(input.real());
  if (input.is(Kind::kUndefined)) return state.fail_undefined(input);
  const auto real = input.is(Kind::kText) ? parse_real(input.text()) : std::nullopt;
  return real ? Value::real(*real) : parameters.value(0, Value::real(0));
}

/// As Python has it: to the nearest, judged by the exact value of the double.
double round_real(double value, int precision) {
  if (!std::isfinite(value)) return value;
  if (precision < 0) {
    const double scale = std::pow(10.0, -precision);
    return std::isinf(scale) ? std::copysign(0.0, value) : std::nearbyint(value / scale) * scale;
  }
  char buffer[800];
  const auto [end, error] = std::to_chars(buffer, buffer + sizeof buffer, value,
                                          std::chars_format::fixed, std::min(precision, 400));
  double rounded = value;
  if (error == std::errc()) std::from_chars(buffer, end, rounded);
  return rounded;
}

Value rounded(RenderState& state, const Value& input, const Arguments& arguments) {
  const Parameters parameters(state, "round", arguments, {"precision", "method"});
  const auto precision =
      static_cast<int>(std::clamp<std::int64_t>(parameters.integer(0, 0), -400, 400));
  const std::string_view method = parameters.text(1, "common");
  if (method != "common" && method != "ceil" && method != "floor") {
    return state.fail("method must be common, ceil or floor");
  }
  if (input.is(Kind::kUndefined)) return state.fail_undefined(input);
  if (!input.is_number())
    return state.fail("round expects a number, not '" + std::string(type_name(input)) + "'");
  if (method == "common") {
    if (!input.is_integral()) return Value::real(round_real(input.real(), precision));
    if (precision >= 0) return Value::integer(input.integer());
    const auto whole = truncate_to_integer(round_real(input.real(), precision));
    return whole ? Value::integer(*whole) : state.fail("an integer does not fit into 64 bits");
  }
  const double scale = std::pow(10.0, precision);
  const double scaled = input.real() * scale;
  if (!std::isfinite(scaled)) return state.fail("cannot round this number");
  return Value::real((method == "ceil" ? std::ceil(scaled) : std::floor(scaled)) / scale);
}

constexpr NamedFilter kFilters[] = {
    {"abs", absolute}, {"float", to_real}, {"int", to_integer}, {"round", rounded}};

}  // namespace

std::span<const NamedFilter> number_filters() { return kFilters; }

}  // namespace sluice::jinja
