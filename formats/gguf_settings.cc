#include "formats/gguf_settings.h"

#include <array>
#include <cmath>
#include <utility>

#include "formats/setting_editor.h"

namespace sluice {
namespace {

struct Rename {
  std::string_view from;
  std::string_view to;
};
constexpr auto kRenames = std::to_array<Rename>({
    {"attention.layer_norm_epsilon", "attention.layer_norm_rms_epsilon"},
    {"expert_weights_norm", "router.renormalise"},
    {"hidden_activation", "feed_forward.activation"},
    {"rope.scale_linear", "rope.scaling.factor"},
    {"swiglu_clamp_exp", "feed_forward.swiglu_limit"},
});

/// What the tensors say better, or what no text needs.
constexpr auto kSuperseded = std::to_array<std::string_view>({
    "expert_shared_count",
    "expert_shared_feed_forward_length",
    "interleave_moe_layer_step",
    "leading_dense_block_count",
    "moe_every_n_layers",
    "rope.dimension_sections",  // of images; a text's three positions are one and the same
    "rope.scaling.finetuned",
});

class GgufTranslator {
 public:
  GgufTranslator(Checkpoint& checkpoint, const Architecture* architecture)
      : settings_(checkpoint), architecture_(architecture) {}

  Status run() {
    if (settings_.has("rope.scale_linear")) set("rope.scaling.type", std::string("linear"));
    for (const Rename& rename : kRenames) settings_.rename(rename.from, rename.to);
    if (architecture_ != nullptr) find_missing_key();
    // A factor without a type is linear.
    if (settings_.real("rope.scaling.factor").value_or(0) != 0) {
      set("rope.scaling.type", std::string("linear"));
    }
    const std::string scaling = settings_.text("rope.scaling.type");
    if (scaling == "none" || scaling == "default") settings_.erase("rope.scaling.type");
    SLUICE_TRY(translate_gating());
    if (architecture_ == nullptr) return {};
    SLUICE_TRY(translate_layers());
    SLUICE_TRY(translate_windows());
    SLUICE_TRY(translate_latent_attention());
    SLUICE_TRY(translate_rope_strength());
    SLUICE_TRY(translate_by_architecture());
    for (const std::string_view key : kSuperseded) settings_.erase(key);
    return {};
  }

 private:
  void set(std::string_view key, Setting value) { settings_.set(key, std::move(value)); }

  /// Told by whoever wants to run the model: a file that has only a vocabulary lacks them all.
  void find_missing_key() {
    for (const RequiredKey& required : required_in_gguf()) {
      const bool own =
          required.architecture.empty() || required.architecture == architecture_->name;
      if (!own || (required.of_experts && architecture_->dense_too)) continue;
      if (settings_.has(required.key)) continue;
      set("file.missing_key", std::string(architecture_->name) + "." + std::string(required.key));
      return;
    }
  }

  Status translate_gating() {
    SLUICE_ASSIGN(const auto gate, settings_.checkpoint().integer("expert_gating_func"));
    settings_.erase("expert_gating_func");
    if (!gate || *gate == 0) return {};
    switch (*gate) {
      case 1:
        set("router.score", std::string("softmax"));
        break;
      case 2:
        set("router.score", std::string("sigmoid"));
        break;
      case 3:  // over the chosen alone, which is the same
        set("router.score", std::string("softmax"));
        set("router.renormalise", true);
        break;
      default:
        set("router.score", "GGUF's gating function " + std::to_string(*gate));
    }
    return {};
  }

  /// block_count counts the layers that predict ahead, and they are the last ones. Lists with one
  /// for each layer go on over them.
  Status translate_layers() {
    SLUICE_ASSIGN(const auto count, settings_.layers());
    if (count == 0) return {};
    const std::int64_t ahead = settings_.integer("nextn_predict_layers").value_or(0);
    if (ahead < 0 || ahead >= static_cast<std::int64_t>(count)) {
      return Status(ErrorCode::kCorrupt, "setting 'nextn_predict_layers' is " +
                                             std::to_string(ahead) + ", which is out of range");
    }
    const auto layers = count - static_cast<std::size_t>(ahead);
    settings_.replace("block_count", static_cast<std::int64_t>(layers));
    for (auto& [key, value] : settings_.checkpoint().settings) {
      if (auto* list = std::get_if<std::vector<std::int64_t>>(&value);
          list != nullptr && list->size() == count && ahead > 0) {
        list->resize(layers);
      }
    }
    return {};
  }

