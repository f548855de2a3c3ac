#include "text/jinja/filters.h"
#include "text/jinja/parser_level.h"

namespace sluice::jinja {

ExpressionPtr Parser::make(ExpressionKind kind, int line) {
  auto made = std::make_unique<Expression>();
  made->kind = kind;
  made->line = line;
  return made;
}

void Parser::count_depth(Expression& parent, const Expression* child) {
  if (child == nullptr) return;
  // Operators that group to the left make trees deep without recursion.
  if (child->depth >= kMaxSyntaxDepth) fail("an expression is nested too deeply");
  parent.depth = std::max(parent.depth, child->depth + 1);
}

void Parser::add_child(Expression& parent, ExpressionPtr child) {
  count_depth(parent, child.get());
  parent.children.push_back(std::move(child));
}

void Parser::set_call(Expression& parent, CallSyntax call) {
  for (const auto& argument : call.positional) count_depth(parent, argument.get());
  for (const auto& [name, argument] : call.named) count_depth(parent, argument.get());
  count_depth(parent, call.more_positional.get());
  count_depth(parent, call.more_named.get());
  parent.call = std::move(call);
}

void Parser::note_unknown(const std::string& message) {
  if (conditionals_ > 0) return;
  unknown_.emplace_back(ErrorCode::kUnsupported,
                        "line " + std::to_string(tokens_[at_].line) + ": " + message);
}

ExpressionPtr Parser::tuple(bool with_conditional, bool parenthesized, std::string_view end_name) {
  const Level level(*this);
  const int line = current().line;
  const auto at_end = [&] {
    return is(TokenKind::kVariableEnd) || is(TokenKind::kBlockEnd) || is_operator(")") ||
           (!end_name.empty() && is_name(end_name));
  };
  std::vector<ExpressionPtr> items;
  bool is_tuple = false;
  while (!failed()) {
    if (!items.empty()) expect_operator(",");
    if (at_end()) break;
    items.push_back(with_conditional ? conditional() : disjunction());
    if (!is_operator(",")) break;
    is_tuple = true;
  }
  if (!is_tuple && !items.empty()) return std::move(items.front());
  if (!is_tuple && !parenthesized) fail("Expected an expression, got " + describe_current());
  auto made = make(ExpressionKind::kTuple, line);
  for (auto& item : items) add_child(*made, std::move(item));
  return made;
}

ExpressionPtr Parser::conditional() {
  const Level level(*this);
  const std::size_t unknown = unknown_.size();
  auto value = disjunction();
  while (is_name("if")) {
    unknown_.resize(unknown);  // what came first is conditional after all
    auto made = make(ExpressionKind::kConditional, next().line);
    ++conditionals_;
    add_child(*made, std::move(value));
    add_child(*made, disjunction());
    add_child(*made, skip_name("else") ? conditional() : nullptr);
    --conditionals_;
    value = std::move(made);
  }
  return value;
}

ExpressionPtr Parser::disjunction() {
  auto left = conjunction();
  while (is_name("or")) {
    auto made = make(ExpressionKind::kOr, next().line);
    add_child(*made, std::move(left));
    add_child(*made, conjunction());
    left = std::move(made);
  }
  return left;
}

ExpressionPtr Parser::conjunction() {
  auto left = negation();
  while (is_name("and")) {
    auto made = make(ExpressionKind::kAnd, next().line);
    add_child(*made, std::move(left));
    add_child(*made, negation());
    left = std::move(made);
  }
  return left;
}

ExpressionPtr Parser::negation() {
  if (!is_name("not")) return comparison();
  const Level level(*this);
  auto made = make(ExpressionKind::kNot, next().line);
  add_child(*made, negation());
  return made;
}

ExpressionPtr Parser::comparison() {
  auto first = arithmetic(0);
  auto made = make(ExpressionKind::kComparison, current().line);
  const auto found = [&]() -> std::optional<Operator> {
    constexpr Operator kOperators[] = {Operator::kEqual,   Operator::kNotEqual,
                                       Operator::kLess,    Operator::kLessEqual,
                                       Operator::kGreater, Operator::kGreaterEqual};
    for (const Operator op : kOperators) {
      if (skip_operator(operator_name(op))) return op;
    }
    if (skip_name("in")) return Operator::kIn;
    if (is_name("not") && ahead().kind == TokenKind::kName && ahead().text == "in") {
      next();
      next();
      return Operator::kNotIn;
    }
    return {};
  };
  while (const auto op = found()) {
    if (made->children.empty()) add_child(*made, std::move(first));
    made->operators.push_back(*op);
    add_child(*made, arithmetic(0));
  }
  return made->children.empty() ? std::move(first) : std::move(made);
}

ExpressionPtr Parser::arithmetic(int level) {
  constexpr Operator kOperators[] = {Operator::kAdd,    Operator::kSubtract,    Operator::kMultiply,
                                     Operator::kDivide, Operator::kFloorDivide, Operator::kModulo,
                                     Operator::kPower};
  const auto level_of = [](Operator op) {
    return op == Operator::kAdd || op == Operator::kSubtract ? 0 : op == Operator::kPower ? 3 : 2;
  };
  if (level == 4) return unary(true);
  auto left = arithmetic(level + 1);
  if (level == 1) {
    if (!is_operator("~")) return left;
    auto made = make(ExpressionKind::kConcatenate, current().line);
    add_child(*made, std::move(left));
    while (skip_operator("~")) add_child(*made, arithmetic(2));
    return made;
  }
  while (!failed()) {
    const Operator* found = nullptr;
    for (const Operator& op : kOperators) {
      if (level_of(op) == level && is_operator(operator_name(op))) found = &op;
    }
    if (found == nullptr) break;
    auto made = make(ExpressionKind::kArithmetic, next().line);
    made->operators.push_back(*found);
    add_child(*made, std::move(left));
    add_child(*made, arithmetic(level + 1));
    left = std::move(made);
  }
  return left;
}

ExpressionPtr Parser::unary(bool with_filters) {
  ExpressionPtr value;
  if (is_operator("-") || is_operator("+")) {
    const Level level(*this);
    value =
        make(is_operator("-") ? ExpressionKind::kNegate : ExpressionKind::kPlus, current().line);
    next();
    add_child(*value, unary(false));
  } else {
    value = primary();
  }
  value = postfix(std::move(value));
  return with_filters ? filters_and_tests(std::move(value)) : std::move(value);
}

void Parser::note_use_of(std::string_view name) {
  for (MacroSyntax* macro : macros_) {
    macro->uses_caller = macro->uses_caller || name == "caller";
    macro->uses_named = macro->uses_named || name == "kwargs";
    macro->uses_positional = macro->uses_positional || name == "varargs";
  }
}

ExpressionPtr Parser::primary() {
  const int line = current().line;
  auto made = make(ExpressionKind::kConstant, line);
  switch (current().kind) {
    case TokenKind::kName: {
      const std::string name = next().text;
      if (name == "true" || name == "True") {
        made->constant = Value::boolean(true);
      } else if (name == "false" || name == "False") {
        made->constant = Value::boolean(false);
      } else if (name == "none" || name == "None") {
        made->constant = Value::none();
      } else {
        note_use_of(name);
        made->kind = ExpressionKind::kName;
        made->name = name;
      }
      return made;
    }
    case TokenKind::kText: {
      std::string text;
      while (is(TokenKind::kText)) text += next().text;
      made->constant = constant_text(std::move(text));
      return made;
    }
    case TokenKind::kInteger:
      made->constant = Value::integer(next().integer);
      return made;
    case TokenKind::kReal:
      made->constant = Value::real(next().real);
      return made;
    default:
      break;
  }
  if (skip_operator("(")) {
    made = tuple(true, true);
    expect_operator(")");
    return made;
  }
  if (is_operator("[")) return literal_list();
  if (is_operator("{")) return literal_dict();
  fail("unexpected " + describe_current());
  return made;
}

ExpressionPtr Parser::literal_list() {
  auto made = make(ExpressionKind::kList, next().line);
  while (!is_operator("]") && !failed()) {
    if (!made->children.empty()) expect_operator(",");
    if (is_operator("]")) break;
    add_child(*made, expression());
  }
  expect_operator("]");
  return made;
}

ExpressionPtr Parser::literal_dict() {
  auto made = make(ExpressionKind::kDict, next().line);
  while (!is_operator("}") && !failed()) {
    if (!made->children.empty()) expect_operator(",");
    if (is_operator("}")) break;
    add_child(*made, expression());
    expect_operator(":");
    add_child(*made, expression());
  }
  expect_operator("}");
  return made;
}

ExpressionPtr Parser::postfix(ExpressionPtr value) {
  while (!failed()) {
    if (is_operator(".") || is_operator("[")) {
      value = subscript(std::move(value));
    } else if (is_operator("(")) {
      auto made = make(ExpressionKind::kCall, current().line);
      add_child(*made, std::move(value));
      set_call(*made, call_arguments());
      value = std::move(made);
    } else {
      break;
    }
  }
  return value;
}

ExpressionPtr Parser::filters_and_tests(ExpressionPtr value) {
  while (!failed()) {
    if (skip_operator("|")) {
      value = filter(std::move(value));
    } else if (skip_name("is")) {
      value = test(std::move(value));
    } else if (is_operator("(")) {
      auto made = make(ExpressionKind::kCall, current().line);
      add_child(*made, std::move(value));
      set_call(*made, call_arguments());
      value = std::move(made);
    } else {
      break;
    }
  }
  return value;
}

ExpressionPtr Parser::subscript(ExpressionPtr value) {
  const int line = current().line;
  if (skip_operator(".")) {
    if (is(TokenKind::kInteger)) {
      auto made = make(ExpressionKind::kItem, line);
      add_child(*made, std::move(value));
      add_child(*made, primary());
      return made;
    }
    auto made = make(ExpressionKind::kAttribute, line);
    add_child(*made, std::move(value));
    made->name = expect_any_name();
    return made;
  }
  expect_operator("[");
  std::vector<ExpressionPtr> bounds;  // value, start, stop, step, as far as they are written
  const auto bound = [&] {
    bounds.push_back(is_operator(":") || is_operator("]") ? nullptr : expression());
  };
  bound();
  const bool slice = is_operator(":");
  while (slice && bounds.size() < 3) {
    if (skip_operator(":")) {
      bound();
    } else {
      bounds.push_back(nullptr);
    }
  }
  if (!slice && bounds[0] != nullptr && is_operator(",")) {  // a tuple as the key
    auto key = make(ExpressionKind::kTuple, line);
    add_child(*key, std::move(bounds[0]));
    while (skip_operator(",")) {
      if (is_operator("]")) break;
      add_child(*key, expression());
    }
    bounds[0] = std::move(key);
  }
  expect_operator("]");
  auto made = make(slice ? ExpressionKind::kSlice : ExpressionKind::kItem, line);
  add_child(*made, std::move(value));
  if (!slice && bounds[0] == nullptr) bounds[0] = make(ExpressionKind::kTuple, line);  // value[]
  for (auto& part : bounds) add_child(*made, std::move(part));
  return made;
}

std::string Parser::dotted_name() {
  std::string name = expect_any_name();
  while (skip_operator(".")) name += "." + expect_any_name();
  return name;
}

ExpressionPtr Parser::filter(ExpressionPtr value) {
  auto made = make(ExpressionKind::kFilter, current().line);
  made->name = dotted_name();
  if (find_filter(made->name) == nullptr) note_unknown("No filter named '" + made->name + "'.");
  add_child(*made, std::move(value));
  if (is_operator("(")) set_call(*made, call_arguments());
  return made;
}

ExpressionPtr Parser::test(ExpressionPtr value) {
  const int line = current().line;
  const bool negated = skip_name("not");
  auto made = make(ExpressionKind::kTest, line);
  made->name = dotted_name();
  if (find_test(made->name) == nullptr) note_unknown("No test named '" + made->name + "'.");
  add_child(*made, std::move(value));
  const bool argument =
      is(TokenKind::kText) || is(TokenKind::kInteger) || is(TokenKind::kReal) || is_operator("[") ||
      is_operator("{") ||
      (is(TokenKind::kName) && !is_name("else") && !is_name("or") && !is_name("and"));
  if (is_operator("(")) {
    set_call(*made, call_arguments());
  } else if (argument) {
    if (is_name("is")) fail("You cannot chain multiple tests with is");
    CallSyntax call;
    call.positional.push_back(postfix(primary()));
    set_call(*made, std::move(call));
  }
  if (!negated) return made;
  auto inverse = make(ExpressionKind::kNot, line);
  add_child(*inverse, std::move(made));
  return inverse;
}

CallSyntax Parser::call_arguments() {
  const Level level(*this);
  CallSyntax call;
  const auto ensure = [&](bool holds) {
    if (!holds) fail("invalid syntax for function call expression");
  };
  expect_operator("(");
  bool first = true;
  while (!is_operator(")") && !failed()) {
    if (!first) {
      expect_operator(",");
      if (is_operator(")")) break;
    }
    first = false;
    if (skip_operator("*")) {
      ensure(call.more_positional == nullptr && call.more_named == nullptr);
      call.more_positional = expression();
    } else if (skip_operator("**")) {
      ensure(call.more_named == nullptr);
      call.more_named = expression();
    } else if (is(TokenKind::kName) && ahead().kind == TokenKind::kOperator &&
               ahead().text == "=") {
      ensure(call.more_named == nullptr);
      std::string name = next().text;
      next();
      for (const auto& [known, argument] : call.named) {
        if (known == name) fail("keyword argument repeated: " + name);
      }
      call.named.emplace_back(std::move(name), expression());
    } else {
      ensure(call.more_positional == nullptr && call.more_named == nullptr && call.named.empty());
      call.positional.push_back(expression());
    }
  }
  expect_operator(")");
  return call;
}

}  // namespace sluice::jinja
