#include "formats/hf_rope.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <numbers>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "formats/hf_setting_rows.h"
#include "formats/json.h"

namespace sluice {
namespace {

using nlohmann::json;
using enum JsonKind;

/// Inside rope_scaling or rope_parameters.
constexpr auto kRopeSettings = std::to_array<SettingRow>({
    {"rope_theta", "rope.freq_base", kReal},
    {"factor", "rope.scaling.factor", kReal},
    {"original_max_position_embeddings", "rope.scaling.original_context_length", kInteger},
    {"beta_fast", "rope.scaling.yarn_beta_fast", kReal},
    {"beta_slow", "rope.scaling.yarn_beta_slow", kReal},
    {"truncate", "rope.scaling.truncate", kBoolean},
    {"short_factor", "rope.factors_short", kReals},
    {"long_factor", "rope.factors_long", kReals},
    {"short_mscale", "rope.attention_factor", kReal},
    {"long_mscale", "rope.attention_factor_long", kReal},
});

/// A divisor that leaves a pair where it is, as GGUF writes it.
constexpr double kStandsStill = 1e30;

class RopeTranslator {
 public:
  RopeTranslator(const json& config, const Architecture* architecture, SettingEditor& settings)
      : config_(config), architecture_(architecture), settings_(settings) {}

  Status run() {
    const bool known = architecture_ != nullptr;
    // Model cards tell people to add rope_scaling, whatever the config has already: it goes before
    // what is in rope_parameters.
    const json* const parameters = json_member(config_, "rope_parameters");
    const json* rope = json_member(config_, "rope_scaling");
    json both;
    if (rope == nullptr || rope->empty()) {
      rope = parameters;
    } else if (parameters != nullptr && parameters->is_object() && rope->is_object()) {
      both = *rope;
      for (const char* key : {"rope_theta", "partial_rotary_factor"}) {
        if (parameters->contains(key)) both.emplace(key, (*parameters)[key]);
      }
      rope = &both;
    }
    if (rope != nullptr && !rope->is_object()) {
      return known ? Status(ErrorCode::kCorrupt, "the rope parameters are no object") : Status();
    }
    const json none = json::object();
    if (rope == nullptr) rope = &none;
    if (const json* full = json_member(*rope, "full_attention");
        full != nullptr && full->is_object()) {
      const json* sliding = json_member(*rope, "sliding_attention");
      if (!known) return {};
      return translate_two_kinds(*full,
                                 sliding != nullptr && sliding->is_object() ? *sliding : none);
    }
    const Status status = translate_one_kind(*rope);
    return known ? status : Status();
  }

 private:
  void set(std::string_view key, Setting value) { settings_.set(key, std::move(value)); }

  static Result<std::string> type_of(const json& rope) {
    SLUICE_ASSIGN(auto type, json_value<std::string>(rope, "rope_type"));
    if (!type) {
      SLUICE_ASSIGN(type, json_value<std::string>(rope, "type"));
    }
    if (!type || *type == "default" || *type == "mrope") return std::string();
    return *type == "su" ? std::string("longrope") : *type;
  }

  static Result<double> base_of(const json& rope, double otherwise) {
    SLUICE_ASSIGN(const auto base, json_value<double>(rope, "rope_theta"));
    return base.value_or(otherwise);
  }

  Status translate_one_kind(const json& rope) {
    // In old configs beside rope_scaling, not inside.
    const std::array<SettingRow, 1> base{{{"rope_theta", "rope.freq_base", kReal}}};
    SLUICE_TRY(apply_rows(rope, base, {}, false, settings_));
    SLUICE_TRY(apply_rows(config_, base, {}, false, settings_));
    SLUICE_TRY(translate_dimensions(rope));
    SLUICE_ASSIGN(const std::string type, type_of(rope));
    if (type.empty()) return {};
    SLUICE_TRY(apply_rows(rope, kRopeSettings, {}, false, settings_));
    const auto context = settings_.integer("context_length");
    if (type == "llama3") return translate_llama3(rope);
    if (type == "linear") return translate_linear();
    SLUICE_ASSIGN(const auto outer,
                  json_value<std::int64_t>(config_, "original_max_position_embeddings"));
    if (outer) set("rope.scaling.original_context_length", *outer);
    if (context) set("rope.scaling.original_context_length", *context);
    const auto original = settings_.integer("rope.scaling.original_context_length");
    if (context && original && *original > 0) {
      set("rope.scaling.factor", static_cast<double>(*context) / static_cast<double>(*original));
    }
    set("rope.scaling.type", type);
    if (type == "yarn") return translate_yarn_strength(rope);
    return type == "longrope" ? translate_longrope_strength(rope) : Status();
  }

