#include "formats/completion.h"

#include <array>
#include <charconv>
#include <cmath>
#include <optional>
#include <string>
#include <type_traits>
#include <utility>
#include <vector>

#include "formats/setting_editor.h"
#include "formats/settings.h"
#include "formats/tensor_arrangement.h"

namespace sluice {
namespace {

/// What checkpoints call the same thing.
struct Word {
  std::string_view key;
  std::string_view from;
  std::string_view to;
};
constexpr auto kWords = std::to_array<Word>({
    {"feed_forward.activation", "swish", "silu"},
    {"feed_forward.activation", "gelu_new", "gelu_tanh"},
    {"feed_forward.activation", "gelu_pytorch_tanh", "gelu_tanh"},
    {"feed_forward.activation", "gelu_pytorch_tanh_python", "gelu_tanh"},
    {"router.score", "noaux_tc", "sigmoid"},  // in the first dots.llm1
});

/// Numbers of a scaling that some files give without having one, or with one that does not use
/// them.
constexpr auto kOfScaling = std::to_array<std::string_view>({
    "rope.scaling.original_context_length",
    "rope.scaling.truncate",
    "rope.scaling.yarn_beta_fast",
    "rope.scaling.yarn_beta_slow",
});

class Completion {
 public:
  Completion(Checkpoint& checkpoint, Container container, const Architecture* architecture)
      : checkpoint_(checkpoint),
        settings_(checkpoint),
        container_(container),
        architecture_(architecture) {}

  Status run() {
    if (architecture_ != nullptr) {
      imply();
      SLUICE_TRY(arrange_tensors(checkpoint_, container_, *architecture_));
      SLUICE_TRY(follow_from_layers());
    }
    follow_from_tensors();
    follow_from_settings();
    if (architecture_ != nullptr) {
      SLUICE_TRY(follow_from_heads());
      follow_in_routers();
    }
    return check_settings(checkpoint_);
  }

 private:
  void set(std::string_view key, Setting value) { settings_.set(key, std::move(value)); }
  bool gguf() const { return container_ == Container::kGguf; }

  void imply() {
    const Architecture& architecture = *architecture_;
    for (const ImpliedSetting& implied : implied_settings()) {
      if (implied.architecture != architecture.name) continue;
      Setting value = std::visit(
          [](const auto& literal) -> Setting {
            if constexpr (std::is_same_v<std::decay_t<decltype(literal)>, std::string_view>) {
              return std::string(literal);
            } else {
              return literal;
            }
          },
          implied.value);
      if (implied.always) settings_.erase(implied.key);
      set(implied.key, std::move(value));
    }
    set("feed_forward.activation", std::string("silu"));
    for (const Word& word : kWords) {
      if (settings_.text(word.key) == word.from) {
        settings_.replace(word.key, std::string(word.to));
      }
    }
    set("norm.kind", std::string("rms"));
    set("rope.interleaved", architecture.pairs == RopePairs::kInterleaved ||
                                (gguf() && architecture.pairs == RopePairs::kInterleavedInGguf));
    tensors_say_qk_norm_ = architecture.qk_norm_by_tensors && !settings_.has("attention.qk_norm");
    set("attention.qk_norm", std::string(architecture.qk_norm));
    // A GGUF file without the key means 10,000 whatever the model.
    set("rope.freq_base", gguf() ? 1e4 : architecture.rope_base);
    set("attention.layer_norm_rms_epsilon", architecture.epsilon);
    // The published code gives these two norms no epsilon of the config's.
    if (settings_.has("attention.kv_lora_rank")) set("attention.latent_norm_epsilon", 1e-6);
    for (const std::string_view key :
         {"attention.shared_kv_layers", "embedding_length_per_layer_input"}) {
      if (settings_.integer(key) == 0) settings_.erase(key);
    }
  }

  const TensorInfo* tensor(std::size_t layer, std::string_view part) const {
    return checkpoint_.find("blk." + std::to_string(layer) + "." + std::string(part));
  }

  /// What the presence of a tensor in a layer says.
  Status follow_from_layers() {
    if (checkpoint_.tensors.empty()) return {};  // only the tokenizer is wanted
    SLUICE_ASSIGN(const std::size_t layers, settings_.layers());
    std::vector<std::int64_t> sparse, keys_as_values;
    bool qk_norm = false, selection_bias = false;
    for (std::size_t i = 0; i < layers; ++i) {
      sparse.push_back(tensor(i, "ffn_gate_inp.weight") != nullptr ? 1 : 0);
      keys_as_values.push_back(
          tensor(i, "attn_k.weight") != nullptr && tensor(i, "attn_v.weight") == nullptr &&
                  !checkpoint_.unreadable.contains("blk." + std::to_string(i) + ".attn_v.weight")
              ? 1
              : 0);
      qk_norm = qk_norm || tensor(i, "attn_q_norm.weight") != nullptr;
      selection_bias = selection_bias || tensor(i, "exp_probs_b.bias") != nullptr;
    }
    settings_.erase("expert_layers");
    settings_.set_flags("expert_layers", std::move(sparse));
    for (const std::int64_t flag : keys_as_values) {
      if (flag != 0) settings_.set("attention.value_is_key_layers", keys_as_values);
    }
    if (!qk_norm && tensors_say_qk_norm_) {
      settings_.replace("attention.qk_norm", std::string("none"));
    }
    if (selection_bias) {
      set("router.selection_bias", true);
      // Files from before the key for the score: what has this bias has sigmoid scores, but one.
      if (architecture_->name == "deepseek2" && gguf()) {
        set("router.score", std::string("sigmoid"));
      }
    }
    return {};
  }

