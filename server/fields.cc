#include "server/fields.h"

#include <fmt/format.h>

#include <utility>

namespace sluice::server {

void Fields::fail(std::string_view field, std::string message) {
  if (error_) return;
  error_.emplace();
  error_->message = std::move(message);
  error_->field = field;
}

const Json* Fields::find(const char* name) {
  const auto found = object_.find(name);
  return found == object_.end() || found->is_null() ? nullptr : &*found;
}

double Fields::number(const char* name, double usual, double least, double most) {
  const Json* const value = find(name);
  if (value == nullptr) return usual;
  if (!value->is_number()) {
    fail(name, fmt::format("'{}' is not a number", name));
    return usual;
  }
  const auto number = value->get<double>();
  if (number >= least && number <= most) return number;
  fail(name, fmt::format("'{}' is {}, not between {} and {}", name, number, least, most));
  return usual;
}

std::uint64_t Fields::integer(const char* name, std::uint64_t usual, std::uint64_t least,
                              std::uint64_t most) {
  const Json* const value = find(name);
  if (value == nullptr) return usual;
  // Some clients write 5.0.
  const bool whole =
      value->is_number_integer() ||
      (value->is_number_float() && std::trunc(value->get<double>()) == value->get<double>());
  if (!whole) {
    fail(name, fmt::format("'{}' is not an integer", name));
    return usual;
  }
  const auto number = value->get<double>();
  if (number >= static_cast<double>(least) && number <= static_cast<double>(most)) {
    return value->is_number_unsigned() ? value->get<std::uint64_t>()
                                       : static_cast<std::uint64_t>(number);
  }
  fail(name, fmt::format("'{}' is {}, not between {} and {}", name, value->dump(), least, most));
  return usual;
}

bool Fields::boolean(const char* name, bool usual) {
  const Json* const value = find(name);
  if (value == nullptr) return usual;
  if (value->is_boolean()) return value->get<bool>();
  fail(name, fmt::format("'{}' is neither true nor false", name));
  return usual;
}

std::string Fields::text(const char* name, std::string usual) {
  const Json* const value = find(name);
  if (value == nullptr) return usual;
  if (value->is_string()) return value->get<std::string>();
  fail(name, fmt::format("'{}' is not a string", name));
  return usual;
}

std::vector<std::string> Fields::texts(const char* name, std::size_t most) {
  const Json* const value = find(name);
  if (value == nullptr) return {};
  if (value->is_string()) return {value->get<std::string>()};
  std::vector<std::string> all;
  for (const Json& one : value->is_array() ? *value : Json::array({Json()})) {
    if (!one.is_string()) {
      fail(name, fmt::format("'{}' is neither a string nor a list of strings", name));
      return {};
    }
    all.push_back(one.get<std::string>());
  }
  if (all.size() > most) fail(name, fmt::format("'{}' has more than {} strings", name, most));
  return all;
}

void Fields::refuse(const char* name, const Json& harmless, std::string_view why) {
  const Json* const value = find(name);
  if (value == nullptr || *value == harmless) return;
  fail(name, fmt::format("'{}' is not supported: {}", name, why));
}

}  // namespace sluice::server
