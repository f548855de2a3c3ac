#include "text/jinja/variables.h"

#include <limits>
#include <nlohmann/json.hpp>

#include "text/jinja/code_points.h"

namespace sluice::jinja {
namespace {

using Json = nlohmann::ordered_json;

Value convert_text(RenderState& state, const std::string& text) {
  if (find_ill_formed(text)) return state.fail("a text among the variables is no UTF-8");
  return state.text(text);
}

Value convert(RenderState& state, const Json& json) {
  const RenderState::Level level(state);
  if (!level.ok) return {};
  switch (json.type()) {
    case Json::value_t::null:
      return Value::none();
    case Json::value_t::boolean:
      return Value::boolean(json.get<bool>());
    case Json::value_t::number_integer:
      return Value::integer(json.get<std::int64_t>());
    case Json::value_t::number_unsigned: {
      const auto number = json.get<std::uint64_t>();
      if (number > static_cast<std::uint64_t>(std::numeric_limits<std::int64_t>::max())) {
        return state.fail("an integer among the variables does not fit into 64 bits");
      }
      return Value::integer(static_cast<std::int64_t>(number));
    }
    case Json::value_t::number_float:
      return Value::real(json.get<double>());
    case Json::value_t::string:
      return convert_text(state, json.get_ref<const std::string&>());
    case Json::value_t::array: {
      std::vector<Value> items;
      items.reserve(json.size());
      for (const Json& item : json) items.push_back(convert(state, item));
      return state.list(std::move(items));
    }
    case Json::value_t::object: {
      std::vector<Entry> entries;
      entries.reserve(json.size());
      for (const auto& [key, item] : json.items())
        entries.emplace_back(convert_text(state, key), convert(state, item));
      return state.dict(std::move(entries));
    }
    default:
      return state.fail("a variable is no JSON");
  }
}

}  // namespace

std::vector<std::pair<std::string, Value>> convert_variables(RenderState& state,
                                                             const Json& variables) {
  std::vector<std::pair<std::string, Value>> converted;
  for (const auto& [name, json] : variables.items()) {
    converted.emplace_back(name, convert(state, json));
    if (state.failed()) break;
  }
  return converted;
}

}  // namespace sluice::jinja
