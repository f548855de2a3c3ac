#include "formats/gguf_metadata.h"

#include <limits>
#include <set>
#include <type_traits>
#include <utility>
#include <variant>

#include "formats/vocabulary_bounds.h"

namespace sluice {
namespace {

enum class ValueKind : std::uint32_t {
  kU8 = 0,
  kI8 = 1,
  kU16 = 2,
  kI16 = 3,
  kU32 = 4,
  kI32 = 5,
  kF32 = 6,
  kBool = 7,
  kText = 8,
  kArray = 9,
  kU64 = 10,
  kI64 = 11,
  kF64 = 12,
};
constexpr std::uint32_t kLastKind = 12;

constexpr std::uint64_t kLongestKey = 65535;  // the format's own limit
constexpr std::uint64_t kLongestText = std::uint64_t{1} << 20;
constexpr std::uint64_t kLongestList = std::uint64_t{1} << 16;
constexpr std::uint64_t kLargestCharacterMap = std::uint64_t{16} << 20;
constexpr std::uint64_t kMostSettings = std::uint64_t{32} << 20;  // bytes of keys and values kept
constexpr std::uint64_t kOverhead = 128;                          // of keeping one, about
constexpr int kDeepestArray = 4;

using Scalar = std::variant<bool, std::int64_t, double>;

/// The fewest bytes that a value of a kind takes in the file.
std::uint64_t least_bytes(ValueKind kind) {
  switch (kind) {
    case ValueKind::kU8:
    case ValueKind::kI8:
    case ValueKind::kBool:
      return 1;
    case ValueKind::kU16:
    case ValueKind::kI16:
      return 2;
    case ValueKind::kU32:
    case ValueKind::kI32:
    case ValueKind::kF32:
      return 4;
    case ValueKind::kText:
    case ValueKind::kU64:
    case ValueKind::kI64:
    case ValueKind::kF64:
      return 8;
    case ValueKind::kArray:
      return 12;
  }
  return 1;
}

class MetadataReader {
 public:
  explicit MetadataReader(HeaderReader& reader) : reader_(reader) {}

  Result<GgufMetadata> read(std::uint64_t count) {
    for (std::uint64_t i = 0; i < count; ++i) SLUICE_TRY(read_pair());
    return std::move(metadata_);
  }

 private:
  Status read_pair() {
    SLUICE_ASSIGN(const auto length, reader_.read<std::uint64_t>("length of a key"));
    if (length == 0 || length > kLongestKey) {
      return reader_.corrupt("length of a key", std::to_string(length) + " is out of range");
    }
    SLUICE_TRY(reader_.read_text(key_, length, "key"));
    if (key_.find('\0') != std::string::npos) return reader_.corrupt("key", "holds a NUL");
    if (!seen_.insert(key_).second) return reader_.corrupt("key", "'" + key_ + "' appears twice");
    SLUICE_TRY(count_kept(key_.size() + kOverhead));
    SLUICE_ASSIGN(const ValueKind kind, read_kind());
    if (kind == ValueKind::kArray) return read_array(0);
    if (kind == ValueKind::kText) return read_text();
    return keep_scalar(kind);
  }

  Status count_kept(std::uint64_t bytes) {
    kept_ += bytes;
    if (kept_ <= kMostSettings) return {};
    return reader_.corrupt(
        key_, "the settings so far take more than " + std::to_string(kMostSettings) + " bytes");
  }

  Result<ValueKind> read_kind() {
    SLUICE_ASSIGN(const auto kind, reader_.read<std::uint32_t>(key_));
    if (kind > kLastKind) {
      return reader_.corrupt(key_, "value kind " + std::to_string(kind) + " does not exist");
    }
    return static_cast<ValueKind>(kind);
  }

