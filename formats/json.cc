#include "formats/json.h"

#include <cmath>
#include <utility>

#include "formats/header_reader.h"

namespace sluice {
namespace {

constexpr std::size_t kDeepest = 64;
constexpr std::size_t kMostValues = std::size_t{2} << 20;

Status wrong_kind(std::string_view key, std::string_view kind) {
  std::string message = "'";
  message.append(key).append("' is not ").append(kind);
  return Status(ErrorCode::kCorrupt, std::move(message));
}

/// 3 and 3.0 are the integer 3; what does not fit into 64 signed bits is none.
std::optional<std::int64_t> as_integer(const nlohmann::json& value) {
  if (value.is_number_unsigned()) {
    const auto number = value.get<std::uint64_t>();
    if (number > static_cast<std::uint64_t>(INT64_MAX)) return std::nullopt;
    return static_cast<std::int64_t>(number);
  }
  if (value.is_number_integer()) return value.get<std::int64_t>();
  if (value.is_number_float()) {
    const auto number = value.get<double>();
    if (std::abs(number) < 9e15 && std::trunc(number) == number) {
      return static_cast<std::int64_t>(number);
    }
  }
  return std::nullopt;
}

/// An iterator that tells how far the parser came when a check of ours stops it.
struct Cursor {
  using iterator_category = std::input_iterator_tag;
  using value_type = char;
  using difference_type = std::ptrdiff_t;
  using pointer = const char*;
  using reference = const char&;
  const char* at;
  const char** furthest;
  reference operator*() const { return *at; }
  Cursor& operator++() {
    *furthest = ++at;
    return *this;
  }
  bool operator==(const Cursor& other) const { return at == other.at; }
  bool operator!=(const Cursor& other) const { return at != other.at; }
};

}  // namespace

bool JsonBuilder::fail(std::string message) {
  if (error_.empty()) error_ = std::move(message);
  return false;
}

nlohmann::json* JsonBuilder::add(nlohmann::json value) {
  if (++values_ > kMostValues) {
    fail("more than " + std::to_string(kMostValues) + " values");
    return nullptr;
  }
  if (open_.empty()) {
    root_ = std::move(value);
    return &root_;
  }
  nlohmann::json& container = *open_.back();
  if (container.is_array()) return &container.emplace_back(std::move(value));
  const auto [place, fresh] = container.emplace(key_, std::move(value));
  if (!fresh) {
    fail("key '" + key_ + "' appears twice");
    return nullptr;
  }
  return &*place;
}

bool JsonBuilder::open(nlohmann::json container) {
  if (open_.size() >= kDeepest) return fail("nested too deeply");
  nlohmann::json* const place = add(std::move(container));
  if (place == nullptr) return false;
  open_.push_back(place);
  keys_.push_back(std::exchange(key_, {}));
  return true;
}

bool JsonBuilder::close() {
  open_.pop_back();
  keys_.pop_back();
  key_.clear();
  return true;
}

bool JsonBuilder::key(string_t& value) {
  key_ = std::move(value);
  return true;
}

bool JsonBuilder::parse_error(std::size_t, const std::string&,
                              const nlohmann::detail::exception& error) {
  // "[json.exception.parse_error.101] parse error at line …: …": the bracket is the library's, not
  // the user's.
  const std::string_view what = error.what();
  const std::size_t bracket = what.find("] ");
  return fail(std::string(bracket == std::string_view::npos ? what : what.substr(bracket + 2)));
}

Status JsonBuilder::parse(std::string_view text, const std::string& path,
                          std::uint64_t first_byte) {
  const char* furthest = text.data();
  const char* end = text.data() + text.size();
  bool parsed = false;
  try {
    parsed =
        nlohmann::json::sax_parse(Cursor{text.data(), &furthest}, Cursor{end, &furthest}, this);
  } catch (const nlohmann::json::exception& error) {
    fail(error.what());
  }
  if (parsed && error_.empty()) return {};
  const auto offset = first_byte + static_cast<std::uint64_t>(furthest - text.data());
  return Status(ErrorCode::kCorrupt,
                path + ": JSON at byte " + std::to_string(offset) + ": " + error_);
}

Result<nlohmann::json> parse_json(std::string_view text, const std::string& path,
                                  std::uint64_t first_byte) {
  JsonBuilder builder;
  SLUICE_TRY(builder.parse(text, path, first_byte));
  return builder.take();
}

Result<nlohmann::json> read_json_object(const std::string& path, std::uint64_t limit) {
  std::size_t size = 0;
  SLUICE_ASSIGN(const AlignedBuffer bytes, read_whole_file(path, limit, &size));
  SLUICE_ASSIGN(nlohmann::json document,
                parse_json({reinterpret_cast<const char*>(bytes.data()), size}, path));
  if (!document.is_object()) return Status(ErrorCode::kCorrupt, path + ": not a JSON object");
  return document;
}

const nlohmann::json* json_member(const nlohmann::json& node, std::string_view key) {
  if (!node.is_object()) return nullptr;
  const auto found = node.find(key);
  return found == node.end() || found->is_null() ? nullptr : &*found;
}

template <>
Result<std::optional<bool>> json_value(const nlohmann::json& node, std::string_view key) {
  const nlohmann::json* member = json_member(node, key);
  if (member == nullptr) return std::optional<bool>();
  if (!member->is_boolean()) return wrong_kind(key, "true or false");
  return std::optional(member->get<bool>());
}

template <>
Result<std::optional<std::int64_t>> json_value(const nlohmann::json& node, std::string_view key) {
  const nlohmann::json* member = json_member(node, key);
  if (member == nullptr) return std::optional<std::int64_t>();
  const auto number = as_integer(*member);
  if (!number) return wrong_kind(key, "an integer");
  return number;
}

template <>
Result<std::optional<double>> json_value(const nlohmann::json& node, std::string_view key) {
  const nlohmann::json* member = json_member(node, key);
  if (member == nullptr) return std::optional<double>();
  if (!member->is_number()) return wrong_kind(key, "a number");
  return std::optional(member->get<double>());
}

template <>
Result<std::optional<std::string>> json_value(const nlohmann::json& node, std::string_view key) {
  const nlohmann::json* member = json_member(node, key);
  if (member == nullptr) return std::optional<std::string>();
  if (!member->is_string()) return wrong_kind(key, "a text");
  return std::optional(member->get<std::string>());
}

Result<std::vector<std::int64_t>> json_integers(const nlohmann::json& node, std::string_view key) {
  std::vector<std::int64_t> list;
  const nlohmann::json* member = json_member(node, key);
  if (member == nullptr) return list;
  if (!member->is_array()) {
    SLUICE_ASSIGN(const auto single, json_value<std::int64_t>(node, key));
    list.push_back(*single);
    return list;
  }
  for (const nlohmann::json& element : *member) {
    const auto number = as_integer(element);
    if (!number) return wrong_kind(key, "a list of integers");
    list.push_back(*number);
  }
  return list;
}

}  // namespace sluice