  Status translate_dimensions(const json& rope) {
    if (settings_.has("rope.dimension_count")) return {};
    SLUICE_ASSIGN(const auto rotary, json_value<std::int64_t>(config_, "rotary_dim"));
    if (rotary) {
      set("rope.dimension_count", *rotary);
      return {};
    }
    SLUICE_ASSIGN(auto share, json_value<double>(rope, "partial_rotary_factor"));
    if (!share) {
      SLUICE_ASSIGN(share, json_value<double>(config_, "partial_rotary_factor"));
    }
    if (!share && architecture_ != nullptr) share = architecture_->hf_partial_rotary;
    if (!share || *share == 1) return {};
    auto length = settings_.integer("attention.key_length");
    if (!length) {
      const auto width = settings_.integer("embedding_length");
      const auto heads = settings_.integer("attention.head_count");
      if (width && heads && *heads > 0) length = *width / *heads;
    }
    if (!(*share > 0 && *share < 1)) {
      return Status(ErrorCode::kCorrupt, "'partial_rotary_factor' is not between 0 and 1");
    }
    if (length) {
      set("rope.dimension_count", static_cast<std::int64_t>(static_cast<double>(*length) * *share));
    }
    return {};
  }

  /// Layers with a window turn the whole head; the others, "proportional", only so many of its
  /// first pairs, at the frequencies that these would have if all turned.
  Status translate_two_kinds(const json& full, const json& sliding) {
    SLUICE_ASSIGN(const std::size_t layers, settings_.layers());
    SLUICE_ASSIGN(const auto windowed,
                  settings_.checkpoint().integers("attention.sliding_window_layers"));
    const bool all_windowed = !windowed && settings_.has("attention.sliding_window");
    SLUICE_ASSIGN(const double outside, base_of(full, 1e6));
    SLUICE_ASSIGN(const double inside, base_of(sliding, 1e4));
    std::vector<double> bases;
    std::vector<std::int64_t> global;
    for (std::size_t i = 0; i < layers; ++i) {
      const bool window = windowed ? (*windowed)[i] != 0 : all_windowed;
      bases.push_back(window ? inside : outside);
      global.push_back(window ? 0 : 1);
    }
    settings_.set_by_layer("rope.freq_base", std::move(bases));
    SLUICE_ASSIGN(const std::string type, type_of(full));
    SLUICE_ASSIGN(const std::string window_type, type_of(sliding));
    if ((!type.empty() && type != "proportional") || !window_type.empty()) {
      // Nobody has published that; the engine is to refuse it by name.
      set("rope.scaling.type", type + (window_type.empty() ? "" : " and " + window_type));
      return {};
    }
    SLUICE_ASSIGN(const auto share, json_value<double>(full, "partial_rotary_factor"));
    auto length = settings_.integer("attention.key_length");
    if (!length && settings_.has("attention.key_length")) {
      SLUICE_ASSIGN(const auto lengths, settings_.checkpoint().integers("attention.key_length"));
      const auto first = std::find(global.begin(), global.end(), 1);
      if (first != global.end()) {
        length = lengths->at(static_cast<std::size_t>(first - global.begin()));
      }
    }
    if (type.empty() || !share || *share == 1 || !length) return {};
    if (!(*share > 0 && *share < 1) || *length < 2 || *length > (1 << 16)) {
      return Status(ErrorCode::kCorrupt, "'partial_rotary_factor' is not between 0 and 1");
    }
    const auto turning = static_cast<std::size_t>(*share * static_cast<double>(*length) / 2);
    std::vector<double> factors(static_cast<std::size_t>(*length / 2), kStandsStill);
    std::fill_n(factors.begin(), turning, 1.0);
    set("rope.factors", std::move(factors));
    settings_.set_flags("rope.factors_layers", std::move(global));
    return {};
  }

  /// All frequencies are divided by the factor, whatever the context.
  Status translate_linear() {
    if (!settings_.has("rope.scaling.factor")) {
      return Status(ErrorCode::kCorrupt, "the 'factor' of rope_type 'linear' is missing");
    }
    set("rope.scaling.type", std::string("linear"));
    return {};
  }

