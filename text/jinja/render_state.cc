#include "text/jinja/render_state.h"

#include "text/jinja/code_points.h"
#include "text/jinja/operators.h"

namespace sluice::jinja {
namespace {

// Nothing that a conversation holds is nested deeper, and whoever walks a value may recurse this
// far.
constexpr int kMaxNesting = 200;
constexpr std::size_t kMaxRange = 100'000;  // as jinja2's sandbox has it

int nesting_of(const std::vector<Value>& items) {
  int nesting = 0;
  for (const Value& item : items) nesting = std::max(nesting, item.nesting());
  return nesting + 1;
}

}  // namespace

RenderState::~RenderState() {
  for (const auto& empty : at_end_) empty();
}

Value RenderState::fail(std::string message) {
  if (!failed()) {
    error_ =
        "line " + std::to_string(line_) + ": " + (message.empty() ? "error" : std::move(message));
  }
  return {};
}

void RenderState::fail_limit(std::string message) {
  limit_passed_ = limit_passed_ || !failed();
  fail(std::move(message));
}

bool RenderState::spend(std::size_t steps) {
  if (failed()) return false;
  steps_ += steps;
  if (steps_ > limits_.steps || steps_ < steps)
    fail_limit("the template takes more steps than are allowed");
  return !failed();
}

bool RenderState::enter() {
  ++depth_;
  if (depth_ > limits_.depth) fail_limit("the template recurses deeper than is allowed");
  return !failed();
}

void RenderState::append(std::string& out, std::string_view text) {
  if (!spend_bytes(text.size())) return;
  if (text.size() > limits_.output_bytes - std::min(limits_.output_bytes, out.size())) {
    fail_limit("the template writes more than " + std::to_string(limits_.output_bytes) + " bytes");
    return;
  }
  out += text;
}

bool RenderState::can_hold(std::size_t bytes) {
  if (bytes > limits_.memory_bytes - std::min(limits_.memory_bytes, meter_.used())) {
    fail_limit("the template's values take more memory than is allowed");
  }
  return !failed();
}

template <typename T, typename... Parts>
std::shared_ptr<T> RenderState::make(std::size_t bytes, Parts&&... parts) {
  bytes += sizeof(T);
  spend(1 + bytes / 64);
  can_hold(bytes);
  return std::shared_ptr<T>(new T{std::forward<Parts>(parts)..., {&meter_, bytes}});
}

Value RenderState::text(std::string text, bool markup) {
  const std::size_t bytes = text.capacity();
  return Value(std::shared_ptr<const Text>(make<Text>(bytes, std::move(text), markup)));
}

Value RenderState::sequence(std::vector<Value> items, bool is_tuple) {
  const std::size_t bytes = items.capacity() * sizeof(Value);
  const int nesting = nesting_of(items);
  if (nesting > kMaxNesting) return fail("lists are nested too deeply");
  return Value(std::shared_ptr<const List>(make<List>(bytes, std::move(items), is_tuple, nesting)));
}

Value RenderState::dict(std::vector<Entry> entries) {
  int nesting = 0;
  for (const auto& [key, value] : entries)
    nesting = std::max({nesting, key.nesting(), value.nesting()});
  if (++nesting > kMaxNesting) return fail("dicts are nested too deeply");
  const std::size_t bytes = entries.capacity() * sizeof(Entry);
  return Value(std::shared_ptr<const Dict>(make<Dict>(bytes, std::move(entries), nesting)));
}

void RenderState::add_entry(std::vector<Entry>& entries, Value key, Value value) {
  if (!is_hashable(key)) {
    fail("unhashable type: '" + std::string(type_name(key)) + "'");
    return;
  }
  spend(entries.size() / 8);
  for (auto& [known, old] : entries) {
    if (failed()) return;
    if (equal(*this, known, key)) {
      old = std::move(value);
      return;
    }
  }
  entries.emplace_back(std::move(key), std::move(value));
}

Value RenderState::space(std::vector<std::pair<std::string, Value>> members) {
  const auto made = make<Namespace>(members.capacity() * sizeof(members[0]), std::move(members));
  empty_at_end([made] { made->members.clear(); });
  return Value(made);
}

Value RenderState::callable(std::string name,
                            std::function<Value(RenderState&, const Arguments&)> call,
                            const Value& bound) {
  const int nesting = bound.nesting() + 1;
  if (nesting > kMaxNesting) return fail("methods are nested too deeply");
  return Value(std::shared_ptr<const Callable>(
      make<Callable>(64, std::move(name), std::move(call), nesting, false)));
}

Value RenderState::macro(std::string name,
                         std::function<Value(RenderState&, const Arguments&)> call) {
  return Value(std::shared_ptr<const Callable>(
      make<Callable>(64, std::move(name), std::move(call), 0, true)));
}

Value RenderState::stream(Stream::Form form, std::vector<Value> items) {
  const int nesting = nesting_of(items);
  if (nesting > kMaxNesting) return fail("generators are nested too deeply");
  const std::size_t bytes = items.capacity() * sizeof(Value);
  return Value(make<Stream>(bytes, form, std::move(items), std::size_t{0}, std::int64_t{0},
                            std::int64_t{0}, std::int64_t{1}, nesting));
}

Value RenderState::range(std::int64_t start, std::int64_t stop, std::int64_t step) {
  if (step == 0) return fail("range() arg 3 must not be zero");
  std::vector<Value> items;
  for (std::int64_t i = start; step > 0 ? i < stop : i > stop;) {
    if (failed()) return {};
    if (items.size() == kMaxRange) {
      return fail("Range too big. The sandbox blocks ranges larger than " +
                  std::to_string(kMaxRange) + ".");
    }
    items.push_back(Value::integer(i));
    if (__builtin_add_overflow(i, step, &i)) break;
  }
  const std::size_t bytes = items.capacity() * sizeof(Value);
  return Value(make<Stream>(bytes, Stream::Form::kRange, std::move(items), std::size_t{0}, start,
                            stop, step, 1));
}

std::vector<Value> RenderState::iterate(const Value& value) {
  std::vector<Value> items;
  switch (value.kind()) {
    case Kind::kUndefined:
      return items;
    case Kind::kList:
      spend(value.items().size() / 4);
      return value.items();
    case Kind::kDict:
      spend(value.dict().entries.size() / 4);
      for (const auto& [key, unused] : value.dict().entries) items.push_back(key);
      return items;
    case Kind::kText:
      if (!can_hold(value.text().size() * sizeof(Text))) return items;
      for (const std::string_view character : characters(value.text())) {
        if (failed()) break;
        items.push_back(text(std::string(character), value.is_markup()));
      }
      return items;
    case Kind::kStream: {
      Stream& stream = value.stream();
      spend(stream.items.size() / 4);
      if (stream.form != Stream::Form::kGenerator) return stream.items;
      items.assign(stream.items.begin() + static_cast<std::ptrdiff_t>(stream.next),
                   stream.items.end());
      stream.next = stream.items.size();
      return items;
    }
    default:
      fail("'" + std::string(type_name(value)) + "' object is not iterable");
      return items;
  }
}

}  // namespace sluice::jinja
