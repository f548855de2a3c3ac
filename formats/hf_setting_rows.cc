#include "formats/hf_setting_rows.h"

#include <string>
#include <utility>
#include <vector>

#include "formats/json.h"

namespace sluice {
namespace {

template <typename T>
Result<std::optional<Setting>> wrap(Result<std::optional<T>> value) {
  if (!value.ok()) return value.status();
  std::optional<Setting> setting;
  if (*value) setting.emplace(std::in_place_type<T>, std::move(**value));
  return setting;
}

}  // namespace

Result<std::optional<Setting>> read_setting(const nlohmann::json& node, const SettingRow& row) {
  switch (row.kind) {
    case JsonKind::kInteger:
      return wrap(json_value<std::int64_t>(node, row.hf));
    case JsonKind::kReal:
      return wrap(json_value<double>(node, row.hf));
    case JsonKind::kBoolean:
      return wrap(json_value<bool>(node, row.hf));
    case JsonKind::kText:
      return wrap(json_value<std::string>(node, row.hf));
    case JsonKind::kReals:
      break;
  }
  const nlohmann::json* list = json_member(node, row.hf);
  if (list == nullptr) return std::optional<Setting>();
  std::vector<double> values;
  bool numbers = list->is_array() && !list->empty() && list->size() <= (1 << 16);
  if (numbers) {
    for (const nlohmann::json& value : *list) {
      numbers = numbers && value.is_number();
      if (numbers) values.push_back(value.get<double>());
    }
  }
  if (!numbers) {
    return Status(ErrorCode::kCorrupt, "'" + std::string(row.hf) + "' is not a list of numbers");
  }
  return std::optional<Setting>(std::move(values));
}

Status apply_rows(const nlohmann::json& node, std::span<const SettingRow> rows,
                  std::string_view architecture, bool lenient, SettingEditor& settings) {
  for (const SettingRow& row : rows) {
    if (!row.architecture.empty() && row.architecture != architecture) continue;
    auto value = read_setting(node, row);
    if (value.ok() && *value) settings.set(row.setting, std::move(**value));
    if (!value.ok() && !lenient) return value.status();
  }
  return {};
}

}  // namespace sluice