  Status read_text() {
    SLUICE_ASSIGN(const auto length, reader_.read<std::uint64_t>(key_));
    // What is this long is a whole file of another kind carried along (tokenizer.huggingface.json).
    if (length > kLongestText) return reader_.skip(length, key_);
    SLUICE_TRY(count_kept(length));
    std::string text;
    SLUICE_TRY(reader_.read_text(text, length, key_));
    metadata_.values.emplace(key_, std::move(text));
    return {};
  }

  template <typename T>
  Result<Scalar> read_integer() {
    SLUICE_ASSIGN(const T value, reader_.read<T>(key_));
    if constexpr (std::is_same_v<T, std::uint64_t>) {
      // Beyond 63 bits nothing counts anything; kept inexactly so that a look-up as an integer
      // fails.
      if (value > static_cast<std::uint64_t>(std::numeric_limits<std::int64_t>::max())) {
        return Scalar(static_cast<double>(value));
      }
    }
    return Scalar(static_cast<std::int64_t>(value));
  }

  Result<Scalar> read_scalar(ValueKind kind) {
    switch (kind) {
      case ValueKind::kU8:
        return read_integer<std::uint8_t>();
      case ValueKind::kI8:
        return read_integer<std::int8_t>();
      case ValueKind::kU16:
        return read_integer<std::uint16_t>();
      case ValueKind::kI16:
        return read_integer<std::int16_t>();
      case ValueKind::kU32:
        return read_integer<std::uint32_t>();
      case ValueKind::kI32:
        return read_integer<std::int32_t>();
      case ValueKind::kU64:
        return read_integer<std::uint64_t>();
      case ValueKind::kI64:
        return read_integer<std::int64_t>();
      case ValueKind::kF32: {
        SLUICE_ASSIGN(const float value, reader_.read<float>(key_));
        return Scalar(static_cast<double>(value));
      }
      case ValueKind::kF64: {
        SLUICE_ASSIGN(const double value, reader_.read<double>(key_));
        return Scalar(value);
      }
      case ValueKind::kBool: {
        SLUICE_ASSIGN(const auto value, reader_.read<std::uint8_t>(key_));
        if (value > 1) {
          return reader_.corrupt(key_, "a truth value of " + std::to_string(value));
        }
        return Scalar(value == 1);
      }
      case ValueKind::kText:
      case ValueKind::kArray:
        break;
    }
    return Status(ErrorCode::kInternal, "not a scalar kind");
  }

  Status keep_scalar(ValueKind kind) {
    SLUICE_ASSIGN(const Scalar scalar, read_scalar(kind));
    std::visit([&](auto value) { metadata_.values.emplace(key_, value); }, scalar);
    return {};
  }

  Status read_array(int depth) {
    SLUICE_ASSIGN(const ValueKind kind, read_kind());
    SLUICE_ASSIGN(const auto count, reader_.read<std::uint64_t>(key_));
    if (count > reader_.remaining() / least_bytes(kind)) {
      return reader_.corrupt(key_, "an array of " + std::to_string(count) +
                                       " values cannot fit into the rest of the file");
    }
    if (kind == ValueKind::kArray) {
      if (depth + 1 >= kDeepestArray) return reader_.corrupt(key_, "arrays are nested too deeply");
      for (std::uint64_t i = 0; i < count; ++i) SLUICE_TRY(read_array(depth + 1));
      return {};
    }
    if (kind == ValueKind::kText) {
      if (depth == 0 && key_ == "tokenizer.ggml.tokens") return read_texts(metadata_.tokens, count);
      if (depth == 0 && key_ == "tokenizer.ggml.merges") return read_texts(metadata_.merges, count);
      return skip_texts(count);
    }
    if (depth > 0) return reader_.skip(count * least_bytes(kind), key_);
    if (key_ == "tokenizer.ggml.scores") return read_scores(kind, count);
    if (key_ == "tokenizer.ggml.precompiled_charsmap") return read_character_map(kind, count);
    return read_numbers(kind, count);
  }

