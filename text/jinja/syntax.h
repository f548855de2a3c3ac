#pragma once
// The syntax tree of a template. Immutable after parsing.

#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "text/jinja/operators.h"
#include "text/jinja/value.h"

namespace sluice::jinja {

struct Expression;
using ExpressionPtr = std::unique_ptr<Expression>;

/// What stands between the parentheses of a call.
struct CallSyntax {
  std::vector<ExpressionPtr> positional;
  std::vector<std::pair<std::string, ExpressionPtr>> named;
  ExpressionPtr more_positional;  // *expression, or nullptr
  ExpressionPtr more_named;       // **expression, or nullptr
};

enum class ExpressionKind {
  kConstant,   // constant
  kName,       // name
  kList,       // children
  kTuple,      // children
  kDict,       // children: key, value, key, value …
  kAttribute,  // children[0].name
  kItem,       // children[0][children[1]]
  kSlice,      // children[0][children[1]:children[2]:children[3]]; nullptr where nothing is written
  kCall,       // children[0](call)
  kFilter,     // children[0]|name(call)
  kTest,       // children[0] is name(call)
  kArithmetic,   // children[0] operators[0] children[1]
  kComparison,   // children[0] operators[0] children[1] operators[1] children[2] …
  kConcatenate,  // children with ~ between them
  kAnd,
  kOr,  // children[0], children[1]
  kNot,
  kNegate,
  kPlus,         // children[0]
  kConditional,  // children[0] if children[1] else children[2], which may be nullptr
};

struct Expression {
  ExpressionKind kind = ExpressionKind::kConstant;
  int line = 1;
  int depth = 1;  // of the tree below
  Value constant;
  std::string name;
  std::vector<ExpressionPtr> children;
  std::vector<Operator> operators;
  CallSyntax call;
};

/// What can be assigned to: a name, an attribute of a namespace, or a tuple of these.
struct Target {
  std::string name;       // empty: a tuple
  std::string attribute;  // empty: the name itself
  std::vector<Target> parts;
};

struct Statement;
struct Body {
  std::vector<std::unique_ptr<Statement>> statements;
  /// Where the body is a scope of its own: names that it sets sooner or later, and that are
  /// undefined until then, whatever they mean outside (scope_analysis.h).
  std::vector<std::string> unset;
};

/// A macro, or the block of a call.
struct MacroSyntax {
  std::string name;
  std::vector<std::string> parameters;
  std::vector<ExpressionPtr> defaults;  // of the last parameters
  Body body;
  // Whether the body speaks of these.
  bool uses_caller = false;
  bool uses_named = false;       // kwargs
  bool uses_positional = false;  // varargs
};

enum class StatementKind {
  kText,         // text
  kOutput,       // expression
  kFor,          // target in expression if condition: body, else: otherwise
  kIf,           // branches, else: otherwise
  kSet,          // target = expression
  kSetBlock,     // target = body, through the filters in expression (nullptr: none)
  kMacro,        // macro
  kCallBlock,    // expression is the call, macro the block
  kFilterBlock,  // body through the filters in expression
  kWith,         // bindings, body
  kScope,        // body in a scope of its own
  kBlock,        // body, which sees the template's names alone unless it is scoped
  kBreak,
  kContinue,
};

struct Statement {
  StatementKind kind = StatementKind::kText;
  int line = 1;
  std::string text;
  ExpressionPtr expression;
  ExpressionPtr condition;
  Target target;
  Body body;
  Body otherwise;
  bool recursive = false;  // a loop whose `loop` can be called
  bool scoped = false;     // a block that sees what is around it
  std::vector<std::pair<ExpressionPtr, Body>> branches;
  std::vector<std::pair<Target, ExpressionPtr>> bindings;
  std::unique_ptr<MacroSyntax> macro;
};

}  // namespace sluice::jinja
