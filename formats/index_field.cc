#include "formats/index_field.h"

#include <utility>

namespace sluice {
namespace {

const nlohmann::json& nothing() {
  static const nlohmann::json kNothing;
  return kNothing;
}

}  // namespace

void IndexField::fail(const std::string& what, ErrorCode code) const {
  if (failure_->ok()) {
    *failure_ = Status(code, (name_.empty() ? "index" : "index, '" + name_ + "'") + ": " + what);
  }
}

std::optional<IndexField> IndexField::find(std::string_view key) const {
  if (!value_->is_object()) {
    fail("is not a map");
    return std::nullopt;
  }
  const auto found = value_->find(key);
  if (found == value_->end()) return std::nullopt;
  return IndexField(*found, name_.empty() ? std::string(key) : name_ + "." + std::string(key),
                    *failure_);
}

IndexField IndexField::operator[](std::string_view key) const {
  if (auto member = find(key)) return *std::move(member);
  fail("has no '" + std::string(key) + "'");
  return IndexField(nothing(), name_, *failure_);
}

std::uint64_t IndexField::number() const {
  if (value_->is_number_unsigned()) return value_->get<std::uint64_t>();
  fail("is not a number from 0 on");
  return 0;
}

std::uint64_t IndexField::number(std::uint64_t most) const {
  const std::uint64_t value = number();
  if (value <= most) return value;
  fail(std::to_string(value) + " is more than " + std::to_string(most));
  return 0;
}

bool IndexField::flag() const {
  if (value_->is_boolean()) return value_->get<bool>();
  fail("is not true or false");
  return false;
}

std::string IndexField::text() const {
  if (value_->is_string()) return value_->get<std::string>();
  fail("is not a text");
  return {};
}

std::size_t IndexField::word(std::span<const std::string_view> words) const {
  const std::string chosen = text();
  for (std::size_t i = 0; i < words.size(); ++i) {
    if (words[i] == chosen) return i;
  }
  fail("'" + chosen + "' is nothing that this version knows: update Sluice",
       ErrorCode::kUnsupported);
  return 0;
}

std::vector<std::uint64_t> IndexField::numbers() const {
  std::vector<std::uint64_t> list;
  if (!value_->is_array()) fail("is not a list");
  if (failed()) return list;
  list.reserve(value_->size());
  for (const nlohmann::json& element : *value_) {
    if (!element.is_number_unsigned()) {
      fail("holds something other than numbers from 0 on");
      return {};
    }
    list.push_back(element.get<std::uint64_t>());
  }
  return list;
}

std::span<const std::uint8_t> IndexField::bytes() const {
  if (value_->is_binary()) return value_->get_binary();
  fail("is not a byte string");
  return {};
}

std::vector<IndexField> IndexField::elements() const {
  std::vector<IndexField> list;
  if (!value_->is_array()) fail("is not a list");
  if (failed()) return list;
  for (std::size_t i = 0; i < value_->size(); ++i) {
    list.emplace_back((*value_)[i], name_ + "[" + std::to_string(i) + "]", *failure_);
  }
  return list;
}

std::vector<std::pair<std::string, IndexField>> IndexField::members() const {
  std::vector<std::pair<std::string, IndexField>> list;
  if (!value_->is_object()) fail("is not a map");
  if (failed()) return list;
  for (const auto& [key, member] : value_->items()) {
    list.emplace_back(key, IndexField(member, name_ + "." + key, *failure_));
  }
  return list;
}

}  // namespace sluice
