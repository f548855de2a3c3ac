// Filters over what can be iterated over. Where jinja2 yields lazily, these make a generator of all
// the results.

#include <algorithm>
#include <span>

#include "text/jinja/attributes.h"
#include "text/jinja/filters.h"
#include "text/jinja/operators.h"
#include "text/jinja/parameters.h"

namespace sluice::jinja {
namespace {

std::string_view name_of(const Value& value) {
  return value.is(Kind::kText) ? std::string_view(value.text()) : "";
}

Value default_filter(RenderState& state, const Value& input, const Arguments& arguments) {
  const Parameters parameters(state, "default", arguments, {"default_value", "boolean"});
  const bool replaces =
      input.is(Kind::kUndefined) || (parameters.flag(1, false) && !is_truthy(input));
  return replaces ? parameters.value(0, state.text("")) : input;
}

Value length_filter(RenderState& state, const Value& input, const Arguments& arguments) {
  const Parameters parameters(state, "length", arguments, {});
  return Value::integer(length_of(state, input));
}

Value list_filter(RenderState& state, const Value& input, const Arguments& arguments) {
  const Parameters parameters(state, "list", arguments, {});
  return state.list(state.iterate(input));
}

Value first(RenderState& state, const Value& input, const Arguments& arguments) {
  const Parameters parameters(state, "first", arguments, {});
  if (input.is(Kind::kStream) &&
      input.stream().form == Stream::Form::kGenerator) {  // takes no more than one
    Stream& stream = input.stream();
    if (stream.next < stream.items.size()) return stream.items[stream.next++];
    return Value::undefined("No first item, sequence was empty.");
  }
  const auto items = state.iterate(input);
  return items.empty() ? Value::undefined("No first item, sequence was empty.") : items.front();
}

bool is_generator(const Value& value) {
  return value.is(Kind::kStream) && value.stream().form == Stream::Form::kGenerator;
}

Value last(RenderState& state, const Value& input, const Arguments& arguments) {
  const Parameters parameters(state, "last", arguments, {});
  if (is_generator(input)) return state.fail("'generator' object is not reversible");
  const auto items = state.iterate(input);
  return items.empty() ? Value::undefined("No last item, sequence was empty.") : items.back();
}

Value reverse(RenderState& state, const Value& input, const Arguments& arguments) {
  const Parameters parameters(state, "reverse", arguments, {});
  if (input.is(Kind::kText))
    return get_slice(state, input, Value::none(), Value::none(), Value::integer(-1));
  auto items = state.iterate(input);
  std::reverse(items.begin(), items.end());
  return is_generator(input) ? state.list(std::move(items)) : state.generator(std::move(items));
}

Value items_filter(RenderState& state, const Value& input, const Arguments& arguments) {
  const Parameters parameters(state, "items", arguments, {});
  std::vector<Value> items;
  if (input.is(Kind::kUndefined)) return state.generator({});
  if (!input.is(Kind::kDict)) return state.fail("Can only get item pairs from a mapping.");
  for (const auto& [key, value] : input.dict().entries) {
    if (state.failed()) return {};
    items.push_back(state.tuple({key, value}));
  }
  return state.generator(std::move(items));
}

Value attribute_filter(RenderState& state, const Value& input, const Arguments& arguments) {
  const Parameters parameters(state, "attr", arguments, {"name"}, 1);
  const std::string_view name = parameters.text(0, "");
  if (state.failed()) return {};
  if (!input.is(Kind::kDict)) return get_attribute(state, input, name);
  if (auto method = container_method(state, input, name)) return *std::move(method);
  return Value::undefined("'dict object' has no attribute '" + std::string(name) + "'");
}

Value map(RenderState& state, const Value& input, const Arguments& arguments) {
  std::vector<Value> out;
  if (!is_truthy(input)) return state.generator({});
  if (arguments.positional.empty()) {
    const Parameters parameters(state, "map", arguments, {"attribute", "default"}, 1);
    if (state.failed()) return {};
    for (const Value& item : state.iterate(input)) {
      if (!state.spend()) return {};
      out.push_back(attribute_path(state, item, *parameters.get(0), parameters.get(1)));
    }
    return state.generator(std::move(out));
  }
  const Filter filter = find_filter(name_of(arguments.positional[0]));
  if (filter == nullptr)
    return state.fail("No filter named '" + std::string(name_of(arguments.positional[0])) + "'.");
  const Arguments passed{{arguments.positional.begin() + 1, arguments.positional.end()},
                         arguments.named};
  for (const Value& item : state.iterate(input)) {
    if (!state.spend()) return {};
    out.push_back(filter(state, item, passed));
  }
  return state.generator(std::move(out));
}

template <bool kAttribute, bool kWanted>
Value select(RenderState& state, const Value& input, const Arguments& arguments) {
  if (!is_truthy(input)) return state.generator({});
  auto rest = arguments.positional.begin();
  const auto end = arguments.positional.end();
  if (kAttribute && rest == end) return state.fail("Missing parameter for attribute name");
  const Value path = kAttribute ? *rest++ : Value::none();
  Test test = [](RenderState&, const Value& value, const Arguments&) { return is_truthy(value); };
  if (rest != end) {
    test = find_test(name_of(*rest));
    if (test == nullptr) return state.fail("No test named '" + std::string(name_of(*rest)) + "'.");
    ++rest;
  }
  const Arguments passed{{rest, end}, arguments.named};
  std::vector<Value> out;
  for (const Value& item : state.iterate(input)) {
    if (!state.spend()) return {};
    if (test(state, attribute_path(state, item, path, nullptr), passed) == kWanted)
      out.push_back(item);
  }
  return state.generator(std::move(out));
}

struct Keyed {
  Value key;
  Value item;
};

/// The items with what they are compared by: themselves or an attribute, without regard to case
/// unless that matters.
std::vector<Keyed> keyed(RenderState& state, const Value& input, const Value& attribute,
                         const Value* otherwise, bool case_sensitive) {
  std::vector<Keyed> out;
  for (const Value& item : state.iterate(input)) {
    if (!state.spend()) break;
    const Value key = attribute_path(state, item, attribute, otherwise);
    out.push_back({case_sensitive ? key : ignore_case(state, key), item});
  }
  return out;
}

void sort_by_key(RenderState& state, std::vector<Keyed>& items, bool descending) {
  // Once an order has failed nothing is less than anything, which ends the sort.
  std::stable_sort(items.begin(), items.end(), [&](const Keyed& a, const Keyed& b) {
    if (state.failed()) return false;
    return descending ? less(state, b.key, a.key) : less(state, a.key, b.key);
  });
}

std::vector<Value> without_keys(std::vector<Keyed> items) {
  std::vector<Value> out;
  for (Keyed& item : items) out.push_back(std::move(item.item));
  return out;
}

Value sort(RenderState& state, const Value& input, const Arguments& arguments) {
  const Parameters parameters(state, "sort", arguments, {"reverse", "case_sensitive", "attribute"});
  const Value attribute = parameters.value(2, Value::none());
  const bool case_sensitive = parameters.flag(1, false);
  std::vector<Keyed> items;
  if (attribute.is(Kind::kText) && attribute.text().find(',') != std::string::npos) {
    std::vector<Value> paths;
    const Value comma = state.text(",");
    const auto parts =
        text_method(state, attribute, "split")->callable().call(state, {{comma}, {}});
    for (const Value& item : state.iterate(input)) {
      std::vector<Value> keys;
      for (const Value& path : parts.items()) {
        const Value key = attribute_path(state, item, path, nullptr);
        keys.push_back(case_sensitive ? key : ignore_case(state, key));
      }
      items.push_back({state.list(std::move(keys)), item});
      if (!state.spend()) return {};
    }
  } else {
    items = keyed(state, input, attribute, nullptr, case_sensitive);
    // Keys are lists: what has no order may be there as long as it is equal.
    for (Keyed& item : items) item.key = state.list({item.key});
  }
  sort_by_key(state, items, parameters.flag(0, false));
  return state.list(without_keys(std::move(items)));
}

Value dict_sort(RenderState& state, const Value& input, const Arguments& arguments) {
  const Parameters parameters(state, "dictsort", arguments, {"case_sensitive", "by", "reverse"});
  const std::string_view by = parameters.text(1, "key");
  if (by != "key" && by != "value")
    return state.fail("You can only sort by either \"key\" or \"value\"");
  if (!input.is(Kind::kDict))
    return state.fail("dictsort expects a dict, not '" + std::string(type_name(input)) + "'");
  std::vector<Keyed> items;
  for (const auto& [key, value] : input.dict().entries) {
    if (!state.spend()) return {};
    const Value& compared = by == "key" ? key : value;
    items.push_back({parameters.flag(0, false) ? compared : ignore_case(state, compared),
                     state.tuple({key, value})});
  }
  sort_by_key(state, items, parameters.flag(2, false));
  return state.list(without_keys(std::move(items)));
}

Value unique(RenderState& state, const Value& input, const Arguments& arguments) {
  const Parameters parameters(state, "unique", arguments, {"case_sensitive", "attribute"});
  std::vector<Value> out;
  std::vector<Entry> seen;
  for (const Keyed& item : keyed(state, input, parameters.value(1, Value::none()), nullptr,
                                 parameters.flag(0, false))) {
    const std::size_t before = seen.size();
    state.add_entry(seen, item.key, Value::none());
    if (state.failed()) return {};
    if (seen.size() > before) out.push_back(item.item);
  }
  return state.generator(std::move(out));
}

Value group_by(RenderState& state, const Value& input, const Arguments& arguments) {
  const Parameters parameters(state, "groupby", arguments,
                              {"attribute", "default", "case_sensitive"}, 1);
  if (state.failed()) return {};
  const Value& attribute = *parameters.get(0);
  const bool case_sensitive = parameters.flag(2, false);
  auto items = keyed(state, input, attribute, parameters.get(1), case_sensitive);
  sort_by_key(state, items, false);
  std::vector<Value> groups;
  for (std::size_t begin = 0; begin < items.size() && !state.failed();) {
    std::vector<Value> members;
    std::size_t end = begin;
    for (; end < items.size() && equal(state, items[end].key, items[begin].key); ++end) {
      members.push_back(items[end].item);
    }
    if (state.failed()) return {};
    const Value key = attribute_path(state, items[begin].item, attribute, parameters.get(1));
    groups.push_back(state.tuple({key, state.list(std::move(members))}));
    begin = std::max(end, begin + 1);  // NaN is not even equal to itself
  }
  return state.list(std::move(groups));
}

template <bool kGreatest>
Value extreme(RenderState& state, const Value& input, const Arguments& arguments) {
  const Parameters parameters(state, kGreatest ? "max" : "min", arguments,
                              {"case_sensitive", "attribute"});
  const auto items =
      keyed(state, input, parameters.value(1, Value::none()), nullptr, parameters.flag(0, false));
  if (items.empty()) return Value::undefined("No aggregated item, sequence was empty.");
  const Keyed* best = &items[0];
  for (const Keyed& item : std::span(items).subspan(1)) {
    if (kGreatest ? less(state, best->key, item.key) : less(state, item.key, best->key))
      best = &item;
  }
  return best->item;
}

Value sum(RenderState& state, const Value& input, const Arguments& arguments) {
  const Parameters parameters(state, "sum", arguments, {"attribute", "start"});
  Value total = parameters.value(1, Value::integer(0));
  if (total.is(Kind::kText)) return state.fail("sum() can't sum strings");
  for (const Value& item : state.iterate(input)) {
    if (!state.spend()) return {};
    total = arithmetic(state, Operator::kAdd, total,
                       attribute_path(state, item, parameters.value(0, Value::none()), nullptr));
  }
  return total;
}

Value batch(RenderState& state, const Value& input, const Arguments& arguments) {
  const Parameters parameters(state, "batch", arguments, {"linecount", "fill_with"}, 1);
  const std::int64_t size = parameters.integer(0, 1);
  std::vector<Value> rows, row;
  for (const Value& item : state.iterate(input)) {
    if (state.failed()) return {};
    if (static_cast<std::int64_t>(row.size()) == size) {
      rows.push_back(state.list(std::move(row)));
      row.clear();
    }
    row.push_back(item);
  }
  if (!row.empty()) {
    const auto missing = size - static_cast<std::int64_t>(row.size());
    if (parameters.has(1) && missing > 0 && state.can_hold(static_cast<std::size_t>(missing)) &&
        state.can_hold(static_cast<std::size_t>(missing) * sizeof(Value))) {
      row.insert(row.end(), static_cast<std::size_t>(missing), *parameters.get(1));
    }
    rows.push_back(state.list(std::move(row)));
  }
  return state.generator(std::move(rows));
}

Value slice(RenderState& state, const Value& input, const Arguments& arguments) {
  const Parameters parameters(state, "slice", arguments, {"slices", "fill_with"}, 1);
  const std::int64_t slices = parameters.integer(0, 1);
  const auto items = state.iterate(input);
  if (slices == 0) return state.fail("integer division or modulo by zero");
  std::vector<Value> rows;
  const auto size = static_cast<std::int64_t>(items.size());
  auto begin = items.begin();
  for (std::int64_t i = 0; i < slices && state.spend(); ++i) {
    const bool extra = i < size % slices;
    std::vector<Value> row(begin, begin + size / slices + (extra ? 1 : 0));
    begin += static_cast<std::ptrdiff_t>(row.size());
    if (parameters.has(1) && !extra) row.push_back(*parameters.get(1));
    rows.push_back(state.list(std::move(row)));
  }
  return state.generator(std::move(rows));
}

constexpr NamedFilter kFilters[] = {
    {"attr", attribute_filter},
    {"batch", batch},
    {"count", length_filter},
    {"d", default_filter},
    {"default", default_filter},
    {"dictsort", dict_sort},
    {"first", first},
    {"groupby", group_by},
    {"items", items_filter},
    {"last", last},
    {"length", length_filter},
    {"list", list_filter},
    {"map", map},
    {"max", extreme<true>},
    {"min", extreme<false>},
    {"reject", select<false, false>},
    {"rejectattr", select<true, false>},
    {"reverse", reverse},
    {"select", select<false, true>},
    {"selectattr", select<true, true>},
    {"slice", slice},
    {"sort", sort},
    {"sum", sum},
    {"unique", unique},
};

}  // namespace

std::span<const NamedFilter> sequence_filters() { return kFilters; }

}  // namespace sluice::jinja