  void follow_from_tensors() {
    if (const TensorInfo* embedding = checkpoint_.find("token_embd.weight");
        embedding != nullptr && embedding->shape.size() == 2) {
      set("vocab_size", static_cast<std::int64_t>(embedding->shape[0]));
    }
    for (const auto& [name, tensor] : checkpoint_.tensors) {
      if (name.ends_with(".ffn_down_exps.weight") && tensor.shape.size() == 3) {
        set("expert_feed_forward_length", static_cast<std::int64_t>(tensor.shape[2]));
      }
      if (name.ends_with(".ffn_down_shexp.weight") && tensor.shape.size() == 2) {
        set("expert_shared_feed_forward_length", static_cast<std::int64_t>(tensor.shape[1]));
      }
    }
  }

  void follow_from_settings() {
    if (const std::size_t tokens = checkpoint_.tokenizer.tokens.size(); tokens > 0) {
      set("vocab_size", static_cast<std::int64_t>(tokens));
    }
    settings_.copy("attention.head_count", "attention.head_count_kv");
    const auto width = settings_.integer("embedding_length");
    const auto heads = settings_.integer("attention.head_count");
    if (width && heads && *heads > 0 && *width % *heads == 0) {
      set("attention.key_length", *width / *heads);
    }
    settings_.copy("attention.key_length", "attention.value_length");
    settings_.copy("attention.key_length", "rope.dimension_count");
    if (settings_.integer("expert_count").value_or(0) > 0) {
      settings_.copy("feed_forward_length", "expert_feed_forward_length");
      if (architecture_ != nullptr) {
        settings_.copy("expert_feed_forward_length", "feed_forward_length");
      }
    }
    if (settings_.has("rope.factors_long")) set("rope.scaling.type", std::string("longrope"));
    if (architecture_ == nullptr) return;
    const std::string scaling = settings_.text("rope.scaling.type");
    if (scaling.empty()) settings_.erase("rope.scaling.factor");
    if (scaling.empty() || scaling == "linear") {
      for (const std::string_view key : kOfScaling) settings_.erase(key);
    }
  }

  Status follow_from_heads() {
    SLUICE_ASSIGN(const std::size_t layers, settings_.layers());
    SLUICE_ASSIGN(const auto lengths,
                  layer_integers(checkpoint_, "attention.key_length", layers, 0));
    if (!settings_.has("attention.scale")) {
      std::vector<double> scales;
      for (const std::int64_t length : lengths) {
        scales.push_back(length > 0 ? 1 / std::sqrt(static_cast<double>(length)) : 0);
      }
      if (layers > 0 && lengths.front() > 0)
        settings_.set_by_layer("attention.scale", std::move(scales));
    }
    // Gemma 4's divisors are for the layers that see everything.
    if (gguf() && architecture_->name == "gemma4" && settings_.has("rope.factors")) {
      SLUICE_ASSIGN(auto windowed,
                    layer_integers(checkpoint_, "attention.sliding_window_layers", layers, 1));
      for (std::int64_t& flag : windowed) flag = 1 - flag;
      settings_.set_flags("rope.factors_layers", std::move(windowed));
    }
    return {};
  }

  void follow_in_routers() {
    // Some converters write 0 for "none".
    if (settings_.real("expert_weights_scale") == 0) settings_.erase("expert_weights_scale");
    set("expert_weights_scale", 1.0);
    if (!gguf() || settings_.integer("expert_count").value_or(0) > 0) {
      set("router.score", std::string(architecture_->router_score));
      set("router.renormalise", architecture_->renormalise);
    }
    if (settings_.text("router.groups") == "one_each") {
      settings_.copy("expert_used_count", "expert_group_count");
      settings_.copy("expert_used_count", "expert_group_used_count");
    }
    const bool grouped = settings_.integer("expert_group_count").value_or(1) > 1 &&
                         settings_.text("router.groups") != "none";
    if (grouped) {
      set("router.groups",
          std::string(settings_.text("router.score") == "sigmoid" ? "best_two" : "best"));
    } else {
      for (const std::string_view key :
           {"router.groups", "expert_group_count", "expert_group_used_count"}) {
        settings_.erase(key);
      }
    }
  }

  Checkpoint& checkpoint_;
  SettingEditor settings_;
  Container container_;
  const Architecture* architecture_;
  bool tensors_say_qk_norm_ = false;
};

/// Numbers that must fit each other.
Status check_together(const Checkpoint& checkpoint) {
  const auto integer = [&](std::string_view key) {
    const auto value = checkpoint.integer(key);
    return value.ok() ? value->value_or(0) : 0;
  };
  const std::int64_t experts = integer("expert_count");
  const std::int64_t used = integer("expert_used_count");
  const auto outside = [](std::string_view key, std::int64_t value) {
    return Status(ErrorCode::kCorrupt, "setting '" + std::string(key) + "' is " +
                                           std::to_string(value) + ", which is out of range");
  };
  if (experts > 0 && used > experts) return outside("expert_used_count", used);
  const std::int64_t groups = integer("expert_group_count");
  if (groups > 1 && (experts % groups != 0 || groups > experts)) {
    return outside("expert_group_count", groups);
  }
  if (groups > 1 && integer("expert_group_used_count") > groups) {
    return outside("expert_group_used_count", integer("expert_group_used_count"));
  }
  return {};
}

}  // namespace

Status complete_checkpoint(Checkpoint& checkpoint, Container container,
                           const Architecture* architecture) {
  SLUICE_TRY(Completion(checkpoint, container, architecture).run());
  return check_together(checkpoint);
}

Status check_complete(const Checkpoint& checkpoint) {
  SLUICE_TRY(check_settings(checkpoint));
  return check_together(checkpoint);
}

}  // namespace sluice
