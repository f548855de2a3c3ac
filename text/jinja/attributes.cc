#include "text/jinja/attributes.h"

#include "text/jinja/code_points.h"
#include "text/jinja/formatting.h"
#include "text/jinja/loop.h"
#include "text/jinja/operators.h"

namespace sluice::jinja {
namespace {

std::string object_description(const Value& value) {
  return value.is(Kind::kNone) ? "None" : std::string(type_name(value)) + " object";
}

/// Names in messages are cut, because a template can make them as long as it likes.
std::string quoted(std::string_view name) {
  const std::size_t end = byte_offset(name, 80);
  return "'" + std::string(name.substr(0, end)) + (end < name.size() ? "…'" : "'");
}

Value missing_attribute(const Value& value, std::string_view name) {
  return Value::undefined("'" + object_description(value) + "' has no attribute " + quoted(name));
}

std::optional<Value> find_attribute(RenderState& state, const Value& value, std::string_view name) {
  if (name.starts_with("__") && name.ends_with("__")) {
    return Value::undefined("access to attribute " + quoted(name) + " of '" +
                            object_description(value) + "' is unsafe");
  }
  switch (value.kind()) {
    case Kind::kText:
      return text_method(state, value, name);
    case Kind::kNamespace: {
      const Value* member = value.space().find(name);
      if (member == nullptr) return {};
      if (name.starts_with("_"))
        return Value::undefined("access to attribute " + quoted(name) + " is unsafe");
      return *member;
    }
    case Kind::kLoop:
      return value.loop().attribute(state, value, name);
    case Kind::kCallable:
      if (name == "name") return state.text(value.callable().name);
      return {};
    default:
      return container_method(state, value, name);
  }
}

/// value[key] as Python has it, or nothing where it raises TypeError or LookupError.
std::optional<Value> find_item(RenderState& state, const Value& value, const Value& key) {
  const auto position = [&](std::size_t length) -> std::optional<std::size_t> {
    if (!key.is_integral()) return {};
    const auto size = static_cast<std::int64_t>(length);
    const std::int64_t index = key.integer() < 0 ? key.integer() + size : key.integer();
    if (index < 0 || index >= size) return {};
    return static_cast<std::size_t>(index);
  };
  switch (value.kind()) {
    case Kind::kText: {
      const auto index = position(code_point_count(value.text()));
      state.spend_bytes(value.text().size());
      if (!index) return {};
      const std::size_t begin = byte_offset(value.text(), *index);
      const std::size_t length = code_point_at(value.text(), begin).length;
      return state.text(value.text().substr(begin, length), value.is_markup());
    }
    case Kind::kList: {
      const auto index = position(value.items().size());
      if (!index) return {};
      return value.items()[*index];
    }
    case Kind::kStream: {
      const Stream& stream = value.stream();
      if (stream.form != Stream::Form::kRange) return {};
      const auto index = position(stream.items.size());
      if (!index) return {};
      return stream.items[*index];
    }
    case Kind::kDict: {
      if (key.is(Kind::kText)) {
        state.spend(1 + value.dict().entries.size() / 8);
        const Value* found = value.dict().find(key.text());
        return found == nullptr ? std::nullopt : std::optional<Value>(*found);
      }
      if (!is_hashable(key)) return {};
      for (const auto& [known, item] : value.dict().entries) {
        if (equal(state, known, key)) return item;
      }
      return {};
    }
    default:
      return {};
  }
}

/// Which indices a slice takes: from start to before stop (past it, where the step is negative), as
/// slice.indices() tells.
struct SliceRange {
  std::int64_t start = 0, stop = 0, step = 1;

