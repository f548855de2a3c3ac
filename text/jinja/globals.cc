// Functions that every template can call.

#include <locale.h>

#include <array>
#include <cstdlib>

#include "text/jinja/formatting.h"
#include "text/jinja/interpreter.h"
#include "text/jinja/operators.h"
#include "text/jinja/parameters.h"

namespace sluice::jinja {
namespace {

Value range(RenderState& state, const Arguments& arguments) {
  const Parameters parameters(state, "range", arguments, {"", "", ""}, 1);
  const bool bounded = parameters.get(1) != nullptr;
  const std::int64_t start = bounded ? parameters.integer(0, 0) : 0;
  const std::int64_t stop = parameters.integer(bounded ? 1 : 0, 0);
  const std::int64_t step = parameters.integer(2, 1);
  return state.failed() ? Value() : state.range(start, stop, step);
}

/// dict(mapping or pairs, name=value …)
std::vector<Entry> entries_of(RenderState& state, const Arguments& arguments) {
  std::vector<Entry> entries;
  if (arguments.positional.size() > 1) state.fail("dict expected at most 1 argument");
  for (const Value& given : arguments.positional) {
    if (given.is(Kind::kDict)) {
      entries = given.dict().entries;
      continue;
    }
    for (const Value& pair : state.iterate(given)) {
      const auto parts = state.iterate(pair);
      if (parts.size() != 2) state.fail("a dict is made of pairs");
      if (state.failed()) return {};
      state.add_entry(entries, parts[0], parts[1]);
    }
  }
  for (const auto& [name, value] : arguments.named) {
    if (state.failed()) return {};
    state.add_entry(entries, state.text(name), value);
  }
  return entries;
}

Value dict(RenderState& state, const Arguments& arguments) {
  return state.dict(entries_of(state, arguments));
}

Value make_namespace(RenderState& state, const Arguments& arguments) {
  std::vector<std::pair<std::string, Value>> members;
  for (auto& [key, value] : entries_of(state, arguments)) {
    if (!key.is(Kind::kText)) continue;
    if (!check_namespace_name(state, key.text())) return {};
    members.emplace_back(key.text(), std::move(value));
  }
  return state.space(std::move(members));
}

/// Gives its items in turn: `current`, `next()`, `reset()`.
Value cycler(RenderState& state, const Arguments& arguments) {
  if (!arguments.named.empty()) return state.fail("cycler takes no keyword arguments");
  if (arguments.positional.empty()) return state.fail("at least one item has to be provided");
  const Value items = state.tuple(arguments.positional);
  const Value made = state.space({{"items", items}});
  if (state.failed()) return {};
  const auto go = [made, items](std::size_t to) {
    made.space().set("pos", Value::integer(static_cast<std::int64_t>(to)));
    made.space().set("current", items.items()[to]);
  };
  const auto method = [&](std::string_view name, const std::function<Value()>& act) {
    const auto call = [name, act](RenderState& call_state, const Arguments& given) {
      const Parameters none(call_state, name, given, {});
      return call_state.failed() ? Value() : act();
    };
    made.space().set(name, state.callable(std::string(name), call, items));
  };
  go(0);
  method("next", [made, items, go] {
    const auto at = static_cast<std::size_t>(made.space().find("pos")->integer());
    go((at + 1) % items.items().size());
    return items.items()[at];
  });
  method("reset", [go] {
    go(0);
    return Value::none();
  });
  made.space().is_object = true;
  return made;
}

/// Writes its separator every time but the first.
Value joiner(RenderState& state, const Arguments& arguments) {
  const Parameters parameters(state, "joiner", arguments, {"sep"});
  const Value separator = state.text(parameters.text(0, ", "));
  return state.callable("joiner", [separator, used = std::make_shared<bool>(false)](
                                      RenderState& call_state, const Arguments&) {
    return std::exchange(*used, true) ? separator : call_state.text("");
  });
}

Value raise_exception(RenderState& state, const Arguments& arguments) {
  const Parameters parameters(state, "raise_exception", arguments, {"message"}, 1);
  return state.failed() ? Value() : state.fail(to_text(state, *parameters.get(0)));
}

/// One directive of strftime, in the C locale whatever the process has set.
std::string time_part(locale_t locale, const char* directive, const std::tm& time) {
  std::array<char, 128> buffer{};
  const std::size_t size = strftime_l(buffer.data(), buffer.size(), directive, &time, locale);
  return {buffer.data(), size};
}

Value strftime_now(RenderState& state, const Arguments& arguments) {
  const Parameters parameters(state, "strftime_now", arguments, {"format"}, 1);
  const std::string_view format = parameters.text(0, "");
  const locale_t locale = newlocale(LC_ALL_MASK, "C", nullptr);
  if (locale == nullptr) return state.fail("strftime_now: out of memory");
  std::string out;
  for (std::size_t i = 0; i < format.size() && !state.failed(); ++i) {
    if (format[i] != '%' || i + 1 == format.size()) {
      state.append(out, format.substr(i, 1));
      continue;
    }
    std::string directive(format.substr(i, 2));
    if (directive[1] == '-' && i + 2 < format.size())
      directive = std::string(format.substr(i, 3));  // without padding
    i += directive.size() - 1;
    const char letter = directive.back();
    if (letter == 'f') {
      state.append(out, "000000");
    } else if (letter != 'z' && letter != 'Z') {  // the time knows no zone
      const bool known = std::string_view("aAbBcCdDeFgGhHIjklmMnpPrRsStTuUVwWxXyY%").find(letter) !=
                         std::string_view::npos;
      state.append(out, known ? time_part(locale, directive.c_str(), state.now()) : directive);
    }
  }
  freelocale(locale);
  return state.text(std::move(out));
}

struct NamedFunction {
  std::string_view name;
  Value (*function)(RenderState&, const Arguments&);
};
constexpr NamedFunction kFunctions[] = {
    {"cycler", cycler},
    {"dict", dict},
    {"joiner", joiner},
    {"namespace", make_namespace},
    {"raise_exception", raise_exception},
    {"range", range},
    {"strftime_now", strftime_now},
};

}  // namespace

bool check_namespace_name(RenderState& state, std::string_view name) {
  if (!name.starts_with('_')) return true;
  state.fail("Chat templates cannot store underscore-prefixed attributes on a namespace: rename '" +
             std::string(name.substr(0, 80)) + "'");
  return false;
}

std::optional<Value> find_global(RenderState& state, std::string_view name) {
  for (const NamedFunction& entry : kFunctions) {
    if (entry.name == name) return state.callable(std::string(name), entry.function);
  }
  return {};
}

}  // namespace sluice::jinja
