#include "formats/tensor_arrangement.h"

#include <array>
#include <charconv>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "formats/setting_editor.h"
#include "formats/tensor_views.h"

namespace sluice {
namespace {

Status corrupt(const TensorInfo& tensor, const std::string& what) {
  return Status(ErrorCode::kCorrupt, "tensor '" + tensor.name + "': " + what);
}

/// "blk.3.attn_kv_b.weight", "attn_kv_b" → "blk.3.", ".weight"; empty where the name is another.
struct NameParts {
  std::string before;
  std::string after;
};
std::optional<NameParts> split_name(const std::string& name, std::string_view part) {
  const std::size_t layer = name.find('.', 4);
  if (!name.starts_with("blk.") || layer == std::string::npos) return std::nullopt;
  const std::string_view rest = std::string_view(name).substr(layer + 1);
  if (!rest.starts_with(part)) return std::nullopt;
  const std::string_view after = rest.substr(part.size());
  if (!after.empty() && after.front() != '.') return std::nullopt;
  return NameParts{name.substr(0, layer + 1), std::string(after)};
}

class Arrangement {
 public:
  Arrangement(Checkpoint& checkpoint, Container container, const Architecture& architecture)
      : checkpoint_(checkpoint),
        settings_(checkpoint),
        folder_(container == Container::kHuggingFace),
        architecture_(architecture) {}

  Status run() {
    drop_layers_that_predict_ahead();
    auto tensors = std::exchange(checkpoint_.tensors, {});
    for (auto& [name, tensor] : tensors) {
      if (folder_) SLUICE_TRY(straighten(tensor));
      SLUICE_TRY(arrange(std::move(tensor)));
    }
    name_unreadable_parts();
    return {};
  }

 private:
  void drop_layers_that_predict_ahead() {
    const std::int64_t layers = settings_.integer("block_count").value_or(0);
    const std::int64_t ahead = settings_.integer("nextn_predict_layers").value_or(0);
    settings_.erase("nextn_predict_layers");
    const auto predicts = [&](const auto& entry) {
      const std::string& name = entry.first;
      for (const std::string_view prefix : {"blk.", "model.layers."}) {
        if (!name.starts_with(prefix)) continue;
        std::int64_t layer = 0;
        const auto parsed =
            std::from_chars(name.data() + prefix.size(), name.data() + name.size(), layer);
        return parsed.ec == std::errc() && layer >= layers && layer - layers < ahead;
      }
      return false;
    };
    std::erase_if(checkpoint_.tensors, predicts);
    std::erase_if(checkpoint_.unreadable, predicts);
  }

  Status add(TensorInfo tensor) {
    std::string name = tensor.name;
    if (checkpoint_.unreadable.contains(name) ||
        !checkpoint_.tensors.try_emplace(name, std::move(tensor)).second) {
      return Status(ErrorCode::kCorrupt, "tensor '" + name + "' appears twice");
    }
    return {};
  }
  Status add(Result<TensorInfo> tensor) {
    SLUICE_ASSIGN(TensorInfo value, std::move(tensor));
    return add(std::move(value));
  }

  /// What a Hugging Face folder keeps as something else of the same size.
  Status straighten(TensorInfo& tensor) const {
    std::vector<std::uint64_t>& shape = tensor.shape;
    const auto is = [&](std::string_view part) {
      return split_name(tensor.name, part).has_value();
    };
    if (is("exp_probs_b.bias") || is("ffn_down_exps.scale")) {
      if (shape.size() == 2 && shape[0] == 1) shape.erase(shape.begin());
    }
    if (is("ssm_conv1d.weight") && shape.size() == 3 && shape[1] == 1) {
      shape.erase(shape.begin() + 1);
    }
    if (is("ssm_a")) set_arithmetic(tensor, StoredArithmetic::kMinusExp);
    if (architecture_.hf_norms_are_offsets && tensor.name.ends_with("_norm.weight") &&
        !is("ssm_norm.weight")) {
      set_arithmetic(tensor, StoredArithmetic::kPlusOne);
    }
    // MXFP4 has its columns last whatever the rest of the architecture's folders do.
    const bool input_major = architecture_.fused != FusedExperts::kGateThenUp;
    const bool mxfp4 = tensor.stored && tensor.stored->code == StoredCode::kSplitMxfp4;
    const bool whole = tensor.ranges.size() == 1;  // a folder with an expert a tensor is as others
    if (input_major && !mxfp4 && whole && shape.size() == 3 &&
        (is("ffn_gate_up_exps.weight") || is("ffn_down_exps.weight"))) {
      tensor = transposed(std::move(tensor));
    }
    return {};
  }

