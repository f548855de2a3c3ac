#pragma once
// JSON from files that nobody vouches for: bounded in depth, in the number of values and in the
// length of a text, no key twice, errors with the byte. Files are parsed as they are read, so that
// what is kept of them is all that they cost.

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <type_traits>
#include <vector>

#include <nlohmann/json.hpp>

#include "base/status.h"
#include "formats/header_reader.h"

namespace sluice {

/// Builds a document from the parser's events. A subclass may divert parts of it
/// (tokenizer_json.cc, safetensors.cc), which then take no room in it.
class JsonBuilder : public nlohmann::json_sax<nlohmann::json> {
 public:
  bool null() override { return add(nullptr) != nullptr; }
  bool boolean(bool value) override { return add(value) != nullptr; }
  bool number_integer(number_integer_t value) override { return add(value) != nullptr; }
  bool number_unsigned(number_unsigned_t value) override { return add(value) != nullptr; }
  bool number_float(number_float_t value, const string_t&) override {
    return add(value) != nullptr;
  }
  bool string(string_t& value) override { return add(std::move(value)) != nullptr; }
  bool binary(binary_t&) override { return fail("binary data"); }
  bool start_object(std::size_t) override { return open(nlohmann::json::object()); }
  bool key(string_t& value) override;
  bool end_object() override { return close(); }
  bool start_array(std::size_t) override { return open(nlohmann::json::array()); }
  bool end_array() override { return close(); }
  bool parse_error(std::size_t position, const std::string& last_token,
                   const nlohmann::detail::exception& error) override;

  /// Runs the parser over the reader's next `length` bytes; errors say "path: JSON at byte N: …".
  /// A text may have `longest_text` bytes.
  Status parse(HeaderReader& reader, std::uint64_t length,
               std::uint64_t longest_text = kLongestText);
  nlohmann::json take() { return std::move(root_); }

 protected:
  static constexpr std::uint64_t kLongestText = std::uint64_t{8} << 20;

  enum class Fate { kKeep, kDrop, kStop };
  /// What becomes of a value, asked before it goes into the document; what is kStop has called
  /// fail(). Lists and objects, asked when they begin, cannot be dropped.
  virtual Fate fate_of(nlohmann::json&) { return Fate::kKeep; }
  /// The member `key` of the outermost object is whole, and may be taken out of it. False stops.
  virtual bool finish_member(nlohmann::json&, const std::string&) { return true; }

  /// Stops the parser with this message. Always false, to be returned.
  bool fail(std::string message);
  std::size_t depth() const { return open_.size(); }
  /// The key under which the container at `depth`'s level, or the coming value, stands in its
  /// object; empty in an array.
  const std::string& key_at(std::size_t level) const { return keys_[level]; }
  const std::string& coming_key() const { return key_; }

 private:
  nlohmann::json* add(nlohmann::json value);
  bool open(nlohmann::json container);
  bool close();

  nlohmann::json root_;
  nlohmann::json dropped_;
  std::vector<nlohmann::json*> open_;  // containers not yet closed, outermost first
  std::vector<std::string> keys_;      // of each of them
  std::string key_;
  std::size_t values_ = 0;
  std::string error_;
};

/// A document that is an object, from a file of at most `limit` bytes.
Result<nlohmann::json> read_json_object(const std::string& path, std::uint64_t limit);

/// The member `key` of an object; null when there is none, or when it is null, or when `node` is no
/// object.
const nlohmann::json* json_member(const nlohmann::json& node, std::string_view key);

/// The member as bool, std::int64_t, double or std::string; nullopt where json_member gives null;
/// kCorrupt for another kind.
template <typename T>
Result<std::optional<T>> json_value(const nlohmann::json& node, std::string_view key);

/// A list of integers, or a single one.
Result<std::vector<std::int64_t>> json_integers(const nlohmann::json& node, std::string_view key);

}  // namespace sluice
