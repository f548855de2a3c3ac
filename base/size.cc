#include "base/size.h"

#include <algorithm>
#include <charconv>
#include <limits>
#include <utility>

namespace sluice {
namespace {

constexpr std::string_view kUnits = "KMGT";

bool is_digit(char c) { return c >= '0' && c <= '9'; }

std::string_view take_digits(std::string_view& text) {
  const auto end = std::ranges::find_if_not(text, is_digit);
  const auto count = static_cast<std::size_t>(end - text.begin());
  const std::string_view digits = text.substr(0, count);
  text.remove_prefix(count);
  return digits;
}

bool take(std::string_view& text, std::string_view upper, std::string_view lower) {
  if (!text.starts_with(upper) && !text.starts_with(lower)) return false;
  text.remove_prefix(upper.size());
  return true;
}

// What follows the number: the exponent of two that it multiplies by, or -1 when it is no unit.
int parse_unit(std::string_view text) {
  if (take(text, " ", " ") && text.empty()) return -1;
  int shift = 0;
  for (std::size_t i = 0; i < kUnits.size() && !text.empty(); ++i) {
    if (text.front() == kUnits[i] || text.front() == kUnits[i] - 'A' + 'a') {
      shift = 10 * static_cast<int>(i + 1);
    }
  }
  if (shift != 0) {
    text.remove_prefix(1);
    if (!take(text, "iB", "ib")) take(text, "B", "b");
  } else {
    take(text, "B", "b");
  }
  return text.empty() ? shift : -1;
}

// `bytes` in hundredths of 1024^unit, rounded up.
std::uint64_t in_hundredths(std::uint64_t bytes, std::size_t unit) {
  const std::uint64_t size = std::uint64_t{1} << (10 * unit);
  return bytes / size * 100 + (bytes % size * 100 + size - 1) / size;
}

}  // namespace

Result<std::uint64_t> parse_size(std::string_view text) {
  const auto refuse = [&](std::string_view why) {
    std::string message("\"");
    message.append(text).append("\" is not a size: ").append(why);
    return Status(ErrorCode::kInvalidArgument, std::move(message));
  };
  constexpr std::string_view kUsage =
      "write a number of bytes, or one with K, M, G or T, as in 512M or 1.5G";
  std::string_view rest = text;
  if (rest.starts_with('-')) return refuse("it is negative");
  const std::string_view whole = take_digits(rest);
  std::string_view fraction;  // with its point
  if (rest.starts_with('.')) {
    const char* point = rest.data();
    rest.remove_prefix(1);
    const std::size_t digits = take_digits(rest).size();
    if (digits == 0) return refuse(kUsage);
    fraction = std::string_view(point, digits + 1);
  }
  if (whole.empty() && fraction.empty()) return refuse(kUsage);
  const int shift = parse_unit(rest);
  if (shift < 0) return refuse(kUsage);

  std::uint64_t value = 0;
  const auto [end, error] = std::from_chars(whole.data(), whole.data() + whole.size(), value);
  const bool too_long = !whole.empty() && error == std::errc::result_out_of_range;
  if (too_long || value > std::numeric_limits<std::uint64_t>::max() >> shift) {
    return refuse("it exceeds 64 bits");
  }
  value <<= shift;
  if (!fraction.empty()) {
    // Less than 2^40 times something below one: a double holds it to far less than a byte.
    double part = 0;
    std::from_chars(fraction.data(), fraction.data() + fraction.size(), part);
    const double bytes = part * static_cast<double>(std::uint64_t{1} << shift);
    // A long row of nines rounds to one; only then can this reach the unit itself.
    const auto extra = static_cast<std::uint64_t>(bytes);
    if (value > std::numeric_limits<std::uint64_t>::max() - extra)
      return refuse("it exceeds 64 bits");
    value += extra;
  }
  return value;
}

std::string format_size(std::uint64_t bytes) {
  std::size_t unit = 0;
  while (unit < kUnits.size() && bytes >> (10 * unit) >= 1024) ++unit;
  std::uint64_t hundredths = in_hundredths(bytes, unit);
  // What rounds up to 1024 of a unit is 1 of the next.
  if (hundredths >= 1024 * 100 && unit < kUnits.size()) hundredths = in_hundredths(bytes, ++unit);
  std::string text = std::to_string(hundredths / 100);
  if (const std::uint64_t decimals = hundredths % 100; decimals != 0) {
    text += '.';
    text += static_cast<char>('0' + decimals / 10);
    if (decimals % 10 != 0) text += static_cast<char>('0' + decimals % 10);
  }
  if (unit > 0) text += kUnits[unit - 1];
  return text;
}

}  // namespace sluice
