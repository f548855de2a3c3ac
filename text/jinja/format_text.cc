// "%s" % value and "{}".format(value).

#include "text/jinja/attributes.h"
#include "text/jinja/code_points.h"
#include "text/jinja/formatting.h"
#include "text/jinja/operators.h"

namespace sluice::jinja {
namespace {

bool is_digit(char c) { return c >= '0' && c <= '9'; }

/// A small number at `at`, which goes past it; at most a million, so that nothing overflows.
std::optional<std::size_t> read_number(std::string_view text, std::size_t& at) {
  if (at >= text.size() || !is_digit(text[at])) return {};
  std::size_t number = 0;
  for (; at < text.size() && is_digit(text[at]); ++at) {
    number =
        std::min<std::size_t>(number * 10 + static_cast<std::size_t>(text[at] - '0'), 1'000'000);
  }
  return number;
}

class PercentFormatter {
 public:
  PercentFormatter(RenderState& state, std::string_view pattern, const Value& values)
      : state_(state), pattern_(pattern), values_(values) {}

  std::string format() {
    std::string out;
    while (at_ < pattern_.size() && !state_.failed()) {
      const std::size_t mark = std::min(pattern_.find('%', at_), pattern_.size());
      state_.append(out, pattern_.substr(at_, mark - at_));
      at_ = mark;
      if (at_ < pattern_.size()) state_.append(out, field());
    }
    const bool all_used = values_.is(Kind::kDict) || named_ || next_ >= count();
    if (!all_used) state_.fail("not all arguments converted during string formatting");
    return out;
  }

 private:
  bool is_tuple() const { return values_.is(Kind::kList) && values_.list().is_tuple; }
  std::size_t count() const { return is_tuple() ? values_.items().size() : 1; }

  Value next_value() {
    if (next_ >= count()) return state_.fail("not enough arguments for format string");
    ++next_;
    return is_tuple() ? values_.items()[next_ - 1] : values_;
  }

  /// The value of "(name)".
  Value named_value() {
    const std::size_t end = pattern_.find(')', at_);
    if (end == std::string_view::npos) return state_.fail("incomplete format key");
    const auto name = pattern_.substr(at_ + 1, end - at_ - 1);
    at_ = end + 1;
    named_ = true;
    if (!values_.is(Kind::kDict)) return state_.fail("format requires a mapping");
    const Value* found = values_.dict().find(name);
    return found != nullptr ? *found : state_.fail("KeyError: '" + std::string(name) + "'");
  }

  void read_flags(FormatSpec& spec) {
    bool zero = false;
    for (; at_ < pattern_.size(); ++at_) {
      const char flag = pattern_[at_];
      if (flag == '-')
        spec.align = '<';
      else if (flag == '+')
        spec.sign = '+';
      else if (flag == ' ')
        spec.sign = spec.sign == '+' ? '+' : ' ';
      else if (flag == '#')
        spec.alternate = true;
      else if (flag == '0')
        zero = true;
      else
        break;
    }
    zero_ = zero && spec.align == 0;
    if (spec.align == 0) spec.align = '>';
  }

  std::size_t read_size() {
    if (at_ < pattern_.size() && pattern_[at_] == '*') {
      ++at_;
      const Value value = next_value();
      if (!value.is_integral() || value.integer() < 0) {
        state_.fail("* wants a positive int");
        return 0;
      }
      return static_cast<std::size_t>(std::min<std::int64_t>(value.integer(), 1'000'000));
    }
    return read_number(pattern_, at_).value_or(0);
  }

