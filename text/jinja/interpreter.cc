#include "text/jinja/interpreter.h"

#include "text/jinja/formatting.h"
#include "text/jinja/loop.h"

namespace sluice::jinja {
namespace {

/// Puts back what was there before.
template <typename T>
class Restored {
 public:
  explicit Restored(T& place) : place_(place), before_(place) {}
  ~Restored() { place_ = std::move(before_); }
  Restored(const Restored&) = delete;
  Restored& operator=(const Restored&) = delete;
  const T& before() const { return before_; }

 private:
  T& place_;
  T before_;
};

}  // namespace

const Value* Scope::find(std::string_view name) const {
  for (const Scope* scope = this; scope != nullptr; scope = scope->parent.get()) {
    for (const auto& [known, value] : scope->variables) {
      if (known == name) return &value;
    }
  }
  return nullptr;
}

void Scope::set(std::string_view name, Value value) {
  for (auto& [known, old] : variables) {
    if (known == name) {
      old = std::move(value);
      return;
    }
  }
  variables.emplace_back(name, std::move(value));
}

Interpreter::Interpreter(RenderState& state, std::vector<std::pair<std::string, Value>> variables)
    : state_(state) {
  auto given = std::make_shared<Scope>(nullptr);
  given->variables = std::move(variables);
  scope_ = std::move(given);
}

std::string Interpreter::run(const Body& template_body) {
  std::string out;
  out_ = &out;
  scope_ = template_scope_ = open_scope(template_body, scope_);
  execute(template_body);
  return out;
}

Interpreter::Flow Interpreter::execute(const Body& body) {
  const RenderState::Level level(state_);
  if (!level.ok) return Flow::kOn;
  for (const auto& statement : body.statements) {
    if (!state_.spend()) break;
    const Flow flow = execute(*statement);
    if (flow != Flow::kOn) return flow;
  }
  return Flow::kOn;
}

Interpreter::Flow Interpreter::execute(const Statement& statement) {
  state_.set_line(statement.line);
  switch (statement.kind) {
    case StatementKind::kText:
      state_.append(*out_, statement.text);
      break;
    case StatementKind::kOutput:
      append_text(state_, *out_, evaluate(*statement.expression));
      break;
    case StatementKind::kFor:
      execute_for(statement);
      break;
    case StatementKind::kIf:
      return execute_if(statement);
    case StatementKind::kSet:
      assign(statement.target, evaluate(*statement.expression));
      break;
    case StatementKind::kSetBlock: {
      const Value text = state_.text(capture(statement.body));
      assign(statement.target,
             statement.expression == nullptr ? text : apply_filters(*statement.expression, text));
      break;
    }
    case StatementKind::kMacro:
      scope_->set(statement.macro->name, make_macro(*statement.macro));
      break;
    case StatementKind::kCallBlock:
      execute_call_block(statement);
      break;
    case StatementKind::kFilterBlock:
      append_text(state_, *out_,
                  apply_filters(*statement.expression, state_.text(capture(statement.body))));
      break;
    case StatementKind::kWith:
      execute_with(statement);
      break;
    case StatementKind::kScope:
      state_.append(*out_, capture(statement.body));
      break;
    case StatementKind::kBlock: {
      const Restored<std::shared_ptr<Scope>> outer(scope_);
      scope_ = open_scope(statement.body, statement.scoped ? outer.before() : template_scope_);
      execute(statement.body);
      break;
    }
    case StatementKind::kBreak:
      return Flow::kBreak;
    case StatementKind::kContinue:
      return Flow::kContinue;
  }
  return Flow::kOn;
}

Interpreter::Flow Interpreter::execute_if(const Statement& statement) {
  for (const auto& [condition, body] : statement.branches) {
    const bool holds = is_truthy(evaluate(*condition));
    if (state_.failed()) return Flow::kOn;
    if (holds) return execute(body);
  }
  return execute(statement.otherwise);
}

void Interpreter::execute_for(const Statement& statement) {
  const Value iterated = evaluate(*statement.expression);
  if (!state_.failed()) run_loop(statement, iterated, 0);
}

void Interpreter::run_loop(const Statement& statement, const Value& iterated, int depth) {
  const Restored<std::shared_ptr<Scope>> outer(scope_);
  std::function<bool(const Value&)> accepts;
  if (statement.condition != nullptr) {
    accepts = [this, &statement, outside = outer.before()](const Value& item) {
      const Restored<std::shared_ptr<Scope>> turn(scope_);
      scope_ = std::make_shared<Scope>(outside);
      assign(statement.target, item);
      return is_truthy(evaluate(*statement.condition)) && !state_.failed();
    };
  }
  const bool length_known =
      !(iterated.is(Kind::kStream) && iterated.stream().form == Stream::Form::kGenerator);
  const auto loop =
      std::make_shared<Loop>(state_.iterate(iterated), length_known, std::move(accepts));
  if (statement.recursive) {
    empty_at_end(outer.before());
    const auto recursion = [this, &statement, outside = outer.before(), depth](const Value& items) {
      const RenderState::Level level(state_);
      if (!level.ok) return Value();
      return state_.text(capture(outside, [&] { run_loop(statement, items, depth + 1); }));
    };
    loop->make_recursive(recursion, depth);
  }
  bool any = false;
  while (!state_.failed() && loop->advance(state_)) {
    any = true;
    scope_ = open_scope(statement.body, outer.before());
    scope_->set("loop", Value(loop));
    assign(statement.target, loop->current());
    if (execute(statement.body) == Flow::kBreak) break;
  }
  loop->finish();
  if (any || state_.failed()) return;
  scope_ = open_scope(statement.otherwise, outer.before());
  execute(statement.otherwise);
}

std::shared_ptr<Scope> Interpreter::open_scope(const Body& body, std::shared_ptr<Scope> outer) {
  auto scope = std::make_shared<Scope>(std::move(outer));
  for (const std::string& name : body.unset)
    scope->set(name, Value::undefined("'" + name + "' is undefined"));
  return scope;
}

std::string Interpreter::capture(const Body& body) {
  return capture(open_scope(body, scope_), [&] { execute(body); });
}

std::string Interpreter::capture(std::shared_ptr<Scope> scope, const std::function<void()>& write) {
  const Restored<std::shared_ptr<Scope>> outer(scope_);
  const Restored<std::string*> out(out_);
  std::string captured;
  // What is being written outside counts as held meanwhile.
  if (!state_.can_hold(out_->size())) return captured;
  const Metered outside(state_.meter(), out_->size());
  out_ = &captured;
  scope_ = std::move(scope);
  write();
  return captured;
}

void Interpreter::empty_at_end(const std::shared_ptr<Scope>& scope) {
  if (scope->is_emptied_at_end) return;
  scope->is_emptied_at_end = true;
  state_.empty_at_end([scope] { scope->variables.clear(); });
}

void Interpreter::execute_call_block(const Statement& statement) {
  const Value caller = make_macro(*statement.macro);
  append_text(state_, *out_, evaluate_call(*statement.expression, &caller));
}

void Interpreter::execute_with(const Statement& statement) {
  const Restored<std::shared_ptr<Scope>> outer(scope_);
  std::vector<Value> values;  // all of them as the outside sees them
  for (const auto& [target, expression] : statement.bindings)
    values.push_back(evaluate(*expression));
  scope_ = open_scope(statement.body, outer.before());
  for (std::size_t i = 0; i < values.size(); ++i) assign(statement.bindings[i].first, values[i]);
  execute(statement.body);
}

void Interpreter::assign(const Target& target, const Value& value) {
  if (state_.failed()) return;
  if (target.name.empty()) {
    assign_parts(target, value);
  } else if (target.attribute.empty()) {
    scope_->set(target.name, value);
  } else {
    const Value* space = scope_->find(target.name);
    if (space == nullptr || !space->is(Kind::kNamespace) || space->space().is_object) {
      state_.fail("cannot assign attribute on non-namespace object");
    } else if (check_namespace_name(state_, target.attribute)) {
      state_.spend(1 + space->space().members.size() / 8);
      space->space().set(target.attribute, value);
    }
  }
}

void Interpreter::assign_parts(const Target& target, const Value& value) {
  const std::vector<Value> items = state_.iterate(value);
  if (state_.failed()) return;
  if (items.size() != target.parts.size()) {
    state_.fail("cannot unpack " + std::to_string(items.size()) + " values into " +
                std::to_string(target.parts.size()) + " names");
    return;
  }
  for (std::size_t i = 0; i < items.size(); ++i) assign(target.parts[i], items[i]);
}

}  // namespace sluice::jinja
