#pragma once
// Python's operators on values. All of them fail through the state where Python raises.

#include <string>

#include "text/jinja/render_state.h"

namespace sluice::jinja {

bool equal(RenderState& state, const Value& left, const Value& right);
/// left < right. Numbers, texts, and lists and tuples by their items have an order.
bool less(RenderState& state, const Value& left, const Value& right);
/// item in container
bool contains(RenderState& state, const Value& container, const Value& item);
bool is_hashable(const Value& value);

enum class Operator {
  kAdd,
  kSubtract,
  kMultiply,
  kDivide,
  kFloorDivide,
  kModulo,
  kPower,
  kEqual,
  kNotEqual,
  kLess,
  kLessEqual,
  kGreater,
  kGreaterEqual,
  kIn,
  kNotIn,
};
std::string_view operator_name(Operator op);

/// The first seven. `%` on a text formats.
Value arithmetic(RenderState& state, Operator op, const Value& left, const Value& right);
/// The rest.
bool compare(RenderState& state, Operator op, const Value& left, const Value& right);
Value negate(RenderState& state, const Value& value);
Value plus(RenderState& state, const Value& value);

/// A float as an integer, as int() has it; nothing outside the 64 bits that integers have here.
std::optional<std::int64_t> truncate_to_integer(double value);

}  // namespace sluice::jinja
