#pragma once
// Reads a checkpoint's settings one after the other and remembers the first that was wrong, so that
// a description reads as a list of fields. It also remembers what was asked for.

#include <array>
#include <cstdint>
#include <optional>
#include <set>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/status.h"
#include "formats/checkpoint.h"

namespace sluice {

class SettingReader {
 public:
  explicit SettingReader(const Checkpoint& checkpoint) : checkpoint_(checkpoint) {}

  /// Whole numbers in [least, most]; 0 after a failure.
  std::uint32_t required(std::string_view key, std::int64_t most = kMaxWidth);
  std::uint32_t optional(std::string_view key, std::uint32_t otherwise, std::int64_t least = 0);
  double number(std::string_view key, double otherwise);
  std::optional<double> optional_number(std::string_view key);
  bool flag(std::string_view key, bool otherwise);
  std::string word(std::string_view key, const std::string& otherwise);
  std::vector<double> numbers(std::string_view key);

  /// One for each of `layers` layers, whether the setting is a list or one value for all.
  std::vector<std::uint32_t> by_layer(std::string_view key, std::size_t layers,
                                      std::uint32_t otherwise, std::int64_t least = 0);
  std::vector<double> reals_by_layer(std::string_view key, std::size_t layers, double otherwise);

  /// The value whose name the setting has; kUnsupported for a name that is not there.
  template <typename T>
  struct Choice {
    std::string_view name;
    T value;
  };
  template <typename T, std::size_t N>
  T one_of(std::string_view key, const Choice<T> (&choices)[N]) {
    const std::string name = word(key, std::string(choices[0].name));
    for (const Choice<T>& choice : choices) {
      if (choice.name == name) return choice.value;
    }
    refuse(key, name);
    return choices[0].value;
  }

  /// For settings that others look at, or that tensors say.
  void asked(std::string_view key) { asked_.insert(key); }
  /// What a checkpoint says and nobody has asked for is not computed: better not to run it at all.
  void refuse_what_was_not_asked();

  /// `key`: the setting that it is about, if there is one.
  void fail(const std::string& message, ErrorCode code = ErrorCode::kCorrupt,
            std::string_view key = {});
  void refuse(std::string_view key, std::string_view value);
  const Status& status() const { return status_; }

  /// Bounds that no model comes near; they keep every later product inside 64 bits.
  static constexpr std::int64_t kMaxLayers = 4096;
  static constexpr std::int64_t kMaxWidth = 1 << 24;

 private:
  template <typename T>
  std::optional<T> take(std::string_view key, Result<std::optional<T>> result);
  std::optional<std::uint32_t> whole(std::string_view key, std::int64_t most, std::int64_t least);

  const Checkpoint& checkpoint_;
  std::set<std::string_view> asked_;
  Status status_;
};

}  // namespace sluice
