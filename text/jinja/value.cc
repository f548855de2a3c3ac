#include "text/jinja/value.h"

#include "text/jinja/loop.h"

namespace sluice::jinja {

Value Value::undefined(std::string reason) {
  return Value(Undefined{std::make_shared<const std::string>(std::move(reason))});
}

const std::string& Value::reason() const {
  static const std::string kBare = "the value is undefined";
  const auto& reason = std::get<Undefined>(data_).reason;
  return reason == nullptr ? kBare : *reason;
}

const std::string& Value::text() const {
  return std::get<std::shared_ptr<const Text>>(data_)->text;
}

bool Value::is_markup() const {
  return is(Kind::kText) && std::get<std::shared_ptr<const Text>>(data_)->markup;
}

const std::vector<Value>& Value::items() const { return list().items; }

bool Value::is_same(const Value& other) const {
  if (kind() != other.kind()) return false;
  switch (kind()) {
    case Kind::kUndefined:
      return false;
    case Kind::kNone:
      return true;
    case Kind::kBoolean:
      return boolean() == other.boolean();
    case Kind::kInteger:
      return integer() == other.integer();
    case Kind::kReal:
      return real() == other.real();
    case Kind::kText:
      return text() == other.text();
    case Kind::kList:
      return &list() == &other.list();
    case Kind::kDict:
      return &dict() == &other.dict();
    case Kind::kNamespace:
      return &space() == &other.space();
    case Kind::kCallable:
      return &callable() == &other.callable();
    case Kind::kStream:
      return &stream() == &other.stream();
    case Kind::kLoop:
      return &loop() == &other.loop();
  }
  return false;
}

int Value::nesting() const {
  if (is(Kind::kList)) return list().nesting;
  if (is(Kind::kDict)) return dict().nesting;
  if (is(Kind::kStream)) return stream().nesting;
  if (is(Kind::kCallable)) return callable().nesting;
  return 0;
}

const Value* Dict::find(std::string_view key) const {
  for (const auto& [name, value] : entries) {
    if (name.is(Kind::kText) && name.text() == key) return &value;
  }
  return nullptr;
}

const Value* Namespace::find(std::string_view name) const {
  for (const auto& [member, value] : members) {
    if (member == name) return &value;
  }
  return nullptr;
}

void Namespace::set(std::string_view name, Value value) {
  for (auto& [member, old] : members) {
    if (member == name) {
      old = std::move(value);
      return;
    }
  }
  members.emplace_back(name, std::move(value));
}

std::string_view type_name(const Value& value) {
  switch (value.kind()) {
    case Kind::kUndefined:
      return "Undefined";
    case Kind::kNone:
      return "NoneType";
    case Kind::kBoolean:
      return "bool";
    case Kind::kInteger:
      return "int";
    case Kind::kReal:
      return "float";
    case Kind::kText:
      return "str";
    case Kind::kList:
      return value.list().is_tuple ? "tuple" : "list";
    case Kind::kDict:
      return "dict";
    case Kind::kNamespace:
      return "Namespace";
    case Kind::kCallable:
      return "function";
    case Kind::kLoop:
      return "LoopContext";
    case Kind::kStream:
      break;
  }
  switch (value.stream().form) {
    case Stream::Form::kGenerator:
      return "generator";
    case Stream::Form::kRange:
      return "range";
    case Stream::Form::kItems:
      return "dict_items";
    case Stream::Form::kKeys:
      return "dict_keys";
    case Stream::Form::kValues:
      return "dict_values";
  }
  return "object";
}

bool is_truthy(const Value& value) {
  switch (value.kind()) {
    case Kind::kUndefined:
    case Kind::kNone:
      return false;
    case Kind::kBoolean:
      return value.boolean();
    case Kind::kInteger:
      return value.integer() != 0;
    case Kind::kReal:
      return value.real() != 0;
    case Kind::kText:
      return !value.text().empty();
    case Kind::kList:
      return !value.items().empty();
    case Kind::kDict:
      return !value.dict().entries.empty();
    case Kind::kStream:
      return value.stream().form == Stream::Form::kGenerator || !value.stream().items.empty();
    case Kind::kNamespace:
    case Kind::kCallable:
    case Kind::kLoop:
      return true;
  }
  return false;
}

Value constant_text(std::string text) {
  return Value(std::shared_ptr<const Text>(new Text{std::move(text), false, {nullptr, 0}}));
}

}  // namespace sluice::jinja