  Status read_texts(StringTable& table, std::uint64_t count) {
    VocabularyBounds bounds;
    std::string wrong = VocabularyBounds::refuse_count(count);
    if (!wrong.empty()) return reader_.corrupt(key_, wrong);
    table.reserve(static_cast<std::size_t>(count), 0);
    std::string text;
    for (std::uint64_t i = 0; i < count; ++i) {
      SLUICE_ASSIGN(const auto length, reader_.read<std::uint64_t>(key_));
      wrong = bounds.refuse(length);
      if (!wrong.empty()) return reader_.corrupt(key_, wrong);
      SLUICE_TRY(reader_.read_text(text, length, key_));
      table.push_back(text);
    }
    return {};
  }

  Status skip_texts(std::uint64_t count) {
    for (std::uint64_t i = 0; i < count; ++i) {
      SLUICE_ASSIGN(const auto length, reader_.read<std::uint64_t>(key_));
      SLUICE_TRY(reader_.skip(length, key_));
    }
    return {};
  }

  /// A list with one for each token, before it is read.
  Status check_token_count(std::uint64_t count) const {
    const std::string wrong = VocabularyBounds::refuse_count(count);
    if (!wrong.empty()) return reader_.corrupt(key_, wrong);
    const std::size_t tokens = metadata_.tokens.size();  // mostly they come first
    if (tokens == 0 || count == 0 || count == tokens) return {};
    return reader_.corrupt(
        key_, std::to_string(count) + " values for " + std::to_string(tokens) + " tokens");
  }

  Status read_scores(ValueKind kind, std::uint64_t count) {
    if (kind != ValueKind::kF32) return reader_.corrupt(key_, "must be an array of float32");
    SLUICE_TRY(check_token_count(count));
    metadata_.scores.resize(static_cast<std::size_t>(count));
    return reader_.read(std::as_writable_bytes(std::span(metadata_.scores)), key_);
  }

  Status read_character_map(ValueKind kind, std::uint64_t count) {
    if (kind != ValueKind::kU8 && kind != ValueKind::kI8) {
      return reader_.corrupt(key_, "must be an array of bytes");
    }
    if (count > kLargestCharacterMap) {
      return reader_.corrupt(key_, "an array of " + std::to_string(count) + " bytes");
    }
    return reader_.read_text(metadata_.character_map, count, key_);
  }

  Status read_numbers(ValueKind kind, std::uint64_t count) {
    const bool types = key_ == "tokenizer.ggml.token_type";
    // Nobody's setting is this long.
    if (!types && count > kLongestList) return reader_.skip(count * least_bytes(kind), key_);
    SLUICE_TRY(types ? check_token_count(count) : count_kept(count * sizeof(std::int64_t)));
    std::vector<std::int64_t> integers;
    std::vector<double> reals;
    for (std::uint64_t i = 0; i < count; ++i) {
      SLUICE_ASSIGN(const Scalar value, read_scalar(kind));
      if (const auto* integer = std::get_if<std::int64_t>(&value)) {
        integers.push_back(*integer);
      } else if (const auto* truth = std::get_if<bool>(&value)) {
        integers.push_back(*truth ? 1 : 0);
      } else {
        reals.push_back(std::get<double>(value));
      }
    }
    if (!reals.empty() && !integers.empty()) {
      return reader_.corrupt(key_, "holds an integer of more than 63 bits");
    }
    if (types) {
      if (!reals.empty()) return reader_.corrupt(key_, "must be an array of integers");
      metadata_.token_types = std::move(integers);
    } else if (!reals.empty()) {
      metadata_.values.emplace(key_, std::move(reals));
    } else {
      metadata_.values.emplace(key_, std::move(integers));
    }
    return {};
  }

  HeaderReader& reader_;
  GgufMetadata metadata_;
  std::set<std::string, std::less<>> seen_;
  std::string key_;
  std::uint64_t kept_ = 0;
};

}  // namespace

Result<GgufMetadata> read_gguf_metadata(HeaderReader& reader, std::uint64_t count) {
  return MetadataReader(reader).read(count);
}

}  // namespace sluice
