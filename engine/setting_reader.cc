#include "engine/setting_reader.h"

#include <fmt/format.h>

#include <cmath>
#include <utility>

#include "formats/settings.h"

namespace sluice {

template <typename T>
std::optional<T> SettingReader::take(Result<std::optional<T>> result) {
  if (!result.ok()) {
    fail(result.status().message(), result.status().code());
    return std::nullopt;
  }
  return std::move(result).value();
}

std::optional<std::uint32_t> SettingReader::whole(std::string_view key, std::int64_t most,
                                                  std::int64_t least) {
  asked_.insert(key);
  const auto value = take(checkpoint_.integer(key));
  if (!value) return std::nullopt;
  if (*value < least || *value > most) {
    fail(fmt::format("the setting '{}' is {}, outside {} to {}", key, *value, least, most));
    return std::nullopt;
  }
  return static_cast<std::uint32_t>(*value);
}

std::uint32_t SettingReader::required(std::string_view key, std::int64_t most) {
  const auto value = whole(key, most, 1);
  if (!value) fail(fmt::format("the setting '{}' is missing", key));
  return value.value_or(0);
}

std::uint32_t SettingReader::optional(std::string_view key, std::uint32_t otherwise,
                                      std::int64_t least) {
  return whole(key, kMaxWidth, least).value_or(otherwise);
}

std::optional<double> SettingReader::optional_number(std::string_view key) {
  asked_.insert(key);
  const auto value = take(checkpoint_.real(key));
  if (value && !std::isfinite(*value)) {
    fail(fmt::format("the setting '{}' is not finite", key));
    return std::nullopt;
  }
  return value;
}

double SettingReader::number(std::string_view key, double otherwise) {
  return optional_number(key).value_or(otherwise);
}

bool SettingReader::flag(std::string_view key, bool otherwise) {
  asked_.insert(key);
  return take(checkpoint_.boolean(key)).value_or(otherwise);
}

std::string SettingReader::word(std::string_view key, const std::string& otherwise) {
  asked_.insert(key);
  return take(checkpoint_.text(key)).value_or(otherwise);
}

std::vector<double> SettingReader::numbers(std::string_view key) {
  asked_.insert(key);
  return take(checkpoint_.reals(key)).value_or(std::vector<double>());
}

std::vector<std::uint32_t> SettingReader::by_layer(std::string_view key, std::size_t layers,
                                                   std::uint32_t otherwise, std::int64_t least) {
  asked_.insert(key);
  std::vector<std::uint32_t> all(layers, otherwise);
  const auto values = layer_integers(checkpoint_, key, layers, otherwise);
  if (!values.ok()) {
    fail(values.status().message(), values.status().code());
    return all;
  }
  for (std::size_t i = 0; i < layers; ++i) {
    const std::int64_t value = (*values)[i];
    if (value < std::min<std::int64_t>(least, otherwise) || value > kMaxWidth) {
      fail(fmt::format("the setting '{}' is {}, outside {} to {}", key, value, least, kMaxWidth));
      return all;
    }
    all[i] = static_cast<std::uint32_t>(value);
  }
  return all;
}

std::vector<double> SettingReader::reals_by_layer(std::string_view key, std::size_t layers,
                                                  double otherwise) {
  asked_.insert(key);
  auto values = layer_reals(checkpoint_, key, layers, otherwise);
  if (values.ok()) return std::move(values).value();
  fail(values.status().message(), values.status().code());
  return std::vector<double>(layers, otherwise);
}

void SettingReader::refuse_what_was_not_asked() {
  for (const SettingRule& rule : setting_rules()) {
    const auto found = checkpoint_.settings.find(rule.key);
    if (found == checkpoint_.settings.end() || asked_.contains(rule.key)) continue;
    if (rule.key.starts_with("sampling.") || setting_text(found->second) == rule.plain) continue;
    refuse(rule.key, setting_text(found->second));
  }
}

void SettingReader::refuse(std::string_view key, std::string_view value) {
  fail(fmt::format("the setting '{}' ({}) is not one that this version runs", key, value),
       ErrorCode::kUnsupported);
}

void SettingReader::fail(const std::string& message, ErrorCode code) {
  if (!status_.ok()) return;
  const std::string file = checkpoint_.files.empty() ? "" : checkpoint_.files.front() + ": ";
  status_ = Status(code, file + message);
}

}  // namespace sluice
