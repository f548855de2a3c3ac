#include "text/jinja/parser.h"

#include <algorithm>

#include "text/jinja/parser_level.h"
#include "text/jinja/scope_analysis.h"

namespace sluice::jinja {

Result<Body> Parser::parse() {
  Body body = statements_until({});
  if (failed()) return error_;
  if (!unknown_.empty()) return unknown_.front();
  find_unset_names(body);
  return body;
}

Token Parser::next() {
  Token token = current();
  if (!failed() && at_ + 1 < tokens_.size()) ++at_;
  return token;
}

bool Parser::skip_operator(std::string_view text) {
  const bool found = is_operator(text);
  if (found) next();
  return found;
}

bool Parser::skip_name(std::string_view text) {
  const bool found = is_name(text);
  if (found) next();
  return found;
}

std::string Parser::describe_current() const {
  switch (current().kind) {
    case TokenKind::kData:
      return "template text";
    case TokenKind::kVariableBegin:
      return "'{{'";
    case TokenKind::kVariableEnd:
      return "'}}'";
    case TokenKind::kBlockBegin:
      return "'{%'";
    case TokenKind::kBlockEnd:
      return "'%}'";
    case TokenKind::kText:
      return "a string";
    case TokenKind::kEnd:
      return "the end of the template";
    default:
      return "'" + current().text + "'";
  }
}

void Parser::expect_operator(std::string_view text) {
  if (!skip_operator(text)) fail("expected '" + std::string(text) + "', got " + describe_current());
}

void Parser::expect_name(std::string_view text) {
  if (!skip_name(text)) fail("expected '" + std::string(text) + "', got " + describe_current());
}

void Parser::expect(TokenKind kind, std::string_view what) {
  if (!is(kind)) fail("expected " + std::string(what) + ", got " + describe_current());
  next();
}

std::string Parser::expect_any_name() {
  if (!is(TokenKind::kName)) fail("expected a name, got " + describe_current());
  return next().text;
}

void Parser::fail(const std::string& message, ErrorCode code) {
  if (!failed())
    error_ = Status(code, "line " + std::to_string(tokens_[at_].line) + ": " + message);
}

Body Parser::statements_until(Names ends) {
  const Level level(*this);
  Body body;
  while (!is(TokenKind::kEnd)) {
    if (is(TokenKind::kData)) {
      auto text = std::make_unique<Statement>();
      text->line = current().line;
      text->text = next().text;
      body.statements.push_back(std::move(text));
    } else if (is(TokenKind::kVariableBegin)) {
      auto output = std::make_unique<Statement>();
      output->kind = StatementKind::kOutput;
      output->line = next().line;
      output->expression = tuple(true, false);
      expect(TokenKind::kVariableEnd, "'}}'");
      body.statements.push_back(std::move(output));
    } else {
      expect(TokenKind::kBlockBegin, "'{%'");
      for (const std::string_view end : ends) {
        if (is_name(end)) return body;
      }
      statement(body);
      expect(TokenKind::kBlockEnd, "'%}'");
    }
  }
  if (ends.size() != 0)
    fail("expected '{% " + std::string(*(ends.end() - 1)) + " %}' before the end of the template");
  return body;
}

Body Parser::body_until(Names ends) {
  skip_operator(":");
  expect(TokenKind::kBlockEnd, "'%}'");
  Body body = statements_until(ends);
  if (ends.size() == 1) next();
  return body;
}

void Parser::statement(Body& body) {
  if (!is(TokenKind::kName)) fail("tag name expected, got " + describe_current());
  auto made = std::make_unique<Statement>();
  made->line = current().line;
  const std::string name = current().text;
  if (name == "print") return print_statement(body);
  next();
  if (name == "for") {
    for_statement(*made);
  } else if (name == "if") {
    if_statement(*made);
  } else if (name == "set") {
    set_statement(*made);
  } else if (name == "macro") {
    macro_statement(*made);
  } else if (name == "call") {
    call_statement(*made);
  } else if (name == "with") {
    with_statement(*made);
  } else if (name == "filter") {
    made->kind = StatementKind::kFilterBlock;
    made->expression = filters_and_tests(filter(nullptr));
    made->body = body_until({"endfilter"});
  } else if (name ==
             "generation") {  // marks what the assistant said; Transformers' own, renders its body
    made->kind = StatementKind::kScope;
    const int loops = std::exchange(loops_, 0);
    made->body = body_until({"endgeneration"});
    loops_ = loops;
  } else if (name == "block") {
    block_statement(*made);
  } else if (name == "break" || name == "continue") {
    made->kind = name == "break" ? StatementKind::kBreak : StatementKind::kContinue;
    if (loops_ == 0) fail("'" + name + "' outside of a loop");
  } else if (name == "extends" || name == "include" || name == "import" || name == "from" ||
             name == "autoescape") {
    fail("the tag '" + name + "' is not supported", ErrorCode::kUnsupported);
  } else {
    fail("Encountered unknown tag '" + name + "'.");
  }
  body.statements.push_back(std::move(made));
}

void Parser::print_statement(Body& body) {
  next();
  bool first = true;
  while (!is(TokenKind::kBlockEnd) && !failed()) {
    if (!first) expect_operator(",");
    first = false;
    auto output = std::make_unique<Statement>();
    output->kind = StatementKind::kOutput;
    output->line = current().line;
    output->expression = expression();
    body.statements.push_back(std::move(output));
  }
}

void Parser::for_statement(Statement& made) {
  made.kind = StatementKind::kFor;
  ++loops_;
  made.target = target(false);
  expect_name("in");
  made.expression = tuple(false, false, "recursive");
  if (skip_name("if")) made.condition = expression();
  made.recursive = skip_name("recursive");
  const int conditionals = std::exchange(conditionals_, 0);
  made.body = body_until({"endfor", "else"});
  --loops_;
  if (next().text == "else") made.otherwise = body_until({"endfor"});
  conditionals_ = conditionals;
}

void Parser::if_statement(Statement& made) {
  made.kind = StatementKind::kIf;
  ++conditionals_;
  while (!failed()) {
    auto condition = tuple(false, false);
    made.branches.emplace_back(std::move(condition), body_until({"elif", "else", "endif"}));
    const std::string end = next().text;
    if (end == "elif") continue;
    if (end == "else") made.otherwise = body_until({"endif"});
    break;
  }
  --conditionals_;
}

void Parser::set_statement(Statement& made) {
  made.target = target(true);
  if (skip_operator("=")) {
    made.kind = StatementKind::kSet;
    made.expression = tuple(true, false);
    return;
  }
  made.kind = StatementKind::kSetBlock;
  while (skip_operator("|")) made.expression = filter(std::move(made.expression));
  made.body = body_until({"endset"});
}

void Parser::signature(MacroSyntax& macro) {
  expect_operator("(");
  while (!is_operator(")") && !failed()) {
    if (!macro.parameters.empty()) expect_operator(",");
    std::string name = expect_any_name();
    if (std::find(macro.parameters.begin(), macro.parameters.end(), name) !=
        macro.parameters.end()) {
      fail("the parameter '" + name + "' is there twice");
    }
    macro.parameters.push_back(std::move(name));
    if (skip_operator("=")) {
      macro.defaults.push_back(expression());
    } else if (!macro.defaults.empty()) {
      fail("non-default argument follows default argument");
    }
  }
  expect_operator(")");
}

void Parser::macro_body(MacroSyntax& macro, std::string_view end) {
  const int loops = std::exchange(loops_, 0);
  const int conditionals = std::exchange(conditionals_, 0);
  macros_.push_back(&macro);
  macro.body = body_until({end});
  macros_.pop_back();
  loops_ = loops;
  conditionals_ = conditionals;
}

void Parser::macro_statement(Statement& made) {
  made.kind = StatementKind::kMacro;
  made.macro = std::make_unique<MacroSyntax>();
  made.macro->name = expect_any_name();
  signature(*made.macro);
  macro_body(*made.macro, "endmacro");
}

void Parser::call_statement(Statement& made) {
  made.kind = StatementKind::kCallBlock;
  made.macro = std::make_unique<MacroSyntax>();
  made.macro->name = "caller";
  if (is_operator("(")) signature(*made.macro);
  made.expression = expression();
  if (!failed() && made.expression->kind != ExpressionKind::kCall) fail("expected call");
  macro_body(*made.macro, "endcall");
}

void Parser::with_statement(Statement& made) {
  made.kind = StatementKind::kWith;
  while (!is(TokenKind::kBlockEnd) && !failed()) {
    if (!made.bindings.empty()) expect_operator(",");
    Target bound = single_target(false);
    expect_operator("=");
    made.bindings.emplace_back(std::move(bound), expression());
  }
  made.body = body_until({"endwith"});
}

/// Without inheritance a block stands where it is written. It is compiled apart from what is around
/// it: neither a loop's break nor a macro's caller reaches into it.
void Parser::block_statement(Statement& made) {
  made.kind = StatementKind::kBlock;
  const std::string name = expect_any_name();
  if (std::find(blocks_.begin(), blocks_.end(), name) != blocks_.end()) {
    fail("block '" + name + "' defined twice");
  }
  blocks_.push_back(name);
  made.scoped = skip_name("scoped");
  if (is_name("required")) fail("required blocks are not supported", ErrorCode::kUnsupported);
  const int loops = std::exchange(loops_, 0);
  const int conditionals = std::exchange(conditionals_, 0);
  const auto macros = std::exchange(macros_, {});
  made.body = body_until({"endblock"});
  macros_ = macros;
  loops_ = loops;
  conditionals_ = conditionals;
  skip_name(name);
}

Target Parser::single_target(bool with_namespace) {
  const Level level(*this);
  Target made;
  if (skip_operator("(")) {
    made = target(false);
    expect_operator(")");
    return made;
  }
  made.name = expect_any_name();
  for (const std::string_view constant : {"true", "false", "none", "True", "False", "None"}) {
    if (made.name == constant) fail("cannot assign to '" + made.name + "'");
  }
  if (with_namespace && skip_operator(".")) {
    made.attribute = expect_any_name();
  } else if (loops_ > 0 && made.name == "loop") {
    fail("Can't assign to special loop variable in for-loop target");
  }
  return made;
}

Target Parser::target(bool with_namespace) {
  Target first = single_target(with_namespace);
  if (!is_operator(",")) return first;
  Target all;
  all.parts.push_back(std::move(first));
  while (skip_operator(",")) {
    if (is(TokenKind::kBlockEnd) || is_operator(")") || is_operator("=")) break;
    all.parts.push_back(single_target(with_namespace));
  }
  return all;
}

}  // namespace sluice::jinja
