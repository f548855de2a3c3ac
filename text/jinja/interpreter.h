#pragma once
// Walks the syntax tree of a template and writes what it says.

#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "text/jinja/render_state.h"
#include "text/jinja/syntax.h"

namespace sluice::jinja {

/// Names of one scope: the template, one turn of a loop, one call of a macro … Inner ones see outer
/// ones.
struct Scope {
  std::vector<std::pair<std::string, Value>> variables;
  std::shared_ptr<Scope> parent;
  bool is_emptied_at_end = false;

  explicit Scope(std::shared_ptr<Scope> outer) : parent(std::move(outer)) {}
  const Value* find(std::string_view name) const;  // here and outwards
  void set(std::string_view name, Value value);    // here
};

class Interpreter {
 public:
  /// `state` and the tree outlive the interpreter.
  Interpreter(RenderState& state, std::vector<std::pair<std::string, Value>> variables);

  /// The text, which means nothing if the state failed.
  std::string run(const Body& template_body);

 private:
  enum class Flow { kOn, kBreak, kContinue };

  // Statements, in interpreter.cc.
  Flow execute(const Body& body);
  Flow execute(const Statement& statement);
  Flow execute_if(const Statement& statement);
  void execute_for(const Statement& statement);
  /// Around the loop are `depth` calls of it.
  void run_loop(const Statement& statement, const Value& iterated, int depth);
  void execute_call_block(const Statement& statement);
  void execute_with(const Statement& statement);
  /// A scope for the body's names.
  std::shared_ptr<Scope> open_scope(const Body& body, std::shared_ptr<Scope> outer);
  /// What the body writes, in a scope of its own.
  std::string capture(const Body& body);
  /// What `write` writes within `scope`.
  std::string capture(std::shared_ptr<Scope> scope, const std::function<void()>& write);
  /// For what is known to the scope and knows it.
  void empty_at_end(const std::shared_ptr<Scope>& scope);
  void assign(const Target& target, const Value& value);
  void assign_parts(const Target& target, const Value& value);

  // Macros, in macro.cc.
  Value make_macro(const MacroSyntax& macro);
  Value call_macro(const MacroSyntax& macro, const std::shared_ptr<Scope>& outer,
                   const Arguments& arguments);
  void bind_parameters(const MacroSyntax& macro, const Arguments& arguments);

  // Expressions, in evaluate.cc. Nothing here recurses without going through evaluate().
  Value evaluate(const Expression& expression);
  Value evaluate_kind(const Expression& expression);
  Value evaluate_name(const Expression& expression);
  Value evaluate_list(const Expression& expression);
  Value evaluate_dict(const Expression& expression);
  Value evaluate_slice(const Expression& expression);
  Value evaluate_call(const Expression& expression, const Value* caller);
  Value evaluate_filter(const Expression& expression, const Value* input);
  Value evaluate_test(const Expression& expression);
  Value evaluate_comparison(const Expression& expression);
  Value evaluate_concatenation(const Expression& expression);
  Value evaluate_conditional(const Expression& expression);
  Arguments evaluate_arguments(const CallSyntax& call);
  /// The filters of a block, the innermost of which has no operand.
  Value apply_filters(const Expression& filters, const Value& input);

  RenderState& state_;
  std::shared_ptr<Scope> scope_;
  std::shared_ptr<Scope> template_scope_;
  std::string* out_ = nullptr;
};

/// Functions that every template can call, or nothing.
std::optional<Value> find_global(RenderState& state, std::string_view name);
/// Transformers lets no name that begins with "_" into a namespace; fails for one.
bool check_namespace_name(RenderState& state, std::string_view name);

}  // namespace sluice::jinja
