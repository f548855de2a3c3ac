#include "text/jinja/operators.h"

#include <cmath>

#include "text/jinja/code_points.h"
#include "text/jinja/formatting.h"

namespace sluice::jinja {
namespace {

int order(const Value& left, const Value& right) {  // of numbers, neither of them NaN
  if (left.is_integral() && right.is_integral()) {
    return left.integer() < right.integer() ? -1 : left.integer() > right.integer();
  }
  // Exact: a long double holds every 64-bit integer on the processors that this runs on.
  const auto exact = [](const Value& value) -> long double {
    return value.is(Kind::kReal) ? static_cast<long double>(value.real())
                                 : static_cast<long double>(value.integer());
  };
  return exact(left) < exact(right) ? -1 : exact(left) > exact(right);
}

bool is_nan(const Value& value) { return value.is(Kind::kReal) && std::isnan(value.real()); }

bool equal_items(RenderState& state, const std::vector<Value>& left,
                 const std::vector<Value>& right) {
  if (left.size() != right.size()) return false;
  for (std::size_t i = 0; i < left.size(); ++i) {
    if (!equal(state, left[i], right[i])) return false;
  }
  return true;
}

const Value* find_entry(RenderState& state, const Dict& dict, const Value& key) {
  if (key.is(Kind::kText)) {
    state.spend(1 + dict.entries.size() / 8);
    return dict.find(key.text());
  }
  for (const auto& [known, value] : dict.entries) {
    if (equal(state, known, key)) return &value;
  }
  return nullptr;
}

bool equal_dicts(RenderState& state, const Dict& left, const Dict& right) {
  if (left.entries.size() != right.entries.size()) return false;
  for (const auto& [key, value] : left.entries) {
    const Value* other = find_entry(state, right, key);
    if (other == nullptr || !equal(state, value, *other)) return false;
  }
  return true;
}

Value overflow(RenderState& state) { return state.fail("an integer does not fit into 64 bits"); }

Value unsupported(RenderState& state, Operator op, const Value& left, const Value& right) {
  return state.fail("unsupported operand type(s) for " + std::string(operator_name(op)) + ": '" +
                    std::string(type_name(left)) + "' and '" + std::string(type_name(right)) + "'");
}

double floor_modulo(double left, double right) {
  double rest = std::fmod(left, right);
  if (rest != 0) {
    if ((right < 0) != (rest < 0)) rest += right;
  } else {
    rest = std::copysign(0.0, right);
  }
  return rest;
}

double floor_divide(double left, double right) {
  const double quotient = (left - floor_modulo(left, right)) / right;
  if (quotient == 0) return std::copysign(0.0, left / right);
  const double floored = std::floor(quotient);
  return quotient - floored > 0.5 ? floored + 1 : floored;
}

Value integer_power(RenderState& state, std::int64_t base, std::int64_t exponent) {
  std::int64_t result = 1;
  while (exponent > 0) {
    if ((exponent & 1) != 0 && __builtin_mul_overflow(result, base, &result))
      return overflow(state);
    exponent >>= 1;
    if (exponent > 0 && __builtin_mul_overflow(base, base, &base)) return overflow(state);
  }
  return Value::integer(result);
}

Value integer_arithmetic(RenderState& state, Operator op, std::int64_t left, std::int64_t right) {
  std::int64_t result = 0;
  switch (op) {
    case Operator::kAdd:
      return __builtin_add_overflow(left, right, &result) ? overflow(state)
                                                          : Value::integer(result);
    case Operator::kSubtract:
      return __builtin_sub_overflow(left, right, &result) ? overflow(state)
                                                          : Value::integer(result);
    case Operator::kMultiply:
      return __builtin_mul_overflow(left, right, &result) ? overflow(state)
                                                          : Value::integer(result);
    case Operator::kFloorDivide:
    case Operator::kModulo: {
      if (right == 0) return state.fail("integer division or modulo by zero");
      if (right == -1) {  // the one divisor whose quotient may not fit
        if (op == Operator::kModulo) return Value::integer(0);
        return __builtin_sub_overflow(std::int64_t{0}, left, &result) ? overflow(state)
                                                                      : Value::integer(result);
      }
      const std::int64_t rest = left % right;
      const bool other_side = rest != 0 && (rest < 0) != (right < 0);
      if (op == Operator::kModulo) return Value::integer(other_side ? rest + right : rest);
      return Value::integer(left / right - (other_side ? 1 : 0));
    }
    default:
      return integer_power(state, left, right);
  }
}

Value real_arithmetic(RenderState& state, Operator op, double left, double right) {
  switch (op) {
    case Operator::kAdd:
      return Value::real(left + right);
    case Operator::kSubtract:
      return Value::real(left - right);
    case Operator::kMultiply:
      return Value::real(left * right);
    case Operator::kPower: {
      if (left == 0 && right < 0) return state.fail("0.0 cannot be raised to a negative power");
      if (left < 0 && std::isfinite(right) && std::floor(right) != right) {
        return state.fail("complex numbers are not supported");
      }
      const double power = std::pow(left, right);
      if (std::isinf(power) && std::isfinite(left) && std::isfinite(right))
        return state.fail("Numerical result out of range");
      return Value::real(power);
    }
    default:
      break;
  }
  if (right == 0) return state.fail("division by zero");
  if (op == Operator::kDivide) return Value::real(left / right);
  return Value::real(op == Operator::kModulo ? floor_modulo(left, right)
                                             : floor_divide(left, right));
}

Value number_arithmetic(RenderState& state, Operator op, const Value& left, const Value& right) {
  const bool integral = left.is_integral() && right.is_integral() && op != Operator::kDivide &&
                        !(op == Operator::kPower && right.integer() < 0);
  return integral ? integer_arithmetic(state, op, left.integer(), right.integer())
                  : real_arithmetic(state, op, left.real(), right.real());
}

Value repeat(RenderState& state, const Value& value, std::int64_t times) {
  const bool is_text = value.is(Kind::kText);
  const std::size_t size = is_text ? value.text().size() : value.items().size() * sizeof(Value);
  const std::size_t count = times < 0 ? 0 : static_cast<std::size_t>(times);
  if (size != 0 && count > state.limits().memory_bytes / size)
    return state.fail("a repetition is too long");
  if (!state.spend(1 + size * count / 64)) return {};
  if (is_text) {
    std::string out;
    if (size != 0) out.reserve(size * count);
    for (std::size_t i = 0; size != 0 && i < count; ++i) out += value.text();
    return state.text(std::move(out), value.is_markup());
  }
  std::vector<Value> items;
  for (std::size_t i = 0; size != 0 && i < count; ++i) {
    items.insert(items.end(), value.items().begin(), value.items().end());
  }
  return state.sequence(std::move(items), value.list().is_tuple);
}

Value concatenate(RenderState& state, const Value& left, const Value& right) {
  if (left.is(Kind::kText)) {
    const bool markup = left.is_markup() || right.is_markup();
    const auto part = [&](const Value& value) {
      return markup && !value.is_markup() ? escape_html(value.text()) : value.text();
    };
    if (!state.spend_bytes(left.text().size() + right.text().size())) return {};
    return state.text(part(left) + part(right), markup);
  }
  std::vector<Value> items = left.items();
  items.insert(items.end(), right.items().begin(), right.items().end());
  return state.sequence(std::move(items), left.list().is_tuple);
}

bool is_sequence(const Value& value) { return value.is(Kind::kText) || value.is(Kind::kList); }

}  // namespace

bool equal(RenderState& state, const Value& left, const Value& right) {
  if (!state.spend()) return false;
  if (left.is_number() && right.is_number())
    return !is_nan(left) && !is_nan(right) && order(left, right) == 0;
  if (left.kind() != right.kind()) return false;
  switch (left.kind()) {
    case Kind::kText:
      return state.spend_bytes(left.text().size()) && left.text() == right.text();
    case Kind::kList:
      return left.list().is_tuple == right.list().is_tuple &&
             equal_items(state, left.items(), right.items());
    case Kind::kDict:
      return equal_dicts(state, left.dict(), right.dict());
    case Kind::kUndefined:
      return true;
    case Kind::kStream:
      if (left.stream().form == Stream::Form::kRange &&
          right.stream().form == Stream::Form::kRange) {
        return equal_items(state, left.stream().items, right.stream().items);
      }
      return left.is_same(right);
    default:
      return left.is_same(right);
  }
}

bool less(RenderState& state, const Value& left, const Value& right) {
  if (!state.spend()) return false;
  if (left.is_number() && right.is_number())
    return !is_nan(left) && !is_nan(right) && order(left, right) < 0;
  if (left.is(Kind::kText) && right.is(Kind::kText)) {
    return state.spend_bytes(left.text().size()) &&
           left.text() < right.text();  // UTF-8 sorts as its code points do
  }
  if (left.is(Kind::kList) && right.is(Kind::kList) &&
      left.list().is_tuple == right.list().is_tuple) {
    const auto& a = left.items();
    const auto& b = right.items();
    for (std::size_t i = 0; i < a.size() && i < b.size(); ++i) {
      if (!equal(state, a[i], b[i])) return less(state, a[i], b[i]);
    }
    return a.size() < b.size();
  }
  if (left.is(Kind::kUndefined) || right.is(Kind::kUndefined)) {
    state.fail_undefined(left.is(Kind::kUndefined) ? left : right);
    return false;
  }
  state.fail("values of types '" + std::string(type_name(left)) + "' and '" +
             std::string(type_name(right)) + "' have no order");
  return false;
}

bool contains(RenderState& state, const Value& container, const Value& item) {
  switch (container.kind()) {
    case Kind::kText:
      if (!item.is(Kind::kText)) {
        state.fail("'in <string>' requires string as left operand, not " +
                   std::string(type_name(item)));
        return false;
      }
      return state.spend_bytes(container.text().size()) &&
             container.text().find(item.text()) != std::string::npos;
    case Kind::kDict:
      if (!is_hashable(item)) {
        state.fail("unhashable type: '" + std::string(type_name(item)) + "'");
        return false;
      }
      return find_entry(state, container.dict(), item) != nullptr;
    default:
      break;
  }
  const bool keys = container.is(Kind::kStream) && container.stream().form == Stream::Form::kKeys;
  if (keys && !is_hashable(item)) {
    state.fail("unhashable type: '" + std::string(type_name(item)) + "'");
    return false;
  }
  for (const Value& candidate : state.iterate(container)) {
    if (state.failed()) return false;
    if (candidate.is_same(item) || equal(state, candidate, item)) return true;
  }
  return false;
}

bool is_hashable(const Value& value) {
  if (value.is(Kind::kDict)) return false;
  if (value.is(Kind::kStream)) {
    return value.stream().form != Stream::Form::kKeys &&
           value.stream().form != Stream::Form::kItems;
  }
  if (!value.is(Kind::kList)) return true;
  if (!value.list().is_tuple) return false;
  for (const Value& item : value.items()) {
    if (!is_hashable(item)) return false;
  }
  return true;
}

std::string_view operator_name(Operator op) {
  switch (op) {
    case Operator::kAdd:
      return "+";
    case Operator::kSubtract:
      return "-";
    case Operator::kMultiply:
      return "*";
    case Operator::kDivide:
      return "/";
    case Operator::kFloorDivide:
      return "//";
    case Operator::kModulo:
      return "%";
    case Operator::kPower:
      return "**";
    case Operator::kEqual:
      return "==";
    case Operator::kNotEqual:
      return "!=";
    case Operator::kLess:
      return "<";
    case Operator::kLessEqual:
      return "<=";
    case Operator::kGreater:
      return ">";
    case Operator::kGreaterEqual:
      return ">=";
    case Operator::kIn:
      return "in";
    case Operator::kNotIn:
      return "not in";
  }
  return "?";
}

Value arithmetic(RenderState& state, Operator op, const Value& left, const Value& right) {
  if (op == Operator::kModulo && left.is(Kind::kText)) return format_percent(state, left, right);
  if (left.is(Kind::kUndefined)) return state.fail_undefined(left);
  if (right.is(Kind::kUndefined)) return state.fail_undefined(right);
  if (left.is_number() && right.is_number()) return number_arithmetic(state, op, left, right);
  if (op == Operator::kAdd && left.kind() == right.kind() && is_sequence(left) &&
      (left.is(Kind::kText) || left.list().is_tuple == right.list().is_tuple)) {
    return concatenate(state, left, right);
  }
  if (op == Operator::kMultiply && is_sequence(left) && right.is_integral())
    return repeat(state, left, right.integer());
  if (op == Operator::kMultiply && left.is_integral() && is_sequence(right))
    return repeat(state, right, left.integer());
  return unsupported(state, op, left, right);
}

bool compare(RenderState& state, Operator op, const Value& left, const Value& right) {
  switch (op) {
    case Operator::kEqual:
      return equal(state, left, right);
    case Operator::kNotEqual:
      return !equal(state, left, right);
    case Operator::kIn:
      return contains(state, right, left);
    case Operator::kNotIn:
      return !contains(state, right, left);
    case Operator::kLess:
      return less(state, left, right);
    case Operator::kGreater:
      return less(state, right, left);
    default:
      break;
  }
  const bool strictly =
      op == Operator::kLessEqual ? less(state, left, right) : less(state, right, left);
  return strictly || (!state.failed() && equal(state, left, right));
}

Value negate(RenderState& state, const Value& value) {
  if (value.is_integral())
    return integer_arithmetic(state, Operator::kSubtract, 0, value.integer());
  if (value.is(Kind::kReal)) return Value::real(-value.real());
  if (value.is(Kind::kUndefined)) return state.fail_undefined(value);
  return state.fail("bad operand type for unary -: '" + std::string(type_name(value)) + "'");
}

Value plus(RenderState& state, const Value& value) {
  if (value.is_integral()) return Value::integer(value.integer());
  if (value.is(Kind::kReal)) return value;
  if (value.is(Kind::kUndefined)) return state.fail_undefined(value);
  return state.fail("bad operand type for unary +: '" + std::string(type_name(value)) + "'");
}

std::optional<std::int64_t> truncate_to_integer(double value) {
  if (!(value > -9.3e18 && value < 9.3e18)) return {};
  const double whole = std::trunc(value);
  if (whole < -9223372036854775808.0 || whole >= 9223372036854775808.0) return {};
  return static_cast<std::int64_t>(whole);
}

}  // namespace sluice::jinja
