#include "engine/option_names.h"

#include <charconv>
#include <string>

#include "experts/expert_catalogue.h"

namespace sluice {
namespace {

Status unknown(std::string_view what, std::string_view name, const std::string& names) {
  return {ErrorCode::kInvalidArgument,
          "unknown " + std::string(what) + " \"" + std::string(name) + "\": there are " + names};
}

}  // namespace

Result<KvType> parse_kv_type(std::string_view name) {
  if (name == "f16") return KvType::kF16;
  if (name == "f32") return KvType::kF32;
  if (name == "q8_0") return KvType::kQ8_0;
  return unknown("type of KV cache", name, "f16, f32 and q8_0");
}

Result<bool> parse_compute(std::string_view name) {
  if (name == "q8" || name == "f32") return name == "f32";
  return unknown("type of activations", name, "q8 and f32");
}

Result<unsigned> parse_width(std::string_view name) {
  if (name == "exact") return kExactWidth;
  if (name == "auto") return kAutoWidth;
  unsigned bits = 0;
  const auto [end, wrong] = std::from_chars(name.data(), name.data() + name.size(), bits);
  const bool number = wrong == std::errc() && end == name.data() + name.size();
  std::string names = "exact, auto";
  for (const unsigned width : expert_widths()) {
    if (number && width == bits) return bits;
    names += ", " + std::to_string(width);
  }
  return unknown("width", name, names);
}

}  // namespace sluice
