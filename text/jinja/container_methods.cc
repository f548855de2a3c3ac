// Methods of lists, tuples, dicts and numbers. What would change a list or dict is unsafe in the
// sandbox: there, such an attribute is undefined.

#include <algorithm>
#include <cmath>

#include "text/jinja/attributes.h"
#include "text/jinja/operators.h"
#include "text/jinja/parameters.h"

namespace sluice::jinja {
namespace {

using Method = Value (*)(RenderState&, const Value& self, const Arguments&);
struct NamedMethod {
  std::string_view name;
  Method method;
};

Value dict_view(RenderState& state, const Value& self, const Arguments& arguments,
                Stream::Form form) {
  const Parameters parameters(state, type_name(self), arguments, {});
  std::vector<Value> items;
  for (const auto& [key, value] : self.dict().entries) {
    if (!state.spend()) return {};
    items.push_back(form == Stream::Form::kItems  ? state.tuple({key, value})
                    : form == Stream::Form::kKeys ? key
                                                  : value);
  }
  return state.stream(form, std::move(items));
}

Value dict_get(RenderState& state, const Value& self, const Arguments& arguments) {
  const Parameters parameters(state, "get", arguments, {"", ""}, 1);
  if (state.failed()) return {};
  const Value& key = *parameters.get(0);
  if (!is_hashable(key))
    return state.fail("unhashable type: '" + std::string(type_name(key)) + "'");
  for (const auto& [known, value] : self.dict().entries) {
    if (equal(state, known, key)) return value;
  }
  return parameters.value(1, Value::none());
}

Value same(RenderState&, const Value& self, const Arguments&) { return self; }

Value count_items(RenderState& state, const Value& self, const Arguments& arguments) {
  const Parameters parameters(state, "count", arguments, {""}, 1);
  if (state.failed()) return {};
  std::int64_t count = 0;
  for (const Value& item : self.items()) count += equal(state, item, *parameters.get(0));
  return Value::integer(count);
}

Value index_of_item(RenderState& state, const Value& self, const Arguments& arguments) {
  const Parameters parameters(state, "index", arguments, {"", "", ""}, 1);
  if (state.failed()) return {};
  const auto size = static_cast<std::int64_t>(self.items().size());
  const SliceBounds bounds = clip(size, parameters.integer(1, 0), parameters.integer(2, size));
  for (std::int64_t i = bounds.start; i < bounds.stop && !state.failed(); ++i) {
    if (equal(state, self.items()[static_cast<std::size_t>(i)], *parameters.get(0)))
      return Value::integer(i);
  }
  return state.fail("the value is not in the list");
}

constexpr NamedMethod kDictMethods[] = {
    {"copy", same},
    {"get", dict_get},
    {"items",
     [](RenderState& state, const Value& self, const Arguments& arguments) {
       return dict_view(state, self, arguments, Stream::Form::kItems);
     }},
    {"keys",
     [](RenderState& state, const Value& self, const Arguments& arguments) {
       return dict_view(state, self, arguments, Stream::Form::kKeys);
     }},
    {"values",
     [](RenderState& state, const Value& self, const Arguments& arguments) {
       return dict_view(state, self, arguments, Stream::Form::kValues);
     }},
};
constexpr NamedMethod kListMethods[] = {
    {"copy", same}, {"count", count_items}, {"index", index_of_item}};

constexpr std::string_view kDictChanges[] = {"clear", "pop", "popitem", "setdefault", "update"};
constexpr std::string_view kListChanges[] = {"append", "clear",  "extend",  "insert",
                                             "pop",    "remove", "reverse", "sort"};

template <typename Methods>
std::optional<Value> find_method(RenderState& state, const Methods& methods, const Value& self,
                                 std::string_view name) {
  for (const NamedMethod& entry : methods) {
    if (entry.name != name) continue;
    const Method method = entry.method;
    return state.callable(
        std::string(name),
        [self, method](RenderState& call_state, const Arguments& arguments) {
          return method(call_state, self, arguments);
        },
        self);
  }
  return {};
}

template <typename Names>
bool is_in(const Names& names, std::string_view name) {
  return std::find(std::begin(names), std::end(names), name) != std::end(names);
}

Value unsafe(const Value& self, std::string_view name) {
  return Value::undefined("access to attribute '" + std::string(name) + "' of '" +
                          std::string(type_name(self)) +
                          "' object is unsafe: values cannot be changed");
}

std::optional<Value> number_attribute(RenderState& state, const Value& self,
                                      std::string_view name) {
  if (name == "real") return plus(state, self);
  if (name == "imag") return self.is_integral() ? Value::integer(0) : Value::real(0);
  if (self.is_integral() && name == "numerator") return Value::integer(self.integer());
  if (self.is_integral() && name == "denominator") return Value::integer(1);
  if (name == "is_integer" && self.is(Kind::kReal)) {
    return state.callable("is_integer", [self](RenderState& call_state,
                                               const Arguments& arguments) {
      const Parameters parameters(call_state, "is_integer", arguments, {});
      return Value::boolean(std::isfinite(self.real()) && std::floor(self.real()) == self.real());
    });
  }
  return {};
}

}  // namespace

std::optional<Value> container_method(RenderState& state, const Value& self,
                                      std::string_view name) {
  if (self.is(Kind::kDict)) {
    if (is_in(kDictChanges, name)) return unsafe(self, name);
    return find_method(state, kDictMethods, self, name);
  }
  if (self.is(Kind::kList)) {
    const bool tuple = self.list().is_tuple;
    if (!tuple && is_in(kListChanges, name)) return unsafe(self, name);
    if (tuple && name == "copy") return {};
    return find_method(state, kListMethods, self, name);
  }
  if (self.is_number()) return number_attribute(state, self, name);
  return {};
}

}  // namespace sluice::jinja