  Status arrange(TensorInfo tensor) {
    for (const std::string_view kind : {"exps", "shexp"}) {
      const std::string fused = "ffn_gate_up_" + std::string(kind);
      if (const auto name = split_name(tensor.name, fused)) {
        return add_gate_and_up(std::move(tensor), *name, kind);
      }
    }
    if (const auto name = split_name(tensor.name, "attn_kv_b"); name && name->after == ".weight") {
      return add_latent_parts(std::move(tensor), *name);
    }
    if (const auto name = split_name(tensor.name, "ssm_in"); name && name->after == ".weight") {
      return add_qkvz_parts(tensor, *name);
    }
    if (const auto name = split_name(tensor.name, "ssm_ba"); name && name->after == ".weight") {
      return add_beta_and_alpha(tensor, *name);
    }
    if (const auto name = split_name(tensor.name, "attn_qkv"); name && !recurrent(name->before)) {
      return add_qkv_parts(tensor, *name);
    }
    if (tensor.shape.size() == 3 && tensor.stored && split_name(tensor.name, "ffn_down_exps")) {
      split_range(tensor);
    }
    return add(std::move(tensor));
  }

  Status add_gate_and_up(TensorInfo tensor, const NameParts& name, std::string_view kind) {
    const bool vectors = name.after == ".bias";
    const std::size_t dimensions = kind == "exps" && !vectors ? 3 : 2;
    if (tensor.shape.size() != dimensions)
      return corrupt(tensor, "has another number of dimensions");
    const std::uint64_t both = tensor.shape[vectors ? 1 : dimensions - 2];
    if (both % 2 != 0) return corrupt(tensor, "does not hold as much of gate as of up");
    const bool in_turn = folder_ && architecture_.fused == FusedExperts::kInputMajorInTurn;
    for (const bool up : {false, true}) {
      const std::string part =
          name.before + (up ? "ffn_up_" : "ffn_gate_") + std::string(kind) + name.after;
      const std::uint64_t first = !up ? 0 : in_turn ? 1 : both / 2;
      auto view =
          (vectors ? select_elements : select_rows)(tensor, part, first, both / 2, in_turn ? 2 : 1);
      SLUICE_ASSIGN(TensorInfo info, std::move(view));
      if (info.stored && dimensions == 3) split_range(info);
      SLUICE_TRY(add(std::move(info)));
    }
    return {};
  }

  Status add_latent_parts(TensorInfo tensor, const NameParts& name) {
    const auto heads = settings_.integer("attention.head_count").value_or(0);
    const auto key = settings_.integer("attention.key_length").value_or(0);
    const auto rotary = settings_.integer("rope.dimension_count").value_or(0);
    const auto value = settings_.integer("attention.value_length").value_or(0);
    constexpr std::int64_t kMost = 1 << 20;
    if (heads < 1 || heads > kMost || rotary < 1 || key <= rotary || key > kMost || value < 1 ||
        value > kMost || tensor.shape.size() != 2 ||
        tensor.shape[0] != static_cast<std::uint64_t>(heads * (key - rotary + value))) {
      return corrupt(tensor, "its shape does not fit the heads' lengths");
    }
    const auto plain = static_cast<std::uint64_t>(key - rotary);
    SLUICE_ASSIGN(const TensorInfo by_head,
                  divide_rows(std::move(tensor), static_cast<std::uint64_t>(heads)));
    SLUICE_ASSIGN(TensorInfo keys, select_rows(by_head, name.before + "attn_k_b.weight", 0, plain));
    SLUICE_TRY(add(transposed(std::move(keys))));
    return add(select_rows(by_head, name.before + "attn_v_b.weight", plain,
                           static_cast<std::uint64_t>(value)));
  }

  struct DeltaNet {
    std::uint64_t key_heads, values_per_key, key_length, value_length;
  };
  Result<DeltaNet> delta_net(const TensorInfo& tensor) const {
    const auto key_heads = settings_.integer("ssm.group_count").value_or(0);
    const auto value_heads = settings_.integer("ssm.time_step_rank").value_or(0);
    const auto key_length = settings_.integer("ssm.state_size").value_or(0);
    const auto inner = settings_.integer("ssm.inner_size").value_or(0);
    constexpr std::int64_t kMost = 1 << 24;
    if (key_heads < 1 || value_heads < 1 || value_heads % key_heads != 0 || key_length < 1 ||
        key_length > kMost || inner < 1 || inner > kMost || inner % value_heads != 0) {
      return corrupt(tensor, "the heads of its recurrence are not known");
    }
    return DeltaNet{
        static_cast<std::uint64_t>(key_heads), static_cast<std::uint64_t>(value_heads / key_heads),
        static_cast<std::uint64_t>(key_length), static_cast<std::uint64_t>(inner / value_heads)};
  }

  /// Rows of codes whose scales are shared by rows of other parts are not taken apart.
  void add_unreadable_parts(const NameParts& name, const std::array<std::string_view, 2>& parts) {
    for (const std::string_view part : parts) {
      checkpoint_.unreadable.try_emplace(name.before + std::string(part) + name.after,
                                         "F8_E4M3 in the order of key heads");
    }
  }

