#pragma once
// The settings of a checkpoint while they are put together.

#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/status.h"
#include "formats/checkpoint.h"

namespace sluice {

/// What is there wins: `set` adds, `replace` overwrites. Borrows the checkpoint.
class SettingEditor {
 public:
  explicit SettingEditor(Checkpoint& checkpoint) : checkpoint_(checkpoint) {}

  bool has(std::string_view key) const { return checkpoint_.settings.contains(key); }
  void set(std::string_view key, Setting value) {
    checkpoint_.settings.try_emplace(std::string(key), std::move(value));
  }
  void replace(std::string_view key, Setting value) {
    checkpoint_.settings.insert_or_assign(std::string(key), std::move(value));
  }
  void erase(std::string_view key) {
    if (const auto found = checkpoint_.settings.find(key); found != checkpoint_.settings.end()) {
      checkpoint_.settings.erase(found);
    }
  }
  void copy(std::string_view from, std::string_view to) {
    if (const auto found = checkpoint_.settings.find(from); found != checkpoint_.settings.end()) {
      Setting value = found->second;
      set(to, std::move(value));
    }
  }
  void rename(std::string_view from, std::string_view to) {
    copy(from, to);
    erase(from);
  }

  /// The setting where it is one integer; a list has one for each layer and implies nothing here.
  std::optional<std::int64_t> integer(std::string_view key) const {
    const auto value = checkpoint_.integer(key);
    return value.ok() ? *value : std::nullopt;
  }
  std::optional<double> real(std::string_view key) const {
    const auto value = checkpoint_.real(key);
    return value.ok() ? *value : std::nullopt;
  }
  std::string text(std::string_view key) const {
    const auto value = checkpoint_.text(key);
    return value.ok() ? value->value_or("") : "";
  }
  bool flag(std::string_view key) const {
    const auto value = checkpoint_.boolean(key);
    return value.ok() && value->value_or(false);
  }

  /// Layers, for lists with one for each; 0 where the checkpoint does not say; kCorrupt where the
  /// count is out of any range.
  Result<std::size_t> layers() const {
    constexpr std::int64_t kMost = 1 << 16;
    SLUICE_ASSIGN(const auto count, checkpoint_.integer("block_count"));
    if (count && (*count < 1 || *count > kMost)) {
      return Status(ErrorCode::kCorrupt, "setting 'block_count' is " + std::to_string(*count) +
                                             ", which is out of range");
    }
    return static_cast<std::size_t>(count.value_or(0));
  }

  /// A list with one for each layer, as the one value where all agree.
  template <typename T>
  void set_by_layer(std::string_view key, std::vector<T> values) {
    for (const T& value : values) {
      if (value != values.front()) {
        replace(key, std::move(values));
        return;
      }
    }
    if (!values.empty()) replace(key, values.front());
  }

  /// Flags that are absent where all are 1.
  void set_flags(std::string_view key, std::vector<std::int64_t> flags) {
    for (const std::int64_t flag : flags) {
      if (flag != 1) {
        replace(key, std::move(flags));
        return;
      }
    }
    erase(key);
  }

  Checkpoint& checkpoint() { return checkpoint_; }

 private:
  Checkpoint& checkpoint_;
};

}  // namespace sluice
