// Filters that make text.

#include <algorithm>
#include <limits>

#include "text/jinja/attributes.h"
#include "text/jinja/code_points.h"
#include "text/jinja/filters.h"
#include "text/jinja/formatting.h"
#include "text/jinja/operators.h"
#include "text/jinja/parameters.h"

namespace sluice::jinja {
namespace {

/// The input as a text, which stays marked as escaped if it was.
Value soft_text(RenderState& state, const Value& input) {
  return input.is(Kind::kText) ? input : state.text(to_text(state, input));
}

template <std::string (*kMap)(std::string_view)>
Value mapped(RenderState& state, const Value& input, const Arguments& arguments) {
  const Parameters parameters(state, "filter", arguments, {});
  const Value text = soft_text(state, input);
  if (!state.spend_bytes(text.is(Kind::kText) ? text.text().size() * 4 : 0)) return {};
  return state.text(kMap(text.text()), text.is_markup());
}

/// Words begin after white space, hyphens and opening brackets; unlike str.title, not after other
/// signs.
std::string title_words(std::string_view text) {
  std::string out;
  const auto divides = [&](std::size_t at) {
    const char32_t c = code_point_at(text, at).value;
    return is_space(c) || (c < 0x80 && std::string_view("-({[<").find(static_cast<char>(c)) !=
                                           std::string_view::npos);
  };
  for (std::size_t at = 0; at < text.size();) {
    std::size_t end = at;
    while (end < text.size() && divides(end) == divides(at)) end += code_point_at(text, end).length;
    const std::string_view part = text.substr(at, end - at);
    const std::size_t first = code_point_at(part, 0).length;
    out += upper(part.substr(0, first)) + lower(part.substr(first));
    at = end;
  }
  return out;
}

Value title_filter(RenderState& state, const Value& input, const Arguments& arguments) {
  const Parameters parameters(state, "title", arguments, {});
  const Value text = soft_text(state, input);
  if (!state.spend_bytes(text.text().size() * 4)) return {};
  return state.text(title_words(text.text()));
}

Value call_method(RenderState& state, const Value& input, const Arguments& arguments,
                  std::string_view method) {
  const Value text = soft_text(state, input);
  if (state.failed()) return {};
  return text_method(state, text, method)->callable().call(state, arguments);
}

Value trim(RenderState& state, const Value& input, const Arguments& arguments) {
  const Parameters parameters(state, "trim", arguments, {"chars"});
  Arguments passed;
  if (parameters.has(0)) passed.positional.push_back(*parameters.get(0));
  return call_method(state, input, passed, "strip");
}

Value center(RenderState& state, const Value& input, const Arguments& arguments) {
  const Parameters parameters(state, "center", arguments, {"width"});
  return call_method(state, input, {{parameters.value(0, Value::integer(80))}, {}}, "center");
}

Value format(RenderState& state, const Value& input, const Arguments& arguments) {
  if (!arguments.named.empty() && !arguments.positional.empty()) {
    return state.fail("can't handle positional and keyword arguments at the same time");
  }
  std::vector<Entry> entries;
  for (const auto& [name, value] : arguments.named) entries.emplace_back(state.text(name), value);
  const Value values =
      entries.empty() ? state.tuple(arguments.positional) : state.dict(std::move(entries));
  const Value text = soft_text(state, input);
  return state.failed() ? Value() : format_percent(state, text, values);
}

Value replace_filter(RenderState& state, const Value& input, const Arguments& arguments) {
  const Parameters parameters(state, "replace", arguments, {"old", "new", "count"}, 2);
  if (state.failed()) return {};
  const std::int64_t count = parameters.has(2) ? parameters.integer(2, -1) : -1;
  return state.text(replace(state, to_text(state, input), to_text(state, *parameters.get(0)),
                            to_text(state, *parameters.get(1)), count));
}

Value indent(RenderState& state, const Value& input, const Arguments& arguments) {
  const Parameters parameters(state, "indent", arguments, {"width", "first", "blank"});
  if (!input.is(Kind::kText))
    return state.fail("indent expects a string, not '" + std::string(type_name(input)) + "'");
  std::string indention;
  if (const Value* width = parameters.get(0); width != nullptr && width->is(Kind::kText)) {
    indention = width->text();
  } else {
    const std::int64_t spaces = std::clamp<std::int64_t>(parameters.integer(0, 4), 0, 100'000);
    indention.assign(static_cast<std::size_t>(spaces), ' ');
  }
  if (!state.can_hold(input.text().size() * sizeof(std::string_view))) return {};
  const std::string text = input.text() + "\n";
  std::string out = parameters.flag(1, false) ? indention : "";
  bool first = true;
  for (const auto line : split_lines(text)) {
    if (state.failed()) return {};
    if (!first) {
      state.append(out, "\n");
      if (!line.empty() || parameters.flag(2, false)) state.append(out, indention);
    }
    state.append(out, line);
    first = false;
  }
  // The quirk of adding a line end and splitting: with `blank`, all that is between line ends is
  // indented.
  return state.text(std::move(out), input.is_markup());
}

Value truncate(RenderState& state, const Value& input, const Arguments& arguments) {
  const Parameters parameters(state, "truncate", arguments,
                              {"length", "killwords", "end", "leeway"});
  if (!input.is(Kind::kText))
    return state.fail("truncate expects a string, not '" + std::string(type_name(input)) + "'");
  const std::int64_t length = parameters.integer(0, 255);
  const std::string_view end = parameters.text(2, "...");
  const std::int64_t leeway = parameters.has(3) ? parameters.integer(3, 5) : 5;
  const auto end_length = static_cast<std::int64_t>(code_point_count(end));
  if (length < end_length || leeway < 0)
    return state.fail("truncate: the length or the leeway is too small");
  const std::string_view text = input.text();
  const auto size = static_cast<std::int64_t>(code_point_count(text));
  if (size - leeway <= length) return input;
  std::string_view kept =
      text.substr(0, byte_offset(text, static_cast<std::size_t>(length - end_length)));
  if (!parameters.flag(1, false)) kept = kept.substr(0, kept.rfind(' '));
  return state.text(std::string(kept) + std::string(end));
}

Value word_count(RenderState& state, const Value& input, const Arguments& arguments) {
  const Parameters parameters(state, "wordcount", arguments, {});
  std::int64_t count = 0;
  bool in_word = false;
  const std::string text = to_text(state, input);
  for (std::size_t i = 0; i < text.size();) {
    const CodePoint c = code_point_at(text, i);
    const bool word = is_identifier_part(c.value) ||
                      is_all(TextClass::kNumeric, std::string_view(text).substr(i, c.length));
    count += word && !in_word;
    in_word = word;
    i += c.length;
  }
  return Value::integer(count);
}

Value join(RenderState& state, const Value& input, const Arguments& arguments) {
  const Parameters parameters(state, "join", arguments, {"d", "attribute"});
  const std::string separator =
      parameters.get(0) != nullptr ? to_text(state, *parameters.get(0)) : "";
  std::string out;
  bool first = true;
  for (const Value& item : state.iterate(input)) {
    if (state.failed()) return {};
    if (!first) state.append(out, separator);
    first = false;
    append_text(
        state, out,
        parameters.has(1) ? attribute_path(state, item, *parameters.get(1), nullptr) : item);
  }
  return state.text(std::move(out));
}

Value string_filter(RenderState& state, const Value& input, const Arguments& arguments) {
  const Parameters parameters(state, "string", arguments, {});
  return soft_text(state, input);
}

Value safe(RenderState& state, const Value& input, const Arguments& arguments) {
  const Parameters parameters(state, "safe", arguments, {});
  return state.text(to_text(state, input), true);
}

Value escape(RenderState& state, const Value& input, const Arguments& arguments) {
  const Parameters parameters(state, "escape", arguments, {});
  if (input.is_markup()) return input;
  return state.text(escape_html(to_text(state, input)), true);
}

Value force_escape(RenderState& state, const Value& input, const Arguments& arguments) {
  const Parameters parameters(state, "forceescape", arguments, {});
  return state.text(escape_html(to_text(state, input)), true);
}

/// json.dumps as Transformers calls it: no escaping of HTML, nor of what is not ASCII.
Value to_json(RenderState& state, const Value& input, const Arguments& arguments) {
  const Parameters parameters(state, "tojson", arguments,
                              {"ensure_ascii", "indent", "separators", "sort_keys"});
  JsonStyle style;
  style.ascii = parameters.flag(0, false);
  if (parameters.has(1)) {
    if (parameters.get(1)->is(Kind::kText)) {
      style.indent = parameters.get(1)->text();
    } else {
      const std::int64_t width = std::clamp<std::int64_t>(parameters.integer(1, 0), 0, 1'000);
      style.indent = std::string(static_cast<std::size_t>(width), ' ');
    }
    style.item_separator = ",";
  }
  if (parameters.has(2)) {
    const auto separators = state.iterate(*parameters.get(2));
    if (separators.size() != 2 || !separators[0].is(Kind::kText) ||
        !separators[1].is(Kind::kText)) {
      return state.fail("tojson: separators are two strings");
    }
    style.item_separator = separators[0].text();
    style.key_separator = separators[1].text();
  }
  style.sort_keys = parameters.flag(3, false);
  std::string out;
  append_json(state, out, input, style);
  return state.text(std::move(out));
}

constexpr NamedFilter kFilters[] = {
    {"capitalize", mapped<capitalize>},
    {"center", center},
    {"e", escape},
    {"escape", escape},
    {"forceescape", force_escape},
    {"format", format},
    {"indent", indent},
    {"join", join},
    {"lower", mapped<lower>},
    {"replace", replace_filter},
    {"safe", safe},
    {"string", string_filter},
    {"title", title_filter},
    {"tojson", to_json},
    {"trim", trim},
    {"truncate", truncate},
    {"upper", mapped<upper>},
    {"wordcount", word_count},
};

}  // namespace

std::span<const NamedFilter> text_filters() { return kFilters; }

}  // namespace sluice::jinja
