#include "formats/hf_layers.h"

#include <algorithm>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "formats/json.h"

namespace sluice {
namespace {

using nlohmann::json;
using Flags = std::vector<std::int64_t>;

class LayerTranslator {
 public:
  LayerTranslator(const json& config, const Architecture* architecture, SettingEditor& settings)
      : config_(config), architecture_(architecture), settings_(settings) {}

  Status run() {
    if (architecture_ == nullptr) return translate_unknown();
    SLUICE_TRY(translate_recurrence());
    if (architecture_->name == "llama4") return translate_chunks();
    if (architecture_->name == "smallthinker") return translate_layouts();
    return translate_window(architecture_->windows);
  }

 private:
  /// One entry for each layer: 1 where layer_types has `type`. nullopt where there is no such list.
  Result<std::optional<Flags>> layers_of_type(std::string_view type) const {
    const json* types = json_member(config_, "layer_types");
    if (types == nullptr) return std::optional<Flags>();
    const auto count = settings_.integer("block_count");
    if (!types->is_array() || (count && static_cast<std::int64_t>(types->size()) != *count)) {
      return Status(ErrorCode::kCorrupt, "'layer_types' is not a list with one for each layer");
    }
    Flags flags;
    for (const json& entry : *types) flags.push_back(entry == type ? 1 : 0);
    return std::optional(std::move(flags));
  }

  /// A list of 0 and 1 under `key`; nullopt where it is missing or empty.
  Result<std::optional<Flags>> flags_of(std::string_view key) const {
    const json* list = json_member(config_, key);
    if (list == nullptr || (list->is_array() && list->empty())) return std::optional<Flags>();
    SLUICE_ASSIGN(const std::size_t layers, settings_.layers());
    SLUICE_ASSIGN(Flags flags, json_integers(config_, key));
    if (flags.size() != layers ||
        std::ranges::any_of(flags, [](auto flag) { return flag != 0 && flag != 1; })) {
      return Status(ErrorCode::kCorrupt,
                    "'" + std::string(key) + "' is not a list of 0 and 1 for each layer");
    }
    return std::optional(std::move(flags));
  }

  static Flags periodic(std::size_t layers, std::int64_t period) {
    Flags flags;
    for (std::size_t i = 0; i < layers; ++i) {
      flags.push_back((static_cast<std::int64_t>(i) + 1) % period != 0 ? 1 : 0);
    }
    return flags;
  }

  /// No window where none is set or no layer has one.
  void set_window(std::int64_t window, Flags flags) {
    if (window <= 0 || (!flags.empty() && std::ranges::find(flags, 1) == flags.end())) return;
    settings_.set("attention.sliding_window", window);
    if (!flags.empty()) settings_.set_flags("attention.sliding_window_layers", std::move(flags));
  }

  Status translate_unknown() {
    const auto window = json_value<std::int64_t>(config_, "sliding_window");
    if (!window.ok() || !*window) return {};
    SLUICE_ASSIGN(auto flags, layers_of_type("sliding_attention"));
    set_window(**window, flags.value_or(Flags()));
    return {};
  }

  Status translate_window(WindowRule rule) {
    if (rule == WindowRule::kNever) return {};
    SLUICE_ASSIGN(const auto window, json_value<std::int64_t>(config_, "sliding_window"));
    if (!window || *window <= 0) return {};
    if (rule == WindowRule::kOnRequest || rule == WindowRule::kOnRequestAlternating) {
      SLUICE_ASSIGN(const auto wanted, json_value<bool>(config_, "use_sliding_window"));
      if (!wanted.value_or(false)) return {};
    }
    if (rule == WindowRule::kWhereSet || rule == WindowRule::kOnRequest) {
      set_window(*window, {});
      return {};
    }
    SLUICE_ASSIGN(auto flags, layers_of_type("sliding_attention"));
    if (!flags) {
      SLUICE_ASSIGN(flags, windowed_by_rule(rule));
    }
    if (architecture_->last_layer_sees_all && !flags->empty()) flags->back() = 0;
    set_window(*window, std::move(*flags));
    return {};
  }