  std::string field() {
    FormatSpec spec;
    ++at_;
    Value value;
    bool has_value = false;
    if (at_ < pattern_.size() && pattern_[at_] == '(') {
      value = named_value();
      has_value = true;
    }
    read_flags(spec);
    spec.width = read_size();
    if (at_ < pattern_.size() && pattern_[at_] == '.') {
      ++at_;
      spec.precision = static_cast<int>(read_size());
    }
    while (at_ < pattern_.size() &&
           std::string_view("hlL").find(pattern_[at_]) != std::string_view::npos)
      ++at_;
    if (at_ >= pattern_.size()) {
      state_.fail("incomplete format");
      return {};
    }
    spec.type = pattern_[at_++];
    if (spec.type == '%') return "%";
    if (!has_value) value = next_value();
    return state_.failed() ? std::string() : convert(spec, value);
  }

  std::string convert(FormatSpec spec, Value value) {
    switch (spec.type) {
      case 's':
        value = state_.text(to_text(state_, value));
        break;
      case 'r':
      case 'a': {
        std::string out;
        append_repr(state_, out, value);
        value = state_.text(std::move(out));
        spec.type = 's';
        break;
      }
      case 'c':
        if (value.is(Kind::kText) && code_point_count(value.text()) == 1) spec.type = 's';
        break;
      case 'i':
      case 'u':
        spec.type = 'd';
        [[fallthrough]];
      case 'd':
        if (value.is(Kind::kReal)) {
          const auto whole = truncate_to_integer(value.real());
          value = whole ? Value::integer(*whole) : state_.fail("cannot convert float to integer");
        }
        [[fallthrough]];
      default:
        if (value.is(Kind::kUndefined)) state_.fail_undefined(value);
        if (zero_) {
          spec.fill = "0";
          spec.align = '=';
        }
    }
    return format_value(state_, spec, value);
  }

  RenderState& state_;
  std::string_view pattern_;
  const Value& values_;
  std::size_t at_ = 0;
  std::size_t next_ = 0;
  bool named_ = false;
  bool zero_ = false;
};

class BraceFormatter {
 public:
  BraceFormatter(RenderState& state, std::string_view pattern, const Arguments& arguments)
      : state_(state), pattern_(pattern), arguments_(arguments) {}

  std::string format() {
    std::string out;
    for (std::size_t at = 0; at < pattern_.size() && !state_.failed();) {
      const char c = pattern_[at];
      const bool doubled = at + 1 < pattern_.size() && pattern_[at + 1] == c;
      if ((c == '{' || c == '}') && doubled) {
        state_.append(out, pattern_.substr(at, 1));
        at += 2;
      } else if (c == '}') {
        state_.fail("Single '}' encountered in format string");
      } else if (c == '{') {
        const std::size_t end = pattern_.find('}', at);
        if (end == std::string_view::npos) {
          state_.fail("expected '}' before end of string");
          break;
        }
        state_.append(out, field(pattern_.substr(at + 1, end - at - 1)));
        at = end + 1;
      } else {
        const std::size_t end = std::min(pattern_.find_first_of("{}", at), pattern_.size());
        state_.append(out, pattern_.substr(at, end - at));
        at = end;
      }
    }
    return out;
  }

 private:
  std::string field(std::string_view field) {
    if (field.find('{') != std::string_view::npos) {
      state_.fail("nested fields in a format string are not supported");
      return {};
    }
    const std::size_t spec_at = std::min(field.find(':'), field.size());
    const std::size_t conversion_at = std::min(field.find('!'), spec_at);
    Value value = resolve(field.substr(0, conversion_at));
    const auto conversion = field.substr(conversion_at, spec_at - conversion_at);
    const auto spec_text = spec_at < field.size() ? field.substr(spec_at + 1) : std::string_view();
    if (state_.failed()) return {};
    if (conversion == "!r" || conversion == "!a") {
      std::string out;
      append_repr(state_, out, value);
      value = state_.text(std::move(out));
    } else if (conversion == "!s") {
      value = state_.text(to_text(state_, value));
    } else if (!conversion.empty()) {
      state_.fail("unknown conversion in a format string");
    }
    if (spec_text.empty()) return to_text(state_, value);
    if (value.is(Kind::kBoolean)) value = Value::integer(value.integer());
    return format_value(state_, parse_spec(spec_text, value), value);
  }

