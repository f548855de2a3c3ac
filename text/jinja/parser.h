#pragma once
// Reads statements and expressions with jinja2's precedences. Errors are sticky: after the first
// one there are no more tokens, so that every loop ends.

#include <initializer_list>
#include <string>
#include <string_view>
#include <vector>

#include "text/jinja/lexer.h"
#include "text/jinja/syntax.h"

namespace sluice::jinja {

class Parser {
 public:
  explicit Parser(std::vector<Token> tokens) : tokens_(std::move(tokens)) {}

  /// The whole template. Errors: the first thing that is wrong, with its line.
  Result<Body> parse();

 private:
  // Tokens.
  const Token& current() const { return failed() ? tokens_.back() : tokens_[at_]; }
  const Token& ahead() const {
    return failed() || at_ + 1 >= tokens_.size() ? tokens_.back() : tokens_[at_ + 1];
  }
  Token next();
  bool is(TokenKind kind) const { return current().kind == kind; }
  bool is_operator(std::string_view text) const {
    return is(TokenKind::kOperator) && current().text == text;
  }
  bool is_name(std::string_view text) const {
    return is(TokenKind::kName) && current().text == text;
  }
  bool skip_operator(std::string_view text);
  bool skip_name(std::string_view text);
  void expect_operator(std::string_view text);
  void expect_name(std::string_view text);
  void expect(TokenKind kind, std::string_view what);
  std::string expect_any_name();
  void fail(const std::string& message, ErrorCode code = ErrorCode::kCorrupt);
  bool failed() const { return !error_.ok(); }
  std::string describe_current() const;

  // Statements.
  using Names = std::initializer_list<std::string_view>;
  /// Up to a tag that begins with one of `ends` (which is current() then), or the end of the
  /// template.
  Body statements_until(Names ends);
  /// The end of this tag, then statements; the final tag's name is taken too, if there can be only
  /// one.
  Body body_until(Names ends);
  void statement(Body& body);
  void for_statement(Statement& statement);
  void if_statement(Statement& statement);
  void set_statement(Statement& statement);
  void macro_statement(Statement& statement);
  void call_statement(Statement& statement);
  void with_statement(Statement& statement);
  void block_statement(Statement& statement);
  void print_statement(Body& body);
  void signature(MacroSyntax& macro);
  void macro_body(MacroSyntax& macro, std::string_view end);
  Target target(bool with_namespace);
  Target single_target(bool with_namespace);

  // Expressions, from the loosest to the tightest.
  ExpressionPtr tuple(bool with_conditional, bool parenthesized, std::string_view end_name = {});
  ExpressionPtr expression() { return conditional(); }
  ExpressionPtr conditional();
  ExpressionPtr disjunction();
  ExpressionPtr conjunction();
  ExpressionPtr negation();
  ExpressionPtr comparison();
  /// +, - below ~ below *, /, //, % below **; all of them group to the left.
  ExpressionPtr arithmetic(int level);
  ExpressionPtr unary(bool with_filters);
  ExpressionPtr primary();
  ExpressionPtr literal_list();
  ExpressionPtr literal_dict();
  ExpressionPtr postfix(ExpressionPtr value);
  ExpressionPtr filters_and_tests(ExpressionPtr value);
  ExpressionPtr subscript(ExpressionPtr value);
  ExpressionPtr filter(ExpressionPtr value);
  ExpressionPtr test(ExpressionPtr value);
  CallSyntax call_arguments();
  ExpressionPtr make(ExpressionKind kind, int line);
  void add_child(Expression& parent, ExpressionPtr child);
  void set_call(Expression& parent, CallSyntax call);
  void count_depth(Expression& parent, const Expression* child);
  /// Filters and tests that do not exist are an error at once, but within a condition only when
  /// they are reached.
  void note_unknown(const std::string& message);
  void note_use_of(std::string_view name);
  std::string dotted_name();

  /// Counts one level of recursion while it lives.
  class Level;

  std::vector<Token> tokens_;
  std::size_t at_ = 0;
  Status error_;
  int depth_ = 0;
  int loops_ = 0;         // that break and continue can mean here
  int conditionals_ = 0;  // around this place
  std::vector<Status> unknown_;
  std::vector<MacroSyntax*> macros_;
  std::vector<std::string> blocks_;  // their names so far
};

}  // namespace sluice::jinja