  /// Where there is no layer_types.
  Result<Flags> windowed_by_rule(WindowRule rule) const {
    SLUICE_ASSIGN(const std::size_t layers, settings_.layers());
    if (rule == WindowRule::kByLayer) return periodic(layers, architecture_->window_period);
    SLUICE_ASSIGN(const auto limit, json_value<std::int64_t>(config_, "max_window_layers"));
    const auto count = static_cast<std::int64_t>(layers);
    Flags flags;
    for (std::int64_t i = 0; i < count; ++i) {
      const bool windowed = rule == WindowRule::kLastLayers ? i >= limit.value_or(count)
                                                            : i % 2 == 0 && i < limit.value_or(28);
      flags.push_back(windowed ? 1 : 0);
    }
    return flags;
  }

  Status translate_recurrence() {
    if (json_member(config_, "linear_num_value_heads") == nullptr) return {};
    SLUICE_ASSIGN(auto flags, layers_of_type("linear_attention"));
    if (!flags) {
      SLUICE_ASSIGN(const std::size_t layers, settings_.layers());
      SLUICE_ASSIGN(const auto interval,
                    json_value<std::int64_t>(config_, "full_attention_interval"));
      if (interval && *interval < 1) {
        return Status(ErrorCode::kCorrupt, "'full_attention_interval' is out of range");
      }
      flags = periodic(layers, interval.value_or(4));
    }
    settings_.set("attention.recurrent_layers", std::move(*flags));
    return {};
  }

  /// Llama 4: layers without RoPE see everything and temper their queries; the others see chunks.
  /// A 1 in no_rope_layers means that the layer does have RoPE.
  Status translate_chunks() {
    SLUICE_ASSIGN(const std::size_t layers, settings_.layers());
    SLUICE_ASSIGN(auto rotary, flags_of("no_rope_layers"));
    if (!rotary) {
      SLUICE_ASSIGN(const auto interval,
                    json_value<std::int64_t>(config_, "no_rope_layer_interval"));
      if (interval && *interval < 1) {
        return Status(ErrorCode::kCorrupt, "'no_rope_layer_interval' is out of range");
      }
      rotary = periodic(layers, interval.value_or(architecture_->window_period));
    }
    SLUICE_ASSIGN(auto chunked, layers_of_type("chunked_attention"));
    SLUICE_ASSIGN(const auto chunk, json_value<std::int64_t>(config_, "attention_chunk_size"));
    set_window(chunk.value_or(8192), chunked ? std::move(*chunked) : *rotary);
    if (settings_.has("attention.sliding_window")) {
      settings_.set("attention.window_kind", std::string("chunked"));
    }
    settings_.set_flags("rope.layers", std::move(*rotary));
    // true, or as in the first checkpoints a number that stands for it
    const json* tempered = json_member(config_, "attn_temperature_tuning");
    const bool wanted = tempered == nullptr || (tempered->is_boolean() && tempered->get<bool>()) ||
                        (tempered->is_number() && tempered->get<double>() != 0);
    if (wanted && settings_.has("rope.layers")) {
      SLUICE_ASSIGN(const auto scale, json_value<double>(config_, "attn_scale"));
      SLUICE_ASSIGN(const auto length, json_value<double>(config_, "floor_scale"));
      const double positions = length.value_or(8192);
      if (!(positions >= 1 && positions <= 2147483648.0)) {
        return Status(ErrorCode::kCorrupt, "'floor_scale' is out of range");
      }
      settings_.set("attention.temperature_scale", scale.value_or(0.1));
      settings_.set("attention.temperature_length", static_cast<std::int64_t>(positions));
    }
    return {};
  }

  Status translate_layouts() {
    SLUICE_ASSIGN(auto windowed, flags_of("sliding_window_layout"));
    SLUICE_ASSIGN(auto rotary, flags_of("rope_layout"));
    SLUICE_ASSIGN(const auto window, json_value<std::int64_t>(config_, "sliding_window_size"));
    if (windowed) set_window(window.value_or(0), std::move(*windowed));
    if (rotary) settings_.set_flags("rope.layers", std::move(*rotary));
    return {};
  }

  const json& config_;
  const Architecture* architecture_;
  SettingEditor& settings_;
};

}  // namespace

Status translate_hf_layers(const json& config, const Architecture* architecture,
                           SettingEditor& settings) {
  return LayerTranslator(config, architecture, settings).run();
}

}  // namespace sluice