  /// 1 for each layer that is not the one of its group which sees everything.
  std::vector<std::int64_t> periodic(std::size_t layers, std::int64_t period,
                                     bool starts_full) const {
    std::vector<std::int64_t> flags;
    for (std::size_t i = 0; i < layers; ++i) {
      const auto place = static_cast<std::int64_t>(i) % period;
      flags.push_back(place == (starts_full ? 0 : period - 1) ? 0 : 1);
    }
    return flags;
  }

  Status translate_windows() {
    SLUICE_ASSIGN(const std::size_t layers, settings_.layers());
    const auto window = settings_.integer("attention.sliding_window");
    if (architecture_->name == "llama4") return translate_chunks(layers);
    if (window.value_or(0) <= 0) {
      settings_.erase("attention.sliding_window");
      settings_.erase("attention.sliding_window_pattern");
      return {};
    }
    std::int64_t period = architecture_->window_period;
    if (const auto pattern = settings_.integer("attention.sliding_window_pattern")) {
      period = *pattern;
      settings_.erase("attention.sliding_window_pattern");
    }
    settings_.rename("attention.sliding_window_pattern", "attention.sliding_window_layers");
    if (!settings_.has("attention.sliding_window_layers") && period > 1) {
      set("attention.sliding_window_layers",
          periodic(layers, period, architecture_->window_period_starts_full));
    }
    if (architecture_->name == "smallthinker") {
      settings_.copy("attention.sliding_window_layers", "rope.layers");
    }
    return by_window(layers);
  }

  /// Keys with "_swa" hold in layers with a window, the others in the rest.
  Status by_window(std::size_t layers) {
    SLUICE_ASSIGN(const auto windowed,
                  settings_.checkpoint().integers("attention.sliding_window_layers"));
    if (windowed && windowed->size() != layers) {
      return Status(ErrorCode::kCorrupt,
                    "setting 'attention.sliding_window_layers' does not have one for each layer");
    }
    for (const std::string_view key : {"attention.key_length", "attention.value_length",
                                       "rope.dimension_count", "rope.freq_base"}) {
      const std::string own = std::string(key) + "_swa";
      const auto inside = settings_.real(own);
      const auto outside = settings_.real(key);
      const bool whole = settings_.integer(own).has_value();
      settings_.erase(own);
      if (!inside || !outside || !windowed) continue;
      std::vector<double> values;
      std::vector<std::int64_t> integers;
      for (const std::int64_t flag : *windowed) {
        values.push_back(flag != 0 ? *inside : *outside);
        if (whole) integers.push_back(static_cast<std::int64_t>(values.back()));
      }
      if (whole) {
        settings_.set_by_layer(key, std::move(integers));
      } else {
        settings_.set_by_layer(key, std::move(values));
      }
    }
    return {};
  }

  /// Llama 4 leaves all of this to the reader; a window of 0 says that there is none of it.
  Status translate_chunks(std::size_t layers) {
    constexpr std::int64_t kChunk = 8192;
    const bool none = settings_.integer("attention.sliding_window") == 0;
    settings_.erase("attention.sliding_window");
    settings_.erase("attention.sliding_window_pattern");
    if (none) return {};
    const auto flags = periodic(layers, architecture_->window_period, false);
    set("attention.sliding_window", kChunk);
    set("attention.sliding_window_layers", flags);
    set("attention.window_kind", std::string("chunked"));
    set("rope.layers", flags);
    set("attention.temperature_scale", 0.1);
    set("attention.temperature_length", kChunk);
    return {};
  }

