#include "formats/architectures.h"

#include <array>
#include <cmath>
#include <optional>
#include <string>

namespace sluice {
namespace {

constexpr auto kArchitectures = std::to_array<Architecture>({
    // name, model_type, interleaved, qk_norm, score, renormalise, in HF, rope base, epsilon
    {"llama", "mixtral", true, "none", "softmax", true, true, 1e6, 1e-5},
    {"qwen2moe", "qwen2_moe", false, "none", "softmax", false, false, 1e4, 1e-6},
    {"qwen3moe", "qwen3_moe", false, "head", "softmax", true, false, 1e4, 1e-6},
    {"olmoe", "olmoe", false, "projection", "softmax", false, false, 1e4, 1e-5},
});

struct IntegerRange {
  std::string_view key;
  std::int64_t least;
  std::int64_t most;
};
// Wide enough for any model to come, narrow enough that products of a few of them stay inside 63
// bits.
constexpr auto kIntegerRanges = std::to_array<IntegerRange>({
    {"block_count", 1, 1 << 16},
    {"context_length", 1, std::int64_t{1} << 31},
    {"embedding_length", 1, 1 << 24},
    {"feed_forward_length", 0, 1 << 24},
    {"expert_feed_forward_length", 0, 1 << 24},
    {"expert_shared_feed_forward_length", 0, 1 << 24},
    {"expert_count", 0, 1 << 16},
    {"expert_used_count", 0, 1 << 16},
    {"attention.head_count", 0, 1 << 16},
    {"attention.head_count_kv", 0, 1 << 16},
    {"attention.key_length", 1, 1 << 20},
    {"attention.value_length", 1, 1 << 20},
    {"attention.sliding_window", 0, std::int64_t{1} << 31},
    {"rope.dimension_count", 0, 1 << 20},
    {"rope.scaling.original_context_length", 1, std::int64_t{1} << 31},
    {"vocab_size", 1, 1 << 28},
});

struct RealRange {
  std::string_view key;
  double least;
  double most;
};
constexpr auto kRealRanges = std::to_array<RealRange>({
    {"attention.layer_norm_rms_epsilon", 0, 1},
    {"rope.freq_base", 1e-6, 1e15},
    {"rope.scaling.factor", 1e-6, 1e9},
});

class Completion {
 public:
  Completion(Checkpoint& checkpoint, Container container)
      : checkpoint_(checkpoint), container_(container) {}

  Status run() {
    SLUICE_TRY(translate_variants());
    if (const Architecture* architecture = find_architecture(checkpoint_.architecture)) {
      SLUICE_TRY(imply(*architecture));
    }
    SLUICE_TRY(follow_from_tensors());
    SLUICE_TRY(follow_from_settings());
    return check_ranges();
  }

 private:
  bool has(std::string_view key) const { return checkpoint_.settings.contains(key); }
  void set(std::string_view key, Setting value) {
    checkpoint_.settings.try_emplace(std::string(key), std::move(value));
  }
  void copy(std::string_view from, std::string_view to) {
    if (const auto found = checkpoint_.settings.find(from); found != checkpoint_.settings.end()) {
      set(to, found->second);
    }
  }
  /// The setting where it is one integer; a list has one for each layer and implies nothing here.
  std::optional<std::int64_t> single(std::string_view key) const {
    const auto value = checkpoint_.integer(key);
    return value.ok() ? *value : std::nullopt;
  }

  /// Keys by which some files say the same.
  Status translate_variants() {
    auto& settings = checkpoint_.settings;
    copy("rope.scale_linear", "rope.scaling.factor");
    if (has("rope.scale_linear")) set("rope.scaling.type", std::string("linear"));
    SLUICE_ASSIGN(const auto type, checkpoint_.text("rope.scaling.type"));
    if (type && (*type == "none" || *type == "default")) settings.erase("rope.scaling.type");
    SLUICE_ASSIGN(const auto renormalise, checkpoint_.boolean("expert_weights_norm"));
    if (renormalise) set("router.renormalise", *renormalise);
    SLUICE_ASSIGN(const auto gate, checkpoint_.integer("expert_gating_func"));
    if (gate == 1) set("router.score", std::string("softmax"));
    if (gate == 2) set("router.score", std::string("sigmoid"));
    return {};
  }

  Status imply(const Architecture& architecture) {
    const bool gguf = container_ == Container::kGguf;
    set("feed_forward.activation", std::string("silu"));
    set("rope.interleaved", gguf && architecture.interleaved_in_gguf);
    set("attention.qk_norm", std::string(architecture.qk_norm));
    set("router.score", std::string(architecture.router_score));
    set("router.renormalise", architecture.renormalise);
    // A GGUF file without the key means 10,000 whatever the model.
    set("rope.freq_base", gguf ? 1e4 : architecture.rope_base);
    set("attention.layer_norm_rms_epsilon", architecture.rms_epsilon);
    return {};
  }

  Status follow_from_tensors() {
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
    return {};
  }

  Status follow_from_settings() {
    if (const std::size_t tokens = checkpoint_.tokenizer.tokens.size(); tokens > 0) {
      set("vocab_size", static_cast<std::int64_t>(tokens));
    }
    copy("attention.head_count", "attention.head_count_kv");
    const auto width = single("embedding_length");
    const auto heads = single("attention.head_count");
    if (width && heads && *heads > 0 && *width % *heads == 0) {
      set("attention.key_length", *width / *heads);
    }
    copy("attention.key_length", "attention.value_length");
    copy("attention.key_length", "rope.dimension_count");
    if (single("expert_count").value_or(0) > 0) {
      copy("feed_forward_length", "expert_feed_forward_length");
    }
    return {};
  }

  Status check_ranges() const {
    const auto outside = [](std::string_view key, const std::string& value) {
      return Status(ErrorCode::kCorrupt,
                    "setting '" + std::string(key) + "' is " + value + ", which is out of range");
    };
    for (const IntegerRange& range : kIntegerRanges) {
      const auto list = checkpoint_.integers(range.key);
      std::vector<std::int64_t> values;
      if (list.ok() && list->has_value()) {
        values = **list;
      } else {
        SLUICE_ASSIGN(const auto value, checkpoint_.integer(range.key));
        if (value) values.push_back(*value);
      }
      for (const std::int64_t value : values) {
        if (value < range.least || value > range.most) {
          return outside(range.key, std::to_string(value));
        }
      }
    }
    for (const RealRange& range : kRealRanges) {
      SLUICE_ASSIGN(const auto value, checkpoint_.real(range.key));
      if (value && !(*value >= range.least && *value <= range.most)) {
        return outside(range.key, std::to_string(*value));
      }
    }
    const auto experts = single("expert_count");
    const auto used = single("expert_used_count");
    if (experts && used && *used > *experts)
      return outside("expert_used_count", std::to_string(*used));
    return {};
  }

  Checkpoint& checkpoint_;
  Container container_;
};

}  // namespace

std::span<const Architecture> architectures() { return kArchitectures; }

const Architecture* find_architecture(std::string_view name) {
  for (const Architecture& architecture : kArchitectures) {
    if (architecture.name == name) return &architecture;
  }
  return nullptr;
}

const Architecture* find_architecture_of_model_type(std::string_view hf_model_type) {
  for (const Architecture& architecture : kArchitectures) {
    if (architecture.hf_model_type == hf_model_type) return &architecture;
  }
  return nullptr;
}

Status complete_settings(Checkpoint& checkpoint, Container container) {
  return Completion(checkpoint, container).run();
}

}  // namespace sluice
