// Methods of texts.

#include <algorithm>
#include <limits>

#include "text/jinja/attributes.h"
#include "text/jinja/code_points.h"
#include "text/jinja/formatting.h"
#include "text/jinja/parameters.h"

namespace sluice::jinja {
namespace {

using Method = Value (*)(RenderState&, const Value& self, const Arguments&);

/// A text that is marked as escaped stays so.
Value like(RenderState& state, const Value& self, std::string text) {
  return state.text(std::move(text), self.is_markup());
}

template <std::string (*kMap)(std::string_view)>
Value mapped(RenderState& state, const Value& self, const Arguments& arguments) {
  const Parameters parameters(state, "str method", arguments, {});
  return state.spend_bytes(self.text().size() * 4) ? like(state, self, kMap(self.text())) : Value();
}

template <TextClass kClass>
Value is_class(RenderState& state, const Value& self, const Arguments& arguments) {
  const Parameters parameters(state, "str method", arguments, {});
  return Value::boolean(state.spend_bytes(self.text().size() * 4) && is_all(kClass, self.text()));
}

template <Side kSide>
Value stripped(RenderState& state, const Value& self, const Arguments& arguments) {
  const Parameters parameters(state, "strip", arguments, {""});
  std::optional<std::string_view> set;
  if (parameters.has(0)) set = parameters.text(0, "");
  if (!state.spend_bytes(self.text().size() * (1 + set.value_or("").size() / 8))) return {};
  return like(state, self, std::string(strip(self.text(), kSide, set)));
}

template <bool kFromRight>
Value parts(RenderState& state, const Value& self, const Arguments& arguments) {
  const Parameters parameters(state, "split", arguments, {"sep", "maxsplit"});
  const std::string_view separator = parameters.has(0) ? parameters.text(0, "") : "";
  if (parameters.has(0) && separator.empty()) return state.fail("empty separator");
  const std::int64_t limit = parameters.integer(1, -1);
  if (!state.spend_bytes(self.text().size() * 4)) return {};
  const std::size_t affordable = state.limits().memory_bytes / sizeof(Text);
  const std::size_t most =
      limit < 0 ? affordable : std::min(affordable, static_cast<std::size_t>(limit));
  const auto pieces = split(self.text(), separator, most, kFromRight);
  if (pieces.size() > affordable) return state.fail("a text is split into too many parts");
  std::vector<Value> items;
  for (const auto piece : pieces) {
    if (state.failed()) return {};
    items.push_back(like(state, self, std::string(piece)));
  }
  return state.list(std::move(items));
}

Value lines(RenderState& state, const Value& self, const Arguments& arguments) {
  const Parameters parameters(state, "splitlines", arguments, {"keepends"});
  if (!state.can_hold(self.text().size() * sizeof(std::string_view))) return {};
  std::vector<Value> items;
  for (const auto line : split_lines(self.text(), parameters.flag(0, false))) {
    if (state.failed()) return {};
    items.push_back(like(state, self, std::string(line)));
  }
  return state.list(std::move(items));
}

template <bool kFromRight>
Value partitioned(RenderState& state, const Value& self, const Arguments& arguments) {
  const Parameters parameters(state, "partition", arguments, {""}, 1);
  const std::string_view separator = parameters.text(0, "");
  if (separator.empty()) return state.fail("empty separator");
  const std::string_view text = self.text();
  const std::size_t at = kFromRight ? text.rfind(separator) : text.find(separator);
  if (at == std::string_view::npos) {
    return kFromRight ? state.tuple({state.text(""), state.text(""), self})
                      : state.tuple({self, state.text(""), state.text("")});
  }
  return state.tuple({like(state, self, std::string(text.substr(0, at))), state.text(separator),
                      like(state, self, std::string(text.substr(at + separator.size())))});
}

/// The part of a text between two optional bounds, and where it begins, in characters.
struct Window {
  std::string_view text;
  std::int64_t begin = 0;
  bool exists = true;  // a start behind the end finds nothing, not even an empty text
};
Window window(RenderState& state, const Value& self, const Parameters& parameters) {
  const std::string_view text = self.text();
  state.spend_bytes(text.size());
  if (!parameters.has(1) && !parameters.has(2)) return {text, 0, true};
  const auto length = static_cast<std::int64_t>(code_point_count(text));
  const auto bound = [&](std::size_t index) {
    return parameters.has(index) ? std::optional(parameters.integer(index, 0)) : std::nullopt;
  };
  const SliceBounds bounds = clip(length, bound(1), bound(2));
  if (bound(1).value_or(0) > length || bounds.start > bounds.stop) return {{}, bounds.start, false};
  const std::size_t begin = byte_offset(text, static_cast<std::size_t>(bounds.start));
  const std::size_t end = byte_offset(text, static_cast<std::size_t>(bounds.stop));
  return {text.substr(begin, end - begin), bounds.start, true};
}

/// -1 where there is none.
std::int64_t position(RenderState& state, const Value& self, const Arguments& arguments,
                      bool from_right) {
  const Parameters parameters(state, "find", arguments, {"", "", ""}, 1);
  const std::string_view wanted = parameters.text(0, "");
  if (state.failed()) return -1;
  const Window place = window(state, self, parameters);
  const std::size_t at = from_right ? place.text.rfind(wanted) : place.text.find(wanted);
  if (!place.exists || at == std::string_view::npos) return -1;
  return place.begin + static_cast<std::int64_t>(code_point_count(place.text.substr(0, at)));
}

template <bool kFromRight, bool kMustBe>
Value found(RenderState& state, const Value& self, const Arguments& arguments) {
  const std::int64_t at = position(state, self, arguments, kFromRight);
  return kMustBe && at < 0 ? state.fail("substring not found") : Value::integer(at);
}

Value count(RenderState& state, const Value& self, const Arguments& arguments) {
  const Parameters parameters(state, "count", arguments, {"", "", ""}, 1);
  const std::string_view wanted = parameters.text(0, "");
  if (state.failed()) return {};
  const Window place = window(state, self, parameters);
  if (!place.exists) return Value::integer(0);
  if (wanted.empty())
    return Value::integer(static_cast<std::int64_t>(code_point_count(place.text)) + 1);
  std::int64_t count = 0;
  for (std::size_t at = place.text.find(wanted); at != std::string_view::npos; ++count) {
    at = place.text.find(wanted, at + wanted.size());
  }
  return Value::integer(count);
}

template <bool kAtEnd>
Value begins_or_ends(RenderState& state, const Value& self, const Arguments& arguments) {
  const Parameters parameters(state, kAtEnd ? "endswith" : "startswith", arguments, {"", "", ""},
                              1);
  if (state.failed()) return {};
  const Value& wanted = *parameters.get(0);
  const bool several = wanted.is(Kind::kList) && wanted.list().is_tuple;
  const std::vector<Value> candidates = several ? wanted.items() : std::vector<Value>{wanted};
  const Window place = window(state, self, parameters);
  for (const Value& candidate : candidates) {
    if (!candidate.is(Kind::kText)) {
      return state.fail("startswith and endswith expect a string or a tuple of strings, not '" +
                        std::string(type_name(candidate)) + "'");
    }
    const std::string_view text = candidate.text();
    if (place.exists && (kAtEnd ? place.text.ends_with(text) : place.text.starts_with(text)))
      return Value::boolean(true);
  }
  return Value::boolean(false);
}

template <bool kSuffix>
Value removed(RenderState& state, const Value& self, const Arguments& arguments) {
  const Parameters parameters(state, "removeprefix", arguments, {""}, 1);
  const std::string_view part = parameters.text(0, "");
  std::string_view text = self.text();
  if (kSuffix ? text.ends_with(part) : text.starts_with(part)) {
    kSuffix ? text.remove_suffix(part.size()) : text.remove_prefix(part.size());
  }
  return like(state, self, std::string(text));
}

Value replaced(RenderState& state, const Value& self, const Arguments& arguments) {
  const Parameters parameters(state, "replace", arguments, {"", "", ""}, 2);
  const std::string_view before = parameters.text(0, ""), after = parameters.text(1, "");
  if (state.failed()) return {};
  return like(state, self, replace(state, self.text(), before, after, parameters.integer(2, -1)));
}

Value joined(RenderState& state, const Value& self, const Arguments& arguments) {
  const Parameters parameters(state, "join", arguments, {""}, 1);
  if (state.failed()) return {};
  std::string out;
  bool first = true;
  if (parameters.get(0)->is(Kind::kUndefined)) return state.text("");
  for (const Value& item : state.iterate(*parameters.get(0))) {
    if (state.failed()) return {};
    if (!item.is(Kind::kText)) {
      return state.fail("join expects strings, not '" + std::string(type_name(item)) + "'");
    }
    if (!first) state.append(out, self.text());
    first = false;
    state.append(out, item.text());
  }
  return like(state, self, std::move(out));
}

template <char kAlign>
Value padded(RenderState& state, const Value& self, const Arguments& arguments) {
  const Parameters parameters(state, "center", arguments, {"", ""}, 1);
  const std::int64_t width = parameters.integer(0, 0);
  const std::string_view fill = parameters.text(1, " ");
  if (code_point_count(fill) != 1)
    return state.fail("The fill character must be exactly one character long");
  const auto length = static_cast<std::int64_t>(code_point_count(self.text()));
  if (state.failed() || width <= length) return self;
  FormatSpec spec;
  spec.fill = std::string(fill);
  spec.align = kAlign;
  spec.width = static_cast<std::size_t>(width);
  // str.center gives the odd space to the left where the width is odd, formatting to the right.
  if (kAlign == '^' && ((width - length) & width & 1) != 0) {
    spec.width -= 1;
    return like(state, self, spec.fill + format_value(state, spec, self));
  }
  return like(state, self, format_value(state, spec, self));
}

Value zero_filled(RenderState& state, const Value& self, const Arguments& arguments) {
  const Parameters parameters(state, "zfill", arguments, {""}, 1);
  FormatSpec spec;
  spec.fill = "0";
  spec.align = '>';
  const bool sign = self.text().starts_with('-') || self.text().starts_with('+');
  spec.width = static_cast<std::size_t>(
      std::max<std::int64_t>(parameters.integer(0, 0) - (sign ? 1 : 0), 0));
  const Value digits = state.text(self.text().substr(sign ? 1 : 0));
  return like(state, self,
              (sign ? self.text().substr(0, 1) : "") + format_value(state, spec, digits));
}

Value unsupported(RenderState& state, const Value&, const Arguments&) {
  return state.fail("this method of strings is not supported");
}

struct NamedMethod {
  std::string_view name;
  Method method;
};
constexpr NamedMethod kMethods[] = {
    {"capitalize", mapped<capitalize>},
    {"casefold", unsupported},
    {"center", padded<'^'>},
    {"count", count},
    {"encode", unsupported},
    {"endswith", begins_or_ends<true>},
    {"expandtabs", unsupported},
    {"find", found<false, false>},
    {"format", format_braces},
    {"format_map", unsupported},
    {"index", found<false, true>},
    {"isalnum", is_class<TextClass::kAlphanumeric>},
    {"isalpha", is_class<TextClass::kAlpha>},
    {"isascii", is_class<TextClass::kAscii>},
    {"isdecimal", is_class<TextClass::kDecimal>},
    {"isdigit", is_class<TextClass::kDigit>},
    {"isidentifier", unsupported},
    {"islower", is_class<TextClass::kLower>},
    {"isnumeric", is_class<TextClass::kNumeric>},
    {"isprintable", unsupported},
    {"isspace", is_class<TextClass::kSpace>},
    {"istitle", unsupported},
    {"isupper", is_class<TextClass::kUpper>},
    {"join", joined},
    {"ljust", padded<'<'>},
    {"lower", mapped<lower>},
    {"lstrip", stripped<Side::kLeft>},
    {"maketrans", unsupported},
    {"partition", partitioned<false>},
    {"removeprefix", removed<false>},
    {"removesuffix", removed<true>},
    {"replace", replaced},
    {"rfind", found<true, false>},
    {"rindex", found<true, true>},
    {"rjust", padded<'>'>},
    {"rpartition", partitioned<true>},
    {"rsplit", parts<true>},
    {"rstrip", stripped<Side::kRight>},
    {"split", parts<false>},
    {"splitlines", lines},
    {"startswith", begins_or_ends<false>},
    {"strip", stripped<Side::kBoth>},
    {"swapcase", mapped<swap_case>},
    {"title", mapped<title>},
    {"translate", unsupported},
    {"upper", mapped<upper>},
    {"zfill", zero_filled},
};

}  // namespace

std::string replace(RenderState& state, std::string_view text, std::string_view before,
                    std::string_view after, std::int64_t count) {
  std::string out;
  auto left = count < 0 ? std::numeric_limits<std::size_t>::max() : static_cast<std::size_t>(count);
  state.spend_bytes(text.size());
  std::size_t at = 0;
  while (left > 0 && !state.failed()) {
    const std::size_t found_at = text.find(before, at);
    if (found_at == std::string_view::npos) break;
    --left;
    state.append(out, text.substr(at, found_at - at));
    state.append(out, after);
    at = found_at + before.size();
    if (!before.empty()) continue;
    if (at == text.size()) return out;  // an empty one is between all characters, and at both ends
    const std::size_t length = code_point_at(text, at).length;
    state.append(out, text.substr(at, length));
    at += length;
  }
  state.append(out, text.substr(at));
  return out;
}

std::optional<Value> text_method(RenderState& state, const Value& self, std::string_view name) {
  const auto* entry = std::lower_bound(
      std::begin(kMethods), std::end(kMethods), name,
      [](const NamedMethod& method, std::string_view wanted) { return method.name < wanted; });
  if (entry == std::end(kMethods) || entry->name != name) return {};
  const Method method = entry->method;
  return state.callable(
      std::string(name),
      [self, method](RenderState& call_state, const Arguments& arguments) {
        return method(call_state, self, arguments);
      },
      self);
}

}  // namespace sluice::jinja
