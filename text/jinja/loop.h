#pragma once
// The `loop` of a for loop: where it stands and what is around it. Items come one by one, because
// the condition of `for … if …` may depend on what the body has done so far; looking ahead takes no
// more than it must.

#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "text/jinja/render_state.h"

namespace sluice::jinja {

class Loop {
 public:
  /// `accepts`: the condition, or empty. `length_known`: the items have a length before they are
  /// walked over.
  Loop(std::vector<Value> items, bool length_known, std::function<bool(const Value&)> accepts)
      : items_(std::move(items)),
        length_known_(length_known && !accepts),
        accepts_(std::move(accepts)) {}

  /// Of a recursive loop: what calling it with other items writes, and how many loops of it are
  /// around this one.
  using Recursion = std::function<Value(const Value& items)>;
  void make_recursive(Recursion recursion, int depth) {
    recursion_ = std::move(recursion);
    depth_ = depth;
  }
  Value call(RenderState& state, const Arguments& arguments) const;

  /// Goes to the next item, which is then current(); false at the end.
  bool advance(RenderState& state);
  const Value& current() const { return *current_; }

  /// loop.NAME, or nothing if there is no such attribute. The methods need `self`, the loop as a
  /// value.
  std::optional<Value> attribute(RenderState& state, const Value& self, std::string_view name);
  std::string description(RenderState& state);
  /// The loop is over: what it holds is let go, because that may hold the loop.
  void finish();

 private:
  const std::optional<Value>& peek(RenderState& state);
  std::optional<Value> take(RenderState& state);
  std::int64_t length(RenderState& state);

  std::vector<Value> items_;
  std::size_t next_ = 0;
  bool length_known_;
  std::function<bool(const Value&)> accepts_;
  Recursion recursion_;  // stays after the end
  int depth_ = 0;
  std::int64_t index0_ = -1;
  std::optional<Value> before_, current_, after_;
  bool peeked_ = false;
  bool finished_ = false;
  std::optional<std::int64_t> length_;
  std::optional<Value> last_changed_;
};

}  // namespace sluice::jinja
