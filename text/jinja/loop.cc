#include "text/jinja/loop.h"

#include "text/jinja/operators.h"
#include "text/jinja/parameters.h"

namespace sluice::jinja {

std::optional<Value> Loop::take(RenderState& state) {
  while (next_ < items_.size() && state.spend()) {
    Value item = items_[next_++];
    if (!accepts_ || accepts_(item)) return item;
  }
  return {};
}

const std::optional<Value>& Loop::peek(RenderState& state) {
  if (!peeked_) {
    after_ = take(state);
    peeked_ = true;
  }
  return after_;
}

bool Loop::advance(RenderState& state) {
  std::optional<Value> next = peeked_ ? std::move(after_) : take(state);
  peeked_ = false;
  if (!next || state.failed()) return false;
  ++index0_;
  before_ = std::move(current_);
  current_ = std::move(next);
  return true;
}

std::int64_t Loop::length(RenderState& state) {
  if (!length_) {
    if (length_known_) {
      length_ = static_cast<std::int64_t>(items_.size());
    } else {  // the rest is decided now
      const bool ahead = peek(state).has_value();
      std::vector<Value> rest;
      while (auto item = take(state)) rest.push_back(std::move(*item));
      length_ = index0_ + 1 + ahead + static_cast<std::int64_t>(rest.size());
      items_ = std::move(rest);
      next_ = 0;
      accepts_ = nullptr;
    }
  }
  return *length_;
}

std::optional<Value> Loop::attribute(RenderState& state, const Value& self, std::string_view name) {
  if (name == "index") return Value::integer(index0_ + 1);
  if (name == "index0") return Value::integer(index0_);
  if (name == "first") return Value::boolean(index0_ == 0);
  if (name == "last") return Value::boolean(!peek(state).has_value());
  if (name == "length") return Value::integer(length(state));
  if (name == "revindex") return Value::integer(length(state) - index0_);
  if (name == "revindex0") return Value::integer(length(state) - index0_ - 1);
  if (name == "depth") return Value::integer(depth_ + 1);
  if (name == "depth0") return Value::integer(depth_);
  if (name == "previtem") return before_ ? *before_ : Value::undefined("there is no previous item");
  if (name == "nextitem") {
    const auto& next = peek(state);
    return next ? *next : Value::undefined("there is no next item");
  }
  if (name == "cycle") {
    return state.callable("cycle", [self](RenderState& call_state, const Arguments& arguments) {
      const auto& items = arguments.positional;
      if (items.empty()) return call_state.fail("no items for cycling given");
      const auto index =
          static_cast<std::size_t>(self.loop().index0_ < 0 ? 0 : self.loop().index0_);
      return items[index % items.size()];
    });
  }
  if (name == "changed") {
    return state.callable("changed", [self](RenderState& call_state, const Arguments& arguments) {
      Value seen = call_state.tuple(arguments.positional);
      auto& last = self.loop().last_changed_;
      const bool changed = !last || !equal(call_state, *last, seen);
      if (changed && !self.loop().finished_) last = std::move(seen);
      return Value::boolean(changed);
    });
  }
  return {};
}

Value Loop::call(RenderState& state, const Arguments& arguments) const {
  const Parameters parameters(state, "loop", arguments, {"iterable"}, 1);
  if (state.failed()) return {};
  if (!recursion_) {
    return state.fail("The loop must have the 'recursive' marker to be called recursively.");
  }
  return recursion_(*parameters.get(0));
}

std::string Loop::description(RenderState& state) {
  return "<LoopContext " + std::to_string(index0_ + 1) + "/" + std::to_string(length(state)) + ">";
}

void Loop::finish() {
  finished_ = true;
  items_.clear();
  next_ = 0;
  accepts_ = nullptr;
  before_.reset();
  current_.reset();
  after_.reset();
  last_changed_.reset();
}

}  // namespace sluice::jinja
