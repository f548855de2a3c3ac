#include "text/jinja/parameters.h"

namespace sluice::jinja {

Parameters::Parameters(RenderState& state, std::string_view function, const Arguments& arguments,
                       std::initializer_list<std::string_view> names, std::size_t required)
    : state_(state), function_(function), values_(names.size(), nullptr) {
  if (arguments.positional.size() > names.size()) {
    state_.fail(function_ + "() takes at most " + std::to_string(names.size()) + " argument(s)");
    return;
  }
  for (std::size_t i = 0; i < arguments.positional.size(); ++i)
    values_[i] = &arguments.positional[i];
  for (const auto& [name, value] : arguments.named) {
    std::size_t index = 0;
    while (index < names.size() && names.begin()[index] != name) ++index;
    if (index == names.size() || name.empty()) {
      state_.fail(function_ + "() got an unexpected keyword argument '" + name + "'");
      return;
    }
    if (values_[index] != nullptr) {
      state_.fail(function_ + "() got two values for argument '" + name + "'");
      return;
    }
    values_[index] = &value;
  }
  for (std::size_t i = 0; i < required; ++i) {
    if (values_[i] == nullptr) state_.fail(function_ + "() misses a required argument");
  }
}

Value Parameters::value(std::size_t index, const Value& otherwise) const {
  return get(index) != nullptr ? *get(index) : otherwise;
}

std::int64_t Parameters::integer(std::size_t index, std::int64_t otherwise) const {
  const Value* value = get(index);
  if (value == nullptr) return otherwise;
  if (value->is_integral()) return value->integer();
  state_.fail(function_ + "(): an integer is expected, not '" + std::string(type_name(*value)) +
              "'");
  return otherwise;
}

std::string_view Parameters::text(std::size_t index, std::string_view otherwise) const {
  const Value* value = get(index);
  if (value == nullptr) return otherwise;
  if (value->is(Kind::kText)) return value->text();
  state_.fail(function_ + "(): a string is expected, not '" + std::string(type_name(*value)) + "'");
  return otherwise;
}

bool Parameters::flag(std::size_t index, bool otherwise) const {
  return get(index) != nullptr ? is_truthy(*get(index)) : otherwise;
}

}  // namespace sluice::jinja
