// What may stand after `is`.

#include "text/jinja/code_points.h"
#include "text/jinja/filters.h"
#include "text/jinja/formatting.h"
#include "text/jinja/operators.h"
#include "text/jinja/parameters.h"

namespace sluice::jinja {
namespace {

template <bool (*kHolds)(const Value&)>
bool simple(RenderState& state, const Value& input, const Arguments& arguments) {
  const Parameters parameters(state, "test", arguments, {});
  return kHolds(input);
}

template <Operator kOperator>
bool compares(RenderState& state, const Value& input, const Arguments& arguments) {
  const Parameters parameters(state, "test", arguments, {""}, 1);
  return !state.failed() && compare(state, kOperator, input, *parameters.get(0));
}

bool remainder_is(RenderState& state, const Value& input, const Value& divisor,
                  std::int64_t wanted) {
  const Value rest = arithmetic(state, Operator::kModulo, input, divisor);
  return !state.failed() && equal(state, rest, Value::integer(wanted));
}

bool is_odd(RenderState& state, const Value& input, const Arguments& arguments) {
  const Parameters parameters(state, "odd", arguments, {});
  return remainder_is(state, input, Value::integer(2), 1);
}

bool is_even(RenderState& state, const Value& input, const Arguments& arguments) {
  const Parameters parameters(state, "even", arguments, {});
  return remainder_is(state, input, Value::integer(2), 0);
}

bool is_divisible(RenderState& state, const Value& input, const Arguments& arguments) {
  const Parameters parameters(state, "divisibleby", arguments, {"num"}, 1);
  return !state.failed() && remainder_is(state, input, *parameters.get(0), 0);
}

bool is_same(RenderState& state, const Value& input, const Arguments& arguments) {
  const Parameters parameters(state, "sameas", arguments, {"other"}, 1);
  return !state.failed() && input.is_same(*parameters.get(0));
}

template <TextClass kClass>
bool is_cased(RenderState& state, const Value& input, const Arguments& arguments) {
  const Parameters parameters(state, "test", arguments, {});
  return is_all(kClass, to_text(state, input));
}

bool is_filter(RenderState&, const Value& input, const Arguments&) {
  return input.is(Kind::kText) && find_filter(input.text()) != nullptr;
}
bool is_test(RenderState&, const Value& input, const Arguments&) {
  return input.is(Kind::kText) && find_test(input.text()) != nullptr;
}

bool is_range_or_view(const Value& value) {
  return value.is(Kind::kStream) && value.stream().form == Stream::Form::kRange;
}

template <Kind kKind>
bool is_kind(const Value& value) {
  return value.is(kKind);
}
bool is_defined(const Value& value) { return !value.is(Kind::kUndefined); }
bool is_boolean(const Value& value, bool wanted) {
  return value.is(Kind::kBoolean) && value.boolean() == wanted;
}
bool is_true(const Value& value) { return is_boolean(value, true); }
bool is_false(const Value& value) { return is_boolean(value, false); }
bool is_number(const Value& value) { return value.is_number(); }
bool is_escaped(const Value& value) { return value.is_markup(); }
bool is_callable(
    const Value& value) {  // an undefined value and a loop can be called, if only to fail
  return value.is(Kind::kCallable) || value.is(Kind::kUndefined) || value.is(Kind::kLoop);
}
bool is_sequence(const Value& value) {
  return value.is(Kind::kText) || value.is(Kind::kList) || value.is(Kind::kDict) ||
         value.is(Kind::kUndefined) || is_range_or_view(value);
}
bool is_iterable(const Value& value) {
  return is_sequence(value) || value.is(Kind::kStream) || value.is(Kind::kLoop);
}

struct NamedTest {
  std::string_view name;
  Test test;
};
constexpr NamedTest kTests[] = {
    {"!=", compares<Operator::kNotEqual>},
    {"<", compares<Operator::kLess>},
    {"<=", compares<Operator::kLessEqual>},
    {"==", compares<Operator::kEqual>},
    {">", compares<Operator::kGreater>},
    {">=", compares<Operator::kGreaterEqual>},
    {"boolean", simple<is_kind<Kind::kBoolean>>},
    {"callable", simple<is_callable>},
    {"defined", simple<is_defined>},
    {"divisibleby", is_divisible},
    {"eq", compares<Operator::kEqual>},
    {"equalto", compares<Operator::kEqual>},
    {"escaped", simple<is_escaped>},
    {"even", is_even},
    {"false", simple<is_false>},
    {"filter", is_filter},
    {"float", simple<is_kind<Kind::kReal>>},
    {"ge", compares<Operator::kGreaterEqual>},
    {"greaterthan", compares<Operator::kGreater>},
    {"gt", compares<Operator::kGreater>},
    {"in", compares<Operator::kIn>},
    {"integer", simple<is_kind<Kind::kInteger>>},
    {"iterable", simple<is_iterable>},
    {"le", compares<Operator::kLessEqual>},
    {"lessthan", compares<Operator::kLess>},
    {"lower", is_cased<TextClass::kLower>},
    {"lt", compares<Operator::kLess>},
    {"mapping", simple<is_kind<Kind::kDict>>},
    {"ne", compares<Operator::kNotEqual>},
    {"none", simple<is_kind<Kind::kNone>>},
    {"number", simple<is_number>},
    {"odd", is_odd},
    {"sameas", is_same},
    {"sequence", simple<is_sequence>},
    {"string", simple<is_kind<Kind::kText>>},
    {"test", is_test},
    {"true", simple<is_true>},
    {"undefined", simple<is_kind<Kind::kUndefined>>},
    {"upper", is_cased<TextClass::kUpper>},
};

}  // namespace

Test find_test(std::string_view name) {
  for (const NamedTest& entry : kTests) {
    if (entry.name == name) return entry.test;
  }
  return nullptr;
}

}  // namespace sluice::jinja
