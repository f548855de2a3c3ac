#include "text/jinja/interpreter.h"

namespace sluice::jinja {
namespace {

const Value* find_named(const Arguments& arguments, std::string_view name) {
  for (const auto& [known, value] : arguments.named) {
    if (known == name) return &value;
  }
  return nullptr;
}

}  // namespace

Value Interpreter::make_macro(const MacroSyntax& macro) {
  empty_at_end(scope_);
  return state_.macro(macro.name,
                      [this, &macro, outer = scope_](RenderState&, const Arguments& arguments) {
                        return call_macro(macro, outer, arguments);
                      });
}

Value Interpreter::call_macro(const MacroSyntax& macro, const std::shared_ptr<Scope>& outer,
                              const Arguments& arguments) {
  const int line = state_.line();
  const std::shared_ptr<Scope> calling = std::exchange(scope_, open_scope(macro.body, outer));
  std::string written;
  std::string* const out = std::exchange(out_, &written);
  if (state_.can_hold(out->size())) {
    const Metered outside(state_.meter(), out->size());
    bind_parameters(macro, arguments);
    if (!state_.failed()) execute(macro.body);
  }
  out_ = out;
  scope_ = calling;
  if (!state_.failed()) state_.set_line(line);
  return state_.text(std::move(written));
}

void Interpreter::bind_parameters(const MacroSyntax& macro, const Arguments& arguments) {
  const std::size_t count = macro.parameters.size();
  std::vector<bool> used(arguments.named.size(), false);
  const auto take_named = [&](std::string_view name) -> const Value* {
    const Value* found = find_named(arguments, name);
    for (std::size_t i = 0; i < used.size(); ++i)
      used[i] = used[i] || arguments.named[i].first == name;
    return found;
  };
  const bool all_positional = arguments.positional.size() >= count;
  bool caller_is_parameter = false;
  for (std::size_t i = 0; i < count && !state_.failed(); ++i) {
    const std::string& name = macro.parameters[i];
    if (name == "caller") caller_is_parameter = true;
    const Value* given =
        i < arguments.positional.size() ? &arguments.positional[i] : take_named(name);
    const std::size_t first_default = count - macro.defaults.size();
    if (given != nullptr) {
      scope_->set(name, *given);
    } else if (i >= first_default) {
      scope_->set(name, evaluate(*macro.defaults[i - first_default]));
    } else {
      scope_->set(name, Value::undefined("parameter '" + name + "' was not provided"));
    }
  }
  if (macro.uses_caller && !caller_is_parameter) {
    const Value* caller = take_named("caller");
    scope_->set("caller", caller != nullptr ? *caller : Value::undefined("No caller defined"));
  }
  std::vector<Entry> others;
  for (std::size_t i = 0; i < used.size(); ++i) {
    if (used[i]) continue;
    const std::string& name = arguments.named[i].first;
    if (!macro.uses_named) {
      state_.fail("macro '" + macro.name + "' takes no keyword argument '" + name + "'");
      return;
    }
    others.emplace_back(state_.text(name), arguments.named[i].second);
  }
  if (macro.uses_named) scope_->set("kwargs", state_.dict(std::move(others)));
  if (macro.uses_positional) {
    std::vector<Value> rest;
    if (all_positional) {
      rest.assign(arguments.positional.begin() + static_cast<std::ptrdiff_t>(count),
                  arguments.positional.end());
    }
    scope_->set("varargs", state_.tuple(std::move(rest)));
  } else if (arguments.positional.size() > count) {
    state_.fail("macro '" + macro.name + "' takes not more than " + std::to_string(count) +
                " argument(s)");
  }
}

}  // namespace sluice::jinja
