#pragma once
// What `value.name`, `value[key]` and `value[from:to:step]` mean in the sandbox.

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "text/jinja/render_state.h"

namespace sluice::jinja {

/// Attributes win over items. Undefined where there is neither.
Value get_attribute(RenderState& state, const Value& value, std::string_view name);
/// Items win over attributes. Undefined where there is neither.
Value get_item(RenderState& state, const Value& value, const Value& key);
/// None stands for a bound that is not given.
Value get_slice(RenderState& state, const Value& value, const Value& start, const Value& stop,
                const Value& step);

/// The number of things in a value, as len() has it; fails where there is none.
std::int64_t length_of(RenderState& state, const Value& value);

/// Methods of texts, and of lists, dicts and numbers; nothing if the type has no such attribute.
std::optional<Value> text_method(RenderState& state, const Value& self, std::string_view name);
std::optional<Value> container_method(RenderState& state, const Value& self, std::string_view name);

/// text.replace(before, after, count); a negative count is no bound.
std::string replace(RenderState& state, std::string_view text, std::string_view before,
                    std::string_view after, std::int64_t count);

struct SliceBounds {
  std::int64_t start = 0;
  std::int64_t stop = 0;
};
/// Python's reading of two bounds, which may be negative, in something of `length`.
SliceBounds clip(std::int64_t length, std::optional<std::int64_t> start,
                 std::optional<std::int64_t> stop);

}  // namespace sluice::jinja
