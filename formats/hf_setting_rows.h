#pragma once
// Rows "key of a JSON object → setting", and reading by them.

#include <cstdint>
#include <span>
#include <string_view>

#include <nlohmann/json.hpp>

#include "base/status.h"
#include "formats/setting_editor.h"

namespace sluice {

enum class JsonKind : std::uint8_t { kInteger, kReal, kBoolean, kText, kReals };

struct SettingRow {
  std::string_view hf;
  std::string_view setting;
  JsonKind kind;
  std::string_view architecture = {};  // GGUF's name; empty: any
};

/// The value under row.hf; nullopt where there is none; kCorrupt names the key.
Result<std::optional<Setting>> read_setting(const nlohmann::json& node, const SettingRow& row);

/// Where two keys mean one setting, the first that is there counts. `lenient`: values of the wrong
/// kind are passed over (an architecture that nobody has looked at may mean something else).
Status apply_rows(const nlohmann::json& node, std::span<const SettingRow> rows,
                  std::string_view architecture, bool lenient, SettingEditor& settings);

}  // namespace sluice