  Value resolve(std::string_view name) {
    const std::size_t end = std::min(name.find_first_of(".["), name.size());
    Value value = argument(name.substr(0, end));
    name.remove_prefix(end);
    while (!name.empty() && !state_.failed()) {
      const bool item = name[0] == '[';
      const std::size_t stop =
          item ? name.find(']') : std::min(name.find_first_of(".[", 1), name.size());
      if (stop == std::string_view::npos) return state_.fail("missing ']' in format string");
      const auto part = name.substr(1, stop - 1);
      std::size_t at = 0;
      const auto number = read_number(part, at);
      value = !item ? get_attribute(state_, value, part)
              : number && at == part.size()
                  ? get_item(state_, value, Value::integer(static_cast<std::int64_t>(*number)))
                  : get_item(state_, value, state_.text(part));
      name.remove_prefix(stop + (item ? 1 : 0));
    }
    return value;
  }

  Value argument(std::string_view name) {
    std::size_t at = 0;
    auto index = read_number(name, at);
    if (name.empty()) index = automatic_++;
    by_number_ = by_number_ || (index && !name.empty());
    if (by_number_ && automatic_ > 0)
      return state_.fail("numbered and unnumbered fields in one format string");
    if (index && at == name.size()) {
      if (*index < arguments_.positional.size()) return arguments_.positional[*index];
      return state_.fail("Replacement index " + std::to_string(*index) +
                         " out of range for positional args tuple");
    }
    for (const auto& [known, value] : arguments_.named) {
      if (known == name) return value;
    }
    return state_.fail("KeyError: '" + std::string(name) + "'");
  }

  /// [[fill]align][sign][#][0][width][grouping][.precision][type]
  FormatSpec parse_spec(std::string_view text, const Value& value) {
    FormatSpec spec;
    std::size_t at = 0;
    const auto is_align = [&](std::size_t i) {
      return i < text.size() && std::string_view("<>^=").find(text[i]) != std::string_view::npos;
    };
    const std::size_t fill = code_point_at(text, 0).length;
    if (is_align(fill)) {
      spec.fill = std::string(text.substr(0, fill));
      spec.align = text[fill];
      at = fill + 1;
    } else if (is_align(0)) {
      spec.align = text[at++];
    }
    const auto take = [&](std::string_view set) -> char {
      return at < text.size() && set.find(text[at]) != std::string_view::npos ? text[at++] : '\0';
    };
    if (const char sign = take("+- ")) spec.sign = sign;
    spec.alternate = take("#") != 0;
    if (take("0") != 0 && spec.align == 0) {
      spec.fill = "0";
      spec.align = value.is(Kind::kText) ? '<' : '=';
    }
    spec.width = read_number(text, at).value_or(0);
    spec.grouping = take(",_");
    if (take(".") != 0) {
      const auto precision = read_number(text, at);
      if (!precision) state_.fail("Format specifier missing precision");
      spec.precision = static_cast<int>(precision.value_or(0));
    }
    spec.type = take("bcdeEfFgGnosxX%");
    if (at != text.size()) state_.fail("Invalid format specifier '" + std::string(text) + "'");
    if (value.is_integral() && spec.precision &&
        (spec.type == 0 || std::string_view("bcdoxXn").find(spec.type) != std::string_view::npos)) {
      state_.fail("Precision not allowed in integer format specifier");
    }
    return spec;
  }

  RenderState& state_;
  std::string_view pattern_;
  const Arguments& arguments_;
  std::size_t automatic_ = 0;
  bool by_number_ = false;
};

}  // namespace

Value format_percent(RenderState& state, const Value& text, const Value& values) {
  return state.text(PercentFormatter(state, text.text(), values).format());
}

Value format_braces(RenderState& state, const Value& text, const Arguments& arguments) {
  return state.text(BraceFormatter(state, text.text(), arguments).format());
}

}  // namespace sluice::jinja