  /// Files of today give the lengths of the compressed rows, and the heads' own under "_mla".
  Status translate_latent_attention() {
    if (!settings_.has("attention.kv_lora_rank")) return {};
    for (const std::string_view key : {"attention.key_length", "attention.value_length"}) {
      const std::string own = std::string(key) + "_mla";
      if (!settings_.has(own)) continue;
      settings_.erase(key);
      settings_.rename(own, key);
    }
    settings_.replace("attention.head_count_kv", std::int64_t{1});
    return {};
  }

  /// The whole factor on cosine and sine, and DeepSeek's on q·k. GGUF has no `mscale`; it is taken
  /// to equal `mscale_all_dim`, as in every DeepSeek model.
  Status translate_rope_strength() {
    auto& checkpoint = settings_.checkpoint();
    SLUICE_ASSIGN(const auto multiplier, checkpoint.real("rope.scaling.attn_factor"));
    SLUICE_ASSIGN(const auto whole, checkpoint.real("rope.scaling.yarn_attn_factor"));
    SLUICE_ASSIGN(const auto log_multiplier, checkpoint.real("rope.scaling.yarn_log_multiplier"));
    for (const std::string_view key : {"rope.scaling.attn_factor", "rope.scaling.yarn_attn_factor",
                                       "rope.scaling.yarn_log_multiplier"}) {
      settings_.erase(key);
    }
    const std::string type = settings_.text("rope.scaling.type");
    if (type == "longrope" || type == "linear" || (type.empty() && multiplier)) {
      if (multiplier) set("rope.attention_factor", *multiplier);
      settings_.copy("rope.attention_factor", "rope.attention_factor_long");
      return {};
    }
    const double factor = settings_.real("rope.scaling.factor").value_or(1);
    if (type != "yarn" || !(factor > 0)) return {};
    const double growth = factor > 1 ? std::log(factor) : 0;
    double attention = whole.value_or(0.1 * growth + 1);
    if (log_multiplier && *log_multiplier != 0 && !whole) {
      // In these files alone it is a tenth of mscale_all_dim.
      const bool latent = settings_.has("attention.kv_lora_rank");
      const double strength = latent ? *log_multiplier : 0.1 * *log_multiplier;
      attention = latent ? 1 : (0.1 * growth + 1) / (strength * growth + 1);
      const auto length = settings_.integer("attention.key_length");
      if (latent && length && *length > 0) {
        const double mscale = strength * growth + 1;
        set("attention.scale", mscale * mscale / std::sqrt(static_cast<double>(*length)));
      }
    }
    set("rope.attention_factor", attention * multiplier.value_or(1));
    return {};
  }

  Status translate_by_architecture() {
    const std::string_view name = architecture_->name;
    if (name == "granitemoe") {
      if (const auto divisor = settings_.real("logit_scale"); divisor && *divisor != 0) {
        settings_.replace("logit_scale", 1 / *divisor);
      }
    }
    if (name == "gemma4") {
      if (const auto width = settings_.integer("embedding_length"); width && *width > 0) {
        set("embedding_scale", std::sqrt(static_cast<double>(*width)));
      }
    }
    if (name == "qwen35moe") set("ssm.value_heads_tiled", true);
    // The one Llama 4 that has no norm of q and k.
    if (name == "llama4" && settings_.integer("expert_count") == 128) {
      set("attention.qk_norm", std::string("none"));
    }
    return translate_recurrence();
  }

  Status translate_recurrence() {
    if (!settings_.has("ssm.state_size")) return {};
    SLUICE_ASSIGN(const std::size_t layers, settings_.layers());
    const std::int64_t interval = settings_.integer("full_attention_interval").value_or(4);
    settings_.erase("full_attention_interval");
    if (interval < 1) {
      return Status(ErrorCode::kCorrupt, "setting 'full_attention_interval' is out of range");
    }
    set("attention.recurrent_layers", periodic(layers, interval, false));
    return {};
  }

  SettingEditor settings_;
  const Architecture* architecture_;
};

}  // namespace

Status translate_gguf_settings(Checkpoint& checkpoint, const Architecture* architecture) {
  return GgufTranslator(checkpoint, architecture).run();
}

}  // namespace sluice
