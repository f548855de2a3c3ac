#pragma once
// Filters and tests by name.

#include <optional>
#include <span>
#include <string_view>

#include "text/jinja/render_state.h"

namespace sluice::jinja {

using Filter = Value (*)(RenderState&, const Value& input, const Arguments&);
using Test = bool (*)(RenderState&, const Value& input, const Arguments&);

/// nullptr: there is none of that name.
Filter find_filter(std::string_view name);
Test find_test(std::string_view name);

struct NamedFilter {
  std::string_view name;
  Filter filter;
};
std::span<const NamedFilter> text_filters();
std::span<const NamedFilter> sequence_filters();
std::span<const NamedFilter> number_filters();

/// item.a.0.b for "a.0.b"; a part that is undefined becomes `otherwise`, if that is given.
Value attribute_path(RenderState& state, Value item, const Value& path, const Value* otherwise);
/// A text in lower case; other values as they are.
Value ignore_case(RenderState& state, const Value& value);

}  // namespace sluice::jinja
