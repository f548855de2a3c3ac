#include "text/jinja/attributes.h"
#include "text/jinja/filters.h"
#include "text/jinja/formatting.h"
#include "text/jinja/interpreter.h"
#include "text/jinja/loop.h"

namespace sluice::jinja {

Value Interpreter::evaluate(const Expression& expression) {
  const RenderState::Level level(state_);
  if (!level.ok || !state_.spend()) return {};
  state_.set_line(expression.line);
  Value value = evaluate_kind(expression);
  return state_.failed() ? Value() : value;
}

Value Interpreter::evaluate_kind(const Expression& expression) {
  const auto child = [&](std::size_t i) {
    Value value = evaluate(*expression.children[i]);
    state_.set_line(expression.line);
    return value;
  };
  switch (expression.kind) {
    case ExpressionKind::kConstant:
      return expression.constant;
    case ExpressionKind::kName:
      return evaluate_name(expression);
    case ExpressionKind::kList:
    case ExpressionKind::kTuple:
      return evaluate_list(expression);
    case ExpressionKind::kDict:
      return evaluate_dict(expression);
    case ExpressionKind::kAttribute:
      return get_attribute(state_, child(0), expression.name);
    case ExpressionKind::kItem: {
      const Value value = child(0);
      return get_item(state_, value, child(1));
    }
    case ExpressionKind::kSlice:
      return evaluate_slice(expression);
    case ExpressionKind::kCall:
      return evaluate_call(expression, nullptr);
    case ExpressionKind::kFilter:
      return evaluate_filter(expression, nullptr);
    case ExpressionKind::kTest:
      return evaluate_test(expression);
    case ExpressionKind::kArithmetic: {
      const Value left = child(0);
      const Value right = child(1);
      return state_.failed() ? Value() : arithmetic(state_, expression.operators[0], left, right);
    }
    case ExpressionKind::kComparison:
      return evaluate_comparison(expression);
    case ExpressionKind::kConcatenate:
      return evaluate_concatenation(expression);
    case ExpressionKind::kAnd:
    case ExpressionKind::kOr: {
      Value left = child(0);
      return is_truthy(left) == (expression.kind == ExpressionKind::kOr) ? left : child(1);
    }
    case ExpressionKind::kNot:
      return Value::boolean(!is_truthy(child(0)));
    case ExpressionKind::kNegate:
      return negate(state_, child(0));
    case ExpressionKind::kPlus:
      return plus(state_, child(0));
    case ExpressionKind::kConditional:
      return evaluate_conditional(expression);
  }
  return {};
}

Value Interpreter::evaluate_name(const Expression& expression) {
  if (const Value* found = scope_->find(expression.name)) return *found;
  if (auto global = find_global(state_, expression.name)) return *std::move(global);
  return Value::undefined("'" + expression.name + "' is undefined");
}

Value Interpreter::evaluate_list(const Expression& expression) {
  std::vector<Value> items;
  for (const auto& child : expression.children) items.push_back(evaluate(*child));
  return state_.sequence(std::move(items), expression.kind == ExpressionKind::kTuple);
}

Value Interpreter::evaluate_dict(const Expression& expression) {
  std::vector<Entry> entries;
  for (std::size_t i = 0; i + 1 < expression.children.size(); i += 2) {
    Value key = evaluate(*expression.children[i]);
    Value value = evaluate(*expression.children[i + 1]);
    if (state_.failed()) return {};
    state_.add_entry(entries, std::move(key), std::move(value));
  }
  return state_.dict(std::move(entries));
}

Value Interpreter::evaluate_slice(const Expression& expression) {
  const Value value = evaluate(*expression.children[0]);
  Value bounds[3];
  for (std::size_t i = 0; i < 3; ++i) {
    const auto& bound = expression.children[i + 1];
    bounds[i] = bound == nullptr ? Value::none() : evaluate(*bound);
  }
  state_.set_line(expression.line);
  return state_.failed() ? Value() : get_slice(state_, value, bounds[0], bounds[1], bounds[2]);
}

Arguments Interpreter::evaluate_arguments(const CallSyntax& call) {
  Arguments arguments;
  for (const auto& argument : call.positional) arguments.positional.push_back(evaluate(*argument));
  for (const auto& [name, argument] : call.named)
    arguments.named.emplace_back(name, evaluate(*argument));
  if (call.more_positional != nullptr) {
    for (Value& item : state_.iterate(evaluate(*call.more_positional)))
      arguments.positional.push_back(std::move(item));
  }
  if (call.more_named != nullptr) {
    const Value more = evaluate(*call.more_named);
    if (!more.is(Kind::kDict)) {
      state_.fail("argument after ** must be a mapping, not '" + std::string(type_name(more)) +
                  "'");
      return arguments;
    }
    for (const auto& [key, value] : more.dict().entries) {
      if (!key.is(Kind::kText)) {
        state_.fail("keywords must be strings");
        return arguments;
      }
      for (const auto& [known, given] : arguments.named) {
        if (known == key.text())
          state_.fail("got multiple values for keyword argument '" + known + "'");
      }
      arguments.named.emplace_back(key.text(), value);
    }
  }
  return arguments;
}

Value Interpreter::evaluate_call(const Expression& expression, const Value* caller) {
  const Value called = evaluate(*expression.children[0]);
  if (state_.failed()) return {};
  if (called.is(Kind::kUndefined)) return state_.fail_undefined(called);
  if (!called.is(Kind::kCallable) && !called.is(Kind::kLoop))
    return state_.fail("'" + std::string(type_name(called)) + "' object is not callable");
  Arguments arguments = evaluate_arguments(expression.call);
  if (caller != nullptr) arguments.named.emplace_back("caller", *caller);
  if (state_.failed()) return {};
  state_.set_line(expression.line);
  return called.is(Kind::kLoop) ? called.loop().call(state_, arguments)
                                : called.callable().call(state_, arguments);
}

Value Interpreter::evaluate_filter(const Expression& expression, const Value* input) {
  const Filter filter = find_filter(expression.name);
  if (filter == nullptr) return state_.fail("No filter named '" + expression.name + "'.");
  const Value value = input != nullptr ? *input : evaluate(*expression.children[0]);
  const Arguments arguments = evaluate_arguments(expression.call);
  state_.set_line(expression.line);
  return state_.failed() ? Value() : filter(state_, value, arguments);
}

Value Interpreter::apply_filters(const Expression& filters, const Value& input) {
  const RenderState::Level level(state_);
  if (!level.ok) return {};
  const Expression* inner = filters.children[0].get();
  const Value value = inner == nullptr ? input : apply_filters(*inner, input);
  return state_.failed() ? Value() : evaluate_filter(filters, &value);
}

Value Interpreter::evaluate_test(const Expression& expression) {
  const Test test = find_test(expression.name);
  if (test == nullptr) return state_.fail("No test named '" + expression.name + "'.");
  const Value value = evaluate(*expression.children[0]);
  const Arguments arguments = evaluate_arguments(expression.call);
  return state_.failed() ? Value() : Value::boolean(test(state_, value, arguments));
}

Value Interpreter::evaluate_comparison(const Expression& expression) {
  Value left = evaluate(*expression.children[0]);
  for (std::size_t i = 0; i < expression.operators.size(); ++i) {
    Value right = evaluate(*expression.children[i + 1]);
    state_.set_line(expression.line);
    if (state_.failed()) return {};
    if (!compare(state_, expression.operators[i], left, right)) return Value::boolean(false);
    left = std::move(right);
  }
  return Value::boolean(true);
}

Value Interpreter::evaluate_concatenation(const Expression& expression) {
  std::string out;
  for (const auto& child : expression.children) {
    const Value part = evaluate(*child);
    if (state_.failed()) return {};
    append_text(state_, out, part);
  }
  return state_.text(std::move(out));
}

Value Interpreter::evaluate_conditional(const Expression& expression) {
  if (is_truthy(evaluate(*expression.children[1]))) return evaluate(*expression.children[0]);
  if (state_.failed()) return {};
  if (expression.children[2] != nullptr) return evaluate(*expression.children[2]);
  return Value::undefined("the inline if-expression on line " + std::to_string(expression.line) +
                          " evaluated to false and no else section was defined.");
}

}  // namespace sluice::jinja