  /// Llama 3.1's scaling depends on a pair's wavelength alone, so it is a list of divisors.
  Status translate_llama3(const json& rope) {
    const auto original = settings_.integer("rope.scaling.original_context_length");
    SLUICE_ASSIGN(const auto low, json_value<double>(rope, "low_freq_factor"));
    SLUICE_ASSIGN(const auto high, json_value<double>(rope, "high_freq_factor"));
    const double factor = settings_.real("rope.scaling.factor").value_or(8);
    const double slow = low.value_or(1);
    const double fast = high.value_or(4);
    settings_.erase("rope.scaling.factor");
    settings_.erase("rope.scaling.original_context_length");
    auto dimensions = settings_.integer("rope.dimension_count");
    if (!dimensions) dimensions = settings_.integer("attention.key_length");
    const auto width = settings_.integer("embedding_length");
    const auto heads = settings_.integer("attention.head_count");
    if (!dimensions && width && heads && *heads > 0) dimensions = *width / *heads;
    if (!original || *original < 1 || !dimensions || *dimensions < 2 || *dimensions > (1 << 16) ||
        !(factor > 0) || !(slow > 0) || !(fast >= slow)) {
      return Status(ErrorCode::kCorrupt, "the parameters of rope_type 'llama3' are incomplete");
    }
    const double base =
        settings_.real("rope.freq_base").value_or(architecture_ ? architecture_->rope_base : 1e4);
    std::vector<double> factors;
    for (std::int64_t i = 0; i < *dimensions / 2; ++i) {
      const double frequency =
          std::pow(base, -2.0 * static_cast<double>(i) / static_cast<double>(*dimensions));
      const double turns = static_cast<double>(*original) * frequency / (2 * std::numbers::pi);
      if (turns > fast) {
        factors.push_back(1);
      } else if (turns < slow || fast == slow) {
        factors.push_back(factor);
      } else {
        const double smooth = (turns - slow) / (fast - slow);
        factors.push_back(1 / ((1 - smooth) / factor + smooth));
      }
    }
    set("rope.factors", std::move(factors));
    return {};
  }

  /// The factor on cosine and sine is attention_factor, or the ratio of the two mscales. Where
  /// there is latent attention, mscale_all_dim scales q·k besides.
  Status translate_yarn_strength(const json& rope) {
    const auto factor = settings_.real("rope.scaling.factor");
    if (!factor || !(*factor > 0)) return {};
    const auto scale = [&](double strength) {
      return *factor <= 1 ? 1.0 : 0.1 * strength * std::log(*factor) + 1;
    };
    SLUICE_ASSIGN(auto whole, json_value<double>(rope, "attention_factor"));
    SLUICE_ASSIGN(const auto mscale, json_value<double>(rope, "mscale"));
    SLUICE_ASSIGN(const auto mscale_all, json_value<double>(rope, "mscale_all_dim"));
    if (!whole && mscale && mscale_all && *mscale != 0 && *mscale_all != 0) {
      whole = scale(*mscale) / scale(*mscale_all);
    }
    set("rope.attention_factor", whole.value_or(scale(1)));
    const auto length = settings_.integer("attention.key_length");
    if (settings_.has("attention.kv_lora_rank") && mscale_all && *mscale_all != 0 && length &&
        *length > 0) {
      const double strength = scale(*mscale_all);
      set("attention.scale", strength * strength / std::sqrt(static_cast<double>(*length)));
    }
    return {};
  }

  Status translate_longrope_strength(const json& rope) {
    SLUICE_ASSIGN(auto whole, json_value<double>(rope, "attention_factor"));
    const auto factor = settings_.real("rope.scaling.factor");
    const auto original = settings_.integer("rope.scaling.original_context_length");
    if (!whole && factor && original && *original > 1) {
      whole = *factor <= 1
                  ? 1
                  : std::sqrt(1 + std::log(*factor) / std::log(static_cast<double>(*original)));
    }
    if (whole) {
      set("rope.attention_factor", *whole);
      set("rope.attention_factor_long", *whole);
    }
    settings_.erase("rope.scaling.factor");
    return {};
  }

  const json& config_;
  const Architecture* architecture_;
  SettingEditor& settings_;
};

}  // namespace

Status translate_hf_rope(const json& config, const Architecture* architecture,
                         SettingEditor& settings) {
  return RopeTranslator(config, architecture, settings).run();
}

}  // namespace sluice
