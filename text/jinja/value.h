#pragma once
// The values that a template works with: Python's, as far as templates can see them. Texts, lists
// and dicts never change once they are made, so copying a Value shares them and no cycle can arise
// among them. Namespaces change. Not thread-safe: values belong to one rendering.

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <variant>
#include <vector>

namespace sluice::jinja {

class RenderState;
struct Arguments;
struct Text;
struct List;
struct Dict;
struct Namespace;
struct Callable;
struct Stream;
class Loop;

/// What stands for a name or attribute that is not there. It prints as nothing; most other uses are
/// errors that say why.
struct Undefined {
  std::shared_ptr<const std::string> reason;  // nullptr: a bare one
};
struct None {};

enum class Kind {
  kUndefined,
  kNone,
  kBoolean,
  kInteger,
  kReal,
  kText,
  kList,
  kDict,
  kNamespace,
  kCallable,
  kStream,
  kLoop,
};

class Value {
 public:
  Value() = default;  // undefined
  static Value undefined(std::string reason);
  static Value none() { return Value(None{}); }
  static Value boolean(bool value) { return Value(value); }
  static Value integer(std::int64_t value) { return Value(value); }
  static Value real(double value) { return Value(value); }
  explicit Value(std::shared_ptr<const Text> text) : data_(std::move(text)) {}
  explicit Value(std::shared_ptr<const List> list) : data_(std::move(list)) {}
  explicit Value(std::shared_ptr<const Dict> dict) : data_(std::move(dict)) {}
  explicit Value(std::shared_ptr<Namespace> space) : data_(std::move(space)) {}
  explicit Value(std::shared_ptr<const Callable> callable) : data_(std::move(callable)) {}
  explicit Value(std::shared_ptr<Stream> stream) : data_(std::move(stream)) {}
  explicit Value(std::shared_ptr<Loop> loop) : data_(std::move(loop)) {}

  Kind kind() const { return static_cast<Kind>(data_.index()); }
  bool is(Kind kind) const { return this->kind() == kind; }
  /// An integer or a boolean, which counts as 0 or 1.
  bool is_integral() const { return is(Kind::kInteger) || is(Kind::kBoolean); }
  bool is_number() const { return is_integral() || is(Kind::kReal); }

  // REQUIRES, for each: the value is of that kind.
  const std::string& reason() const;  // why it is undefined
  bool boolean() const { return std::get<bool>(data_); }
  std::int64_t integer() const {
    return is(Kind::kBoolean) ? boolean() : std::get<std::int64_t>(data_);
  }
  double real() const {
    return is(Kind::kReal) ? std::get<double>(data_) : static_cast<double>(integer());
  }
  const std::string& text() const;
  bool is_markup() const;  // a text that is marked as escaped
  const List& list() const { return *std::get<std::shared_ptr<const List>>(data_); }
  const std::vector<Value>& items() const;  // of a list or tuple
  const Dict& dict() const { return *std::get<std::shared_ptr<const Dict>>(data_); }
  Namespace& space() const { return *std::get<std::shared_ptr<Namespace>>(data_); }
  const Callable& callable() const { return *std::get<std::shared_ptr<const Callable>>(data_); }
  Stream& stream() const { return *std::get<std::shared_ptr<Stream>>(data_); }
  Loop& loop() const { return *std::get<std::shared_ptr<Loop>>(data_); }

  /// The same object, as Python's `is` has it.
  bool is_same(const Value& other) const;
  /// How many lists, dicts and what holds them are nested in one another at most.
  int nesting() const;

 private:
  template <typename T>
  explicit Value(T data) : data_(std::move(data)) {}

  std::variant<Undefined, None, bool, std::int64_t, double, std::shared_ptr<const Text>,
               std::shared_ptr<const List>, std::shared_ptr<const Dict>, std::shared_ptr<Namespace>,
               std::shared_ptr<const Callable>, std::shared_ptr<Stream>, std::shared_ptr<Loop>>
      data_;
};

/// Bytes that the values of one rendering hold at the moment.
class MemoryMeter {
 public:
  std::size_t used() const { return used_; }

 private:
  friend class Metered;
  std::size_t used_ = 0;
};

/// An object whose bytes count for as long as it lives. Constants of a template count nowhere.
class Metered {
 public:
  Metered(MemoryMeter* meter, std::size_t bytes) : meter_(meter), bytes_(bytes) {
    if (meter_ != nullptr) meter_->used_ += bytes_;
  }
  ~Metered() {
    if (meter_ != nullptr) meter_->used_ -= bytes_;
  }
  Metered(const Metered&) = delete;
  Metered& operator=(const Metered&) = delete;

 private:
  MemoryMeter* meter_;
  std::size_t bytes_;
};

struct Text {
  std::string text;  // well-formed UTF-8
  bool markup = false;
  Metered metered;
};

struct List {
  std::vector<Value> items;
  bool is_tuple = false;
  int nesting = 1;
  Metered metered;
};

using Entry = std::pair<Value, Value>;

struct Dict {
  std::vector<Entry> entries;  // in the order of insertion
  int nesting = 1;
  Metered metered;

  /// The value of a key that is a text, or nullptr.
  const Value* find(std::string_view key) const;
};

struct Namespace {
  std::vector<std::pair<std::string, Value>> members;
  Metered metered;
  bool is_object = false;  // what jinja2 has a class of its own for: only its methods change it

  const Value* find(std::string_view name) const;
  void set(std::string_view name, Value value);
};

struct Arguments {
  std::vector<Value> positional;
  std::vector<std::pair<std::string, Value>> named;
};

struct Callable {
  std::string name;
  std::function<Value(RenderState&, const Arguments&)> call;
  int nesting = 0;  // of a value that it is bound to
  bool is_macro = false;
  Metered metered;
};

/// Something to iterate over that is no list: Python's ranges and views of a dict, which can be
/// walked again and have a length, and generators, which are used up.
struct Stream {
  enum class Form { kGenerator, kRange, kItems, kKeys, kValues };
  Form form = Form::kGenerator;
  std::vector<Value> items;
  std::size_t next = 0;                        // the first item of a generator that is still there
  std::int64_t start = 0, stop = 0, step = 1;  // of a range
  int nesting = 1;
  Metered metered;
};

/// Python's name of the value's type.
std::string_view type_name(const Value& value);
bool is_truthy(const Value& value);

/// A constant of a template.
Value constant_text(std::string text);

}  // namespace sluice::jinja
