#include "text/jinja/scope_analysis.h"

#include <set>

namespace sluice::jinja {
namespace {

/// The names that one scope mentions outside of the scopes within it, in the order of the text.
class ScopeNames {
 public:
  explicit ScopeNames(const ScopeNames* outer) : outer_(outer) {}

  void read(const std::string& name) { known_.insert(name); }

  /// What is set within a condition may come from outside, too.
  void set(const std::string& name, bool conditional) {
    if (!known_.insert(name).second || conditional) return;
    if (outer_ == nullptr || !outer_->knows(name)) unset_.push_back(name);
  }

  void read(const ExpressionPtr& expression) {
    if (expression == nullptr) return;
    if (expression->kind == ExpressionKind::kName) read(expression->name);
    for (const auto& child : expression->children) read(child);
    for (const auto& argument : expression->call.positional) read(argument);
    for (const auto& [name, argument] : expression->call.named) read(argument);
    read(expression->call.more_positional);
    read(expression->call.more_named);
  }

  void set(const Target& target, bool conditional) {
    if (!target.attribute.empty()) {
      read(target.name);
    } else if (!target.name.empty()) {
      set(target.name, conditional);
    }
    for (const Target& part : target.parts) set(part, conditional);
  }

  /// Names that come with a value.
  void bind(const Target& target) {
    if (!target.name.empty()) read(target.name);
    for (const Target& part : target.parts) bind(part);
  }

  void mention(const Body& body, bool conditional) {
    for (const auto& statement : body.statements) mention(*statement, conditional);
  }

  std::vector<std::string> take_unset() { return std::move(unset_); }

 private:
  bool knows(const std::string& name) const {
    return known_.count(name) != 0 || (outer_ != nullptr && outer_->knows(name));
  }

  void mention(const Statement& statement, bool conditional) {
    switch (statement.kind) {
      case StatementKind::kSet:
        read(statement.expression);
        set(statement.target, conditional);
        break;
      case StatementKind::kSetBlock:
        set(statement.target, conditional);
        break;
      case StatementKind::kMacro:
        set(statement.macro->name, conditional);
        break;
      case StatementKind::kIf:
        for (const auto& [condition, body] : statement.branches) {
          read(condition);
          mention(body, true);
        }
        mention(statement.otherwise, true);
        break;
      case StatementKind::kWith:
        for (const auto& [target, value] : statement.bindings) read(value);
        break;
      case StatementKind::kBlock:  // a world of its own
        break;
      default:
        read(statement.expression);  // of a loop only what it walks over
    }
  }

  const ScopeNames* outer_;
  std::set<std::string> known_;
  std::vector<std::string> unset_;
};

void analyze_scopes_in(Body& body, const ScopeNames& names);

/// REQUIRES: what the scope knows from its beginning is in `names`.
void analyze_scope(Body& body, ScopeNames& names) {
  names.mention(body, false);
  body.unset = names.take_unset();
  analyze_scopes_in(body, names);
}

void analyze_macro(MacroSyntax& macro, const ScopeNames& outer) {
  ScopeNames names(&outer);
  for (const std::string& parameter : macro.parameters) names.read(parameter);
  for (const auto& expression : macro.defaults) names.read(expression);
  analyze_scope(macro.body, names);
}

void analyze_scopes_in(Statement& statement, const ScopeNames& outer) {
  ScopeNames names(&outer);
  switch (statement.kind) {
    case StatementKind::kIf:
      for (auto& [condition, body] : statement.branches) analyze_scopes_in(body, outer);
      analyze_scopes_in(statement.otherwise, outer);
      break;
    case StatementKind::kFor: {
      ScopeNames otherwise(&outer);
      names.bind(statement.target);
      names.read("loop");
      analyze_scope(statement.body, names);
      analyze_scope(statement.otherwise, otherwise);
      break;
    }
    case StatementKind::kMacro:
    case StatementKind::kCallBlock:
      analyze_macro(*statement.macro, outer);
      break;
    case StatementKind::kWith:
      for (const auto& [target, value] : statement.bindings) names.bind(target);
      analyze_scope(statement.body, names);
      break;
    case StatementKind::kSetBlock:
    case StatementKind::kFilterBlock:
    case StatementKind::kScope:
      analyze_scope(statement.body, names);
      break;
    case StatementKind::kBlock: {
      ScopeNames own(nullptr);
      analyze_scope(statement.body, own);
      break;
    }
    default:
      break;
  }
}

void analyze_scopes_in(Body& body, const ScopeNames& names) {
  for (auto& statement : body.statements) analyze_scopes_in(*statement, names);
}

}  // namespace

void find_unset_names(Body& template_body) {
  ScopeNames names(nullptr);
  analyze_scope(template_body, names);
}

}  // namespace sluice::jinja