  std::vector<std::size_t> indices() const {
    std::vector<std::size_t> all;
    for (std::int64_t i = start; step > 0 ? i < stop : i > stop;) {
      all.push_back(static_cast<std::size_t>(i));
      if (step > 0 ? step >= stop - i : step <= stop - i) break;
      i += step;
    }
    return all;
  }
};

SliceRange slice_range(RenderState& state, std::size_t length, const Value& start,
                       const Value& stop, const Value& step) {
  const auto bound = [&](const Value& value) -> std::optional<std::int64_t> {
    if (value.is(Kind::kNone)) return {};
    if (value.is_integral()) return value.integer();
    state.fail("slice indices must be integers or None");
    return {};
  };
  const auto size = static_cast<std::int64_t>(length);
  const auto first = bound(start), last = bound(stop);
  const std::int64_t stride = bound(step).value_or(1);
  if (stride == 0) state.fail("slice step cannot be zero");
  if (state.failed()) return {};
  if (stride > 0) {
    const SliceBounds bounds = clip(size, first, last);
    return {bounds.start, bounds.stop, stride};
  }
  const auto place = [&](std::int64_t index) {  // -1 is before the first
    return std::clamp<std::int64_t>(index < 0 ? (index < -size ? -1 : index + size) : index, -1,
                                    size - 1);
  };
  return {first ? place(*first) : size - 1, last ? place(*last) : -1, stride};
}

Value part_of(RenderState& state, const Value& value, const Value& start, const Value& stop) {
  const std::string_view text = value.text();
  const auto bound = [](const Value& given) {
    return given.is_integral() ? std::optional(given.integer()) : std::nullopt;
  };
  const SliceBounds bounds =
      clip(static_cast<std::int64_t>(code_point_count(text)), bound(start), bound(stop));
  if (bounds.start >= bounds.stop) return state.text(std::string(), value.is_markup());
  const std::size_t begin = byte_offset(text, static_cast<std::size_t>(bounds.start));
  const std::string_view rest = text.substr(begin);
  const std::size_t length =
      byte_offset(rest, static_cast<std::size_t>(bounds.stop - bounds.start));
  return state.text(std::string(rest.substr(0, length)), value.is_markup());
}

}  // namespace

SliceBounds clip(std::int64_t length, std::optional<std::int64_t> start,
                 std::optional<std::int64_t> stop) {
  const auto place = [&](std::int64_t index) {
    return std::clamp<std::int64_t>(index < 0 ? (index < -length ? 0 : index + length) : index, 0,
                                    length);
  };
  return {start ? place(*start) : 0, stop ? place(*stop) : length};
}

Value get_attribute(RenderState& state, const Value& value, std::string_view name) {
  if (value.is(Kind::kUndefined)) return state.fail_undefined(value);
  if (auto found = find_attribute(state, value, name)) return *std::move(found);
  if (value.is(Kind::kDict)) {
    state.spend(1 + value.dict().entries.size() / 8);
    if (const Value* item = value.dict().find(name)) return *item;
  }
  return missing_attribute(value, name);
}

Value get_item(RenderState& state, const Value& value, const Value& key) {
  if (value.is(Kind::kUndefined)) return state.fail_undefined(value);
  if (auto found = find_item(state, value, key)) return *std::move(found);
  if (key.is(Kind::kText)) {
    if (auto found = find_attribute(state, value, key.text())) return *std::move(found);
    return missing_attribute(value, key.text());
  }
  const std::string name =
      key.is_integral() ? std::to_string(key.integer()) : "of type " + std::string(type_name(key));
  return Value::undefined(object_description(value) + " has no element " + name);
}

Value get_slice(RenderState& state, const Value& value, const Value& start, const Value& stop,
                const Value& step) {
  if (value.is(Kind::kText)) {
    const std::string& text = value.text();
    if (!state.spend_bytes(text.size() * 4)) return {};
    const bool contiguous = step.is(Kind::kNone) || (step.is_integral() && step.integer() == 1);
    const auto is_bound = [](const Value& bound) {
      return bound.is(Kind::kNone) || bound.is_integral();
    };
    if (contiguous && is_bound(start) && is_bound(stop)) return part_of(state, value, start, stop);
    if (!state.can_hold(text.size() * (sizeof(std::string_view) + sizeof(std::size_t)))) return {};
    const auto pieces = characters(text);
    std::string out;
    for (const std::size_t index : slice_range(state, pieces.size(), start, stop, step).indices())
      out += pieces[index];
    return state.text(std::move(out), value.is_markup());
  }
  if (value.is(Kind::kStream) && value.stream().form == Stream::Form::kRange) {
    const Stream& range = value.stream();
    const SliceRange taken = slice_range(state, range.items.size(), start, stop, step);
    std::int64_t first = 0, last = 0, wide = 0;
    const auto place = [&](std::int64_t index, std::int64_t& number) {
      return !__builtin_mul_overflow(index, range.step, &number) &&
             !__builtin_add_overflow(number, range.start, &number);
    };
    if (state.failed()) return {};
    if (!place(taken.start, first) || !place(taken.stop, last) ||
        __builtin_mul_overflow(range.step, taken.step, &wide)) {
      return state.fail("an integer does not fit into 64 bits");
    }
    return state.range(first, last, wide);
  }
  if (value.is(Kind::kList)) {
    const std::vector<Value>& all = value.items();
    if (!state.spend(1 + all.size() / 4)) return {};
    std::vector<Value> items;
    for (const std::size_t index : slice_range(state, all.size(), start, stop, step).indices()) {
      items.push_back(all[index]);
    }
    return state.sequence(std::move(items), value.list().is_tuple);
  }
  if (value.is(Kind::kUndefined)) return state.fail_undefined(value);
  return state.fail("'" + std::string(type_name(value)) + "' object cannot be sliced");
}

std::int64_t length_of(RenderState& state, const Value& value) {
  switch (value.kind()) {
    case Kind::kUndefined:
      return 0;
    case Kind::kText:
      return static_cast<std::int64_t>(code_point_count(value.text()));
    case Kind::kList:
      return static_cast<std::int64_t>(value.items().size());
    case Kind::kDict:
      return static_cast<std::int64_t>(value.dict().entries.size());
    case Kind::kStream:
      if (value.stream().form != Stream::Form::kGenerator)
        return static_cast<std::int64_t>(value.stream().items.size());
      break;
    case Kind::kLoop:
      return value.loop().attribute(state, value, "length")->integer();
    default:
      break;
  }
  state.fail("object of type '" + std::string(type_name(value)) + "' has no len()");
  return 0;
}

}  // namespace sluice::jinja