  /// For each key head: q, k, then v and z of its value heads.
  Status add_qkvz_parts(const TensorInfo& tensor, const NameParts& name) {
    SLUICE_ASSIGN(const DeltaNet net, delta_net(tensor));
    const std::uint64_t values = net.values_per_key * net.value_length;
    if (tensor.shape.size() != 2 ||
        tensor.shape[0] != net.key_heads * 2 * (net.key_length + values)) {
      return corrupt(tensor, "its shape does not fit the heads of its recurrence");
    }
    if (tensor.stored) {
      add_unreadable_parts(name, {"attn_qkv", "attn_gate"});
      return {};
    }
    SLUICE_ASSIGN(const TensorInfo by_head, divide_rows(tensor, net.key_heads));
    SLUICE_ASSIGN(auto q, select_rows(by_head, tensor.name, 0, net.key_length));
    SLUICE_ASSIGN(auto k, select_rows(by_head, tensor.name, net.key_length, net.key_length));
    SLUICE_ASSIGN(auto v, select_rows(by_head, tensor.name, 2 * net.key_length, values));
    SLUICE_ASSIGN(auto z, select_rows(by_head, tensor.name, 2 * net.key_length + values, values));
    SLUICE_TRY(add(stack_rows(name.before + "attn_qkv.weight", {q, k, v})));
    return add(stack_rows(name.before + "attn_gate.weight", {z}));
  }

  /// For each key head: beta, then alpha, of its value heads.
  Status add_beta_and_alpha(const TensorInfo& tensor, const NameParts& name) {
    SLUICE_ASSIGN(const DeltaNet net, delta_net(tensor));
    if (tensor.shape.size() != 2 || tensor.shape[0] != net.key_heads * 2 * net.values_per_key) {
      return corrupt(tensor, "its shape does not fit the heads of its recurrence");
    }
    if (tensor.stored) {
      add_unreadable_parts(name, {"ssm_beta", "ssm_alpha"});
      return {};
    }
    SLUICE_ASSIGN(const TensorInfo by_head, divide_rows(tensor, net.key_heads));
    SLUICE_ASSIGN(auto beta, select_rows(by_head, tensor.name, 0, net.values_per_key));
    SLUICE_ASSIGN(auto alpha,
                  select_rows(by_head, tensor.name, net.values_per_key, net.values_per_key));
    SLUICE_TRY(add(stack_rows(name.before + "ssm_beta.weight", {beta})));
    return add(stack_rows(name.before + "ssm_alpha.weight", {alpha}));
  }

  bool recurrent(const std::string& layer) const {
    const auto flags = checkpoint_.integers("attention.recurrent_layers");
    std::size_t index = 0;
    std::from_chars(layer.data() + 4, layer.data() + layer.size(), index);
    return flags.ok() && *flags && index < (*flags)->size() && (**flags)[index] != 0;
  }

  Status add_qkv_parts(const TensorInfo& tensor, const NameParts& name) {
    const auto heads = settings_.integer("attention.head_count").value_or(0);
    const auto kv_heads = settings_.has("attention.head_count_kv")
                              ? settings_.integer("attention.head_count_kv").value_or(0)
                              : heads;
    const std::uint64_t rows = tensor.shape[0];
    // All heads of one length; with an output gate the query has two parts.
    const bool gated = settings_.flag("attention.output_gate");
    const std::uint64_t units =
        heads < 1 || kv_heads < 1 || heads > (1 << 20) || kv_heads > (1 << 20)
            ? 0
            : static_cast<std::uint64_t>(heads * (gated ? 2 : 1) + 2 * kv_heads);
    if (units == 0 || rows % units != 0) {
      return corrupt(tensor, "its rows are not those of so many heads");
    }
    const std::uint64_t length = rows / units;
    const std::uint64_t q = static_cast<std::uint64_t>(heads) * (gated ? 2 : 1) * length;
    const std::uint64_t kv = static_cast<std::uint64_t>(kv_heads) * length;
    TensorInfo matrix = tensor;
    const bool vector = matrix.shape.size() == 1;
    if (vector) matrix.shape.push_back(1);
    const std::pair<std::string_view, std::pair<std::uint64_t, std::uint64_t>> parts[] = {
        {"attn_q", {0, q}}, {"attn_k", {q, kv}}, {"attn_v", {q + kv, kv}}};
    for (const auto& [part, place] : parts) {
      SLUICE_ASSIGN(TensorInfo view,
                    select_rows(matrix, name.before + std::string(part) + name.after, place.first,
                                place.second));
      if (vector) view.shape.pop_back();
      SLUICE_TRY(add(std::move(view)));
    }
    return {};
  }

  /// Who asks for gate or up of a fused tensor that cannot be read is told why.
  void name_unreadable_parts() {
    const auto fused = checkpoint_.unreadable;
    for (const auto& [name, format] : fused) {
      const auto parts = split_name(name, "ffn_gate_up_exps");
      if (!parts) continue;
      for (const std::string_view part : {"ffn_gate_exps", "ffn_up_exps"}) {
        checkpoint_.unreadable.try_emplace(parts->before + std::string(part) + parts->after,
                                           format);
      }
    }
  }

  Checkpoint& checkpoint_;
  SettingEditor settings_;
  bool folder_;
  const Architecture& architecture_;
};

}  // namespace

Status arrange_tensors(Checkpoint& checkpoint, Container container,
                       const Architecture& architecture) {
  return Arrangement(checkpoint, container, architecture).run();
}

}  // namespace sluice
