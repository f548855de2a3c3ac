#include "layers/setting_reader.h"

#include <fmt/format.h>

#include <cmath>
#include <utility>

#include "formats/settings.h"

namespace sluice {

template <typename T>
std::optional<T> SettingReader::take(std::string_view key, Result<std::optional<T>> result) {
  if (!result.ok()) {
    fail(result.status().message(), result.status().code(), key);
    return std::nullopt;
  }
  return std::move(result).value();
}

std::optional<std::uint32_t> SettingReader::whole(std::string_view key, std::int64_t most,
                                                  std::int64_t least) {
  asked_.insert(key);
  const auto value = take(key, checkpoint_.integer(key));
  if (!value) return std::nullopt;
  if (*value < least || *value > most) {
    fail(fmt::format("the setting '{}' is {}, outside {} to {}", key, *value, least, most),
         ErrorCode::kCorrupt, key);
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
  const auto value = take(key, checkpoint_.real(key));
  if (value && !std::isfinite(*value)) {
    fail(fmt::format("the setting '{}' is not finite", key), ErrorCode::kCorrupt, key);
    return std::nullopt;
  }
  return value;
}

double SettingReader::number(std::string_view key, double otherwise) {
  return optional_number(key).value_or(otherwise);
}

bool SettingReader::flag(std::string_view key, bool otherwise) {
  asked_.insert(key);
  return take(key, checkpoint_.boolean(key)).value_or(otherwise);
}

std::string SettingReader::word(std::string_view key, const std::string& otherwise) {
  asked_.insert(key);
  return take(key, checkpoint_.text(key)).value_or(otherwise);
}

std::vector<double> SettingReader::numbers(std::string_view key) {
  asked_.insert(key);
  return take(key, checkpoint_.reals(key)).value_or(std::vector<double>());
}

std::vector<std::uint32_t> SettingReader::by_layer(std::string_view key, std::size_t layers,
                                                   std::uint32_t otherwise, std::int64_t least) {
  asked_.insert(key);
  std::vector<std::uint32_t> all(layers, otherwise);
  const auto values = layer_integers(checkpoint_, key, layers, otherwise);
  if (!values.ok()) {
    fail(values.status().message(), values.status().code(), key);
    return all;
  }
  for (std::size_t i = 0; i < layers; ++i) {
    const std::int64_t value = (*values)[i];
    if (value < std::min<std::int64_t>(least, otherwise) || value > kMaxWidth) {
      fail(fmt::format("the setting '{}' is {}, outside {} to {}", key, value, least, kMaxWidth),
           ErrorCode::kCorrupt, key);
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
  fail(values.status().message(), values.status().code(), key);
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
       ErrorCode::kUnsupported, key);
}

void SettingReader::fail(const std::string& message, ErrorCode code, std::string_view key) {
  if (!status_.ok()) return;
  status_ = Status(code, message).with_context(checkpoint_.source_of(key));
}

}  // namespace sluice
