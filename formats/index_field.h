#pragma once
// A value in a store's index, which nobody vouches for, and its name: reading one of another kind
// notes a failure that names it, and gives something harmless. So a whole object is read without
// looking, and the failure is looked at once.

#include <cstdint>
#include <cstring>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <type_traits>
#include <vector>

#include <nlohmann/json.hpp>

#include "base/status.h"

namespace sluice {

/// Borrows the document and the failure, which holds the first that there was.
class IndexField {
 public:
  IndexField(const nlohmann::json& value, std::string name, Status& failure)
      : value_(&value), name_(std::move(name)), failure_(&failure) {}

  /// A member that must be there.
  IndexField operator[](std::string_view key) const;
  std::optional<IndexField> find(std::string_view key) const;

  std::uint64_t number() const;
  /// A number that is at most `most`.
  std::uint64_t number(std::uint64_t most) const;
  bool flag() const;
  std::string text() const;
  /// Which of these words: the index of a text in `words`. Another one is kUnsupported: it may be a
  /// newer version's.
  std::size_t word(std::span<const std::string_view> words) const;
  std::vector<std::uint64_t> numbers() const;
  std::span<const std::uint8_t> bytes() const;
  /// Numbers one after the other in a byte string, little-endian.
  template <typename T>
  std::vector<T> packed() const {
    static_assert(std::is_arithmetic_v<T> || std::is_enum_v<T>);
    const std::span<const std::uint8_t> raw = bytes();
    if (raw.size() % sizeof(T) != 0) fail("does not hold whole numbers");
    std::vector<T> values(raw.size() / sizeof(T));
    if (!values.empty()) std::memcpy(values.data(), raw.data(), values.size() * sizeof(T));
    return values;
  }
  /// The elements of a list and the members of an object, by name; none after a failure.
  std::vector<IndexField> elements() const;
  std::vector<std::pair<std::string, IndexField>> members() const;

  const nlohmann::json& value() const { return *value_; }
  void fail(const std::string& what, ErrorCode code = ErrorCode::kCorrupt) const;
  bool failed() const { return !failure_->ok(); }

 private:
  const nlohmann::json* value_;
  std::string name_;
  Status* failure_;
};

}  // namespace sluice
