#include "formats/json.h"

#include <algorithm>
#include <cmath>
#include <iterator>
#include <span>
#include <utility>

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

/// Bytes of a file one after the other, a piece of it in memory. The parser collects whatever lies
/// between two quotes, a text or white space, so that is what is bounded.
class JsonBytes {
 public:
  JsonBytes(HeaderReader& reader, std::uint64_t length, std::uint64_t longest_text)
      : reader_(reader), left_(length), longest_text_(longest_text) {
    refill();
  }

  bool ended() const { return at_ == piece_.size(); }
  const char& current() const { return piece_[at_]; }
  void advance() {
    const char passed = piece_[at_];
    since_quote_ = passed == '"' && !escaped_ ? 0 : since_quote_ + 1;
    escaped_ = passed == '\\' && !escaped_;
    ++consumed_;
    if (++at_ == piece_.size()) refill();
  }
  std::uint64_t consumed() const { return consumed_; }
  /// Why the bytes ended early; ok where they did not.
  const Status& status() const { return status_; }

 private:
  void refill() {
    at_ = 0;
    piece_.resize(static_cast<std::size_t>(std::min<std::uint64_t>(left_, kPiece)));
    left_ -= piece_.size();
    if (since_quote_ > longest_text_) {
      status_ = reader_.corrupt("JSON", "more than " + std::to_string(longest_text_) +
                                            " bytes in one text or between two");
    } else if (!piece_.empty()) {
      status_ = reader_.read(std::as_writable_bytes(std::span(piece_)), "JSON");
    }
    if (!status_.ok()) piece_.clear();
  }

  static constexpr std::uint64_t kPiece = std::uint64_t{64} << 10;
  HeaderReader& reader_;
  std::uint64_t left_;
  std::uint64_t longest_text_;
  std::uint64_t consumed_ = 0;
  std::uint64_t since_quote_ = 0;
  bool escaped_ = false;  // the byte before was a backslash that counts
  std::string piece_;
  std::size_t at_ = 0;
  Status status_;
};

/// JsonBytes as the pair of iterators that the parser takes; the end has none.
struct Cursor {
  using iterator_category = std::input_iterator_tag;
  using value_type = char;
  using difference_type = std::ptrdiff_t;
  using pointer = const char*;
  using reference = const char&;
  JsonBytes* bytes = nullptr;
  bool ended() const { return bytes == nullptr || bytes->ended(); }
  reference operator*() const { return bytes->current(); }
  Cursor& operator++() {
    bytes->advance();
    return *this;
  }
  bool operator==(const Cursor& other) const { return ended() == other.ended(); }
  bool operator!=(const Cursor& other) const { return ended() != other.ended(); }
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
  switch (fate_of(value)) {
    case Fate::kKeep:
      break;
    case Fate::kDrop:
      return &dropped_;
    case Fate::kStop:
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
  if (open_.size() == 1 && !place->is_structured()) {
    return finish_member(root_, key_) ? &dropped_ : nullptr;
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
  const std::string key = std::move(keys_.back());
  keys_.pop_back();
  key_.clear();
  return open_.size() != 1 || root_.is_array() || finish_member(root_, key);
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

Status JsonBuilder::parse(HeaderReader& reader, std::uint64_t length, std::uint64_t longest_text) {
  const std::uint64_t first = reader.position();
  JsonBytes bytes(reader, length, longest_text);
  bool parsed = false;
  try {
    parsed = nlohmann::json::sax_parse(Cursor{&bytes}, Cursor{}, this);
  } catch (const nlohmann::json::exception& error) {
    fail(error.what());
  }
  SLUICE_TRY(bytes.status());
  if (parsed && error_.empty()) return {};
  return Status(ErrorCode::kCorrupt, reader.path() + ": JSON at byte " +
                                         std::to_string(first + bytes.consumed()) + ": " + error_);
}

Result<nlohmann::json> read_json_object(const std::string& path, std::uint64_t limit) {
  SLUICE_ASSIGN(HeaderReader reader, open_whole_file(path, limit));
  JsonBuilder builder;
  SLUICE_TRY(builder.parse(reader, reader.file_size()));
  nlohmann::json document = builder.take();
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
