#include "text/jinja/filters.h"

#include "text/jinja/attributes.h"
#include "text/jinja/code_points.h"

namespace sluice::jinja {

Filter find_filter(std::string_view name) {
  for (const auto filters : {text_filters(), sequence_filters(), number_filters()}) {
    for (const NamedFilter& entry : filters) {
      if (entry.name == name) return entry.filter;
    }
  }
  return nullptr;
}

Value attribute_path(RenderState& state, Value item, const Value& path, const Value* otherwise) {
  const auto follow = [&](const Value& key) {
    item = get_item(state, item, key);
    if (otherwise != nullptr && !otherwise->is(Kind::kNone) && item.is(Kind::kUndefined))
      item = *otherwise;
  };
  if (path.is(Kind::kNone)) return item;
  if (!path.is(Kind::kText)) {
    follow(path);
    return item;
  }
  for (const auto part : split(path.text(), ".", path.text().size(), false)) {
    if (state.failed()) break;
    const bool number =
        part.size() < 18 && is_all(TextClass::kDecimal, part) && is_all(TextClass::kAscii, part);
    follow(number ? Value::integer(std::stoll(std::string(part))) : state.text(part));
  }
  return item;
}

Value ignore_case(RenderState& state, const Value& value) {
  return value.is(Kind::kText) && state.spend_bytes(value.text().size())
             ? state.text(lower(value.text()))
             : value;
}

}  // namespace sluice::jinja
