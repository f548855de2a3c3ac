#pragma once
// What one rendering carries along: its bounds, the first error, and the making of values within
// the bounds.
//
// Errors are sticky: fail() keeps the first one and returns an undefined value, everything after it
// is wasted but harmless work, and whoever loops or recurses asks failed(). So the many small
// operations of the language stay expressions instead of chains of checks.

#include <algorithm>
#include <ctime>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "text/chat_template.h"
#include "text/jinja/value.h"

namespace sluice::jinja {

class RenderState {
 public:
  RenderState(const ChatTemplateLimits& limits, const std::tm& now) : limits_(limits), now_(now) {}
  RenderState(const RenderState&) = delete;
  RenderState& operator=(const RenderState&) = delete;
  ~RenderState();

  /// Keeps the first error, with the line that is being rendered. Always returns an undefined
  /// value.
  Value fail(std::string message);
  void fail_limit(std::string message);
  /// What an undefined value is, used as if it were something.
  Value fail_undefined(const Value& value) { return fail(value.reason()); }
  bool failed() const { return !error_.empty(); }
  const std::string& error() const { return error_; }
  /// The error is that a bound was passed.
  bool limit_passed() const { return limit_passed_; }
  void set_line(int line) { line_ = line; }
  int line() const { return line_; }

  /// Counts work; false once the bound is passed, or after any other error.
  bool spend(std::size_t steps = 1);
  /// Counts the work of walking over so many bytes of text.
  bool spend_bytes(std::size_t bytes) { return spend(1 + bytes / 64); }

  /// Whether so many more bytes may be held for a while; fails where not.
  bool can_hold(std::size_t bytes);

  /// Adds to a text that is being made, within the bound of the output.
  void append(std::string& out, std::string_view text);

  Value text(std::string text, bool markup = false);
  Value text(std::string_view text) { return this->text(std::string(text)); }
  Value text(const char* text) { return this->text(std::string(text)); }
  Value list(std::vector<Value> items) { return sequence(std::move(items), false); }
  Value tuple(std::vector<Value> items) { return sequence(std::move(items), true); }
  Value sequence(std::vector<Value> items, bool is_tuple);
  /// REQUIRES: the keys differ and are hashable (`add_entry`).
  Value dict(std::vector<Entry> entries);
  /// Adds or replaces an entry; fails for a key that is not hashable.
  void add_entry(std::vector<Entry>& entries, Value key, Value value);
  Value space(std::vector<std::pair<std::string, Value>> members);
  /// `bound`: the value that the function has hold of.
  Value callable(std::string name, std::function<Value(RenderState&, const Arguments&)> call,
                 const Value& bound = {});
  Value macro(std::string name, std::function<Value(RenderState&, const Arguments&)> call);
  /// REQUIRES: form is not kRange.
  Value stream(Stream::Form form, std::vector<Value> items);
  /// Fails for a step of 0 and for ranges longer than jinja2's sandbox allows.
  Value range(std::int64_t start, std::int64_t stop, std::int64_t step);
  Value generator(std::vector<Value> items) {
    return stream(Stream::Form::kGenerator, std::move(items));
  }

  /// The things in a value, as a for loop sees them; a generator is used up. Fails if it cannot be
  /// iterated over.
  std::vector<Value> iterate(const Value& value);

  const std::tm& now() const { return now_; }
  const ChatTemplateLimits& limits() const { return limits_; }

  /// Counts one level of recursion while it lives. `ok` is false where there may be no more.
  class Level {
   public:
    explicit Level(RenderState& state) : state_(state) { ok = state.enter(); }
    ~Level() { --state_.depth_; }
    Level(const Level&) = delete;
    Level& operator=(const Level&) = delete;
    bool ok;

   private:
    RenderState& state_;
  };

  /// Objects that may refer to themselves are emptied at the end, whoever holds them then.
  void empty_at_end(std::function<void()> empty) { at_end_.push_back(std::move(empty)); }
  MemoryMeter* meter() { return &meter_; }

 private:
  bool enter();
  template <typename T, typename... Parts>
  std::shared_ptr<T> make(std::size_t bytes, Parts&&... parts);

  MemoryMeter meter_;  // outlives every value
  ChatTemplateLimits limits_;
  std::tm now_;
  std::string error_;
  bool limit_passed_ = false;
  int line_ = 1;
  int depth_ = 0;
  std::size_t steps_ = 0;
  std::vector<std::function<void()>> at_end_;
};

}  // namespace sluice::jinja
