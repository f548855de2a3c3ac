#include "tests/engine/random_model.h"

#include <cmath>
#include <cstring>
#include <functional>
#include <utility>

#include "base/half.h"
#include "formats/settings.h"

namespace sluice::test {
namespace {

/// Draws tensors and lays them one after the other into a file, wherever it goes on.
class TensorWriter {
 public:
  TensorWriter(Random& random, RandomModel& model)
      : random_(random), model_(model), narrow_(random.chance(0.3)) {}

  void set_prefix(std::string prefix) { prefix_ = std::move(prefix); }

  /// What keeps the size of what it is multiplied with, more or less.
  void matrix(const std::string& name, const std::vector<std::uint64_t>& shape, double gain = 1.2) {
    const double deviation = gain / std::sqrt(static_cast<double>(shape.back()));
    add(name, shape, [&] { return deviation * random_.normal(); });
  }
  void vector(const std::string& name, const std::vector<std::uint64_t>& shape, double mean,
              double deviation) {
    add(name, shape, [&] { return mean + deviation * random_.normal(); });
  }
  /// A bias, half of the times.
  void perhaps_bias(const std::string& name, const std::vector<std::uint64_t>& shape) {
    if (random_.chance(0.4)) vector(name, shape, 0, 0.4);
  }
  void norm(const std::string& name, std::uint64_t width) {
    vector(name + ".weight", {width}, 1, 0.4);
    perhaps_bias(name + ".bias", {width});
  }
  void perhaps_norm(const std::string& name, std::uint64_t width) {
    if (random_.chance(0.3)) norm(name, width);
  }

  const std::string& file() const { return file_; }

 private:
  void add(const std::string& name, std::vector<std::uint64_t> shape,
           const std::function<double()>& draw) {
    std::uint64_t elements = 1;
    for (const std::uint64_t extent : shape) elements *= extent;
    const TensorType type = narrow_ && random_.chance(0.7) ? TensorType::kBF16 : TensorType::kF32;
    std::vector<float> numbers;
    std::string bytes;
    for (std::uint64_t i = 0; i < elements; ++i) {
      const auto number = static_cast<float>(draw());
      const std::uint16_t bits = float_to_bf16(number);
      const bool whole = type == TensorType::kF32;
      numbers.push_back(whole ? number : bf16_to_float(bits));
      bytes.append(
          whole ? reinterpret_cast<const char*>(&number) : reinterpret_cast<const char*>(&bits),
          whole ? sizeof number : sizeof bits);
    }
    TensorInfo info;
    info.name = prefix_ + name;
    info.type = type;
    info.shape = std::move(shape);
    // Experts may lie apart; nothing has to be aligned.
    const std::uint64_t parts =
        info.shape.size() == 3 && info.name.find("_exps") != info.name.npos && random_.chance(0.5)
            ? info.shape[0]
            : 1;
    for (std::uint64_t part = 0; part < parts; ++part) {
      file_.append(random_.whole(0, 9), 'x');
      info.ranges.push_back({0, file_.size(), bytes.size() / parts});
      file_.append(bytes, part * (bytes.size() / parts), bytes.size() / parts);
    }
    model_.tensors[info.name] = std::move(numbers);
    model_.checkpoint.tensors[info.name] = std::move(info);
  }

  Random& random_;
  RandomModel& model_;
  const bool narrow_;  // some tensors are bfloat16
  std::string prefix_;
  std::string file_;
};

void write_latent(TensorWriter& writer, const AttentionDescription& attention,
                  std::uint64_t hidden) {
  const LatentDescription& latent = *attention.latent;
  const std::uint64_t heads = attention.heads;
  const std::uint64_t queries = heads * attention.head_dim;
  const std::uint64_t rotary = attention.head_dim - latent.plain_dim;
  if (latent.q_rank != 0) {
    writer.matrix("attn_q_a.weight", {latent.q_rank, hidden});
    writer.vector("attn_q_a_norm.weight", {latent.q_rank}, 1, 0.4);
    writer.matrix("attn_q_b.weight", {queries, latent.q_rank});
  } else {
    writer.matrix("attn_q.weight", {queries, hidden});
  }
  writer.matrix("attn_kv_a_mqa.weight", {latent.kv_rank + rotary, hidden});
  writer.vector("attn_kv_a_norm.weight", {latent.kv_rank}, 1, 0.4);
  writer.matrix("attn_k_b.weight", {heads, latent.kv_rank, latent.plain_dim}, 0.8);
  writer.matrix("attn_v_b.weight", {heads, attention.value_dim, latent.kv_rank});
}

void write_attention(Random& random, TensorWriter& writer, const AttentionDescription& attention,
                     std::uint64_t hidden) {
  const std::uint64_t heads = attention.heads;
  writer.matrix("attn_output.weight", {hidden, heads * attention.value_dim});
  writer.perhaps_bias("attn_output.bias", {hidden});
  if (random.chance(0.3)) writer.vector("attn_sinks.weight", {heads}, 0.5, 1.5);
  if (attention.latent) return write_latent(writer, attention, hidden);

  const std::uint64_t q = heads * attention.head_dim;
  const std::uint64_t k = std::uint64_t{attention.kv_heads} * attention.head_dim;
  const std::uint64_t v = std::uint64_t{attention.kv_heads} * attention.value_dim;
  const auto projection = [&](const std::string& name, std::uint64_t width) {
    writer.matrix(name + ".weight", {width, hidden});
    writer.perhaps_bias(name + ".bias", {width});
  };
  projection("attn_q", attention.output_gate ? 2 * q : q);
  projection("attn_k", k);
  if (!attention.value_is_key) projection("attn_v", v);
  if (attention.qk_norm == QkNorm::kHead) {
    writer.vector("attn_q_norm.weight", {attention.head_dim}, 1, 0.4);
    writer.vector("attn_k_norm.weight", {attention.head_dim}, 1, 0.4);
  } else if (attention.qk_norm == QkNorm::kProjection) {
    writer.vector("attn_q_norm.weight", {q}, 1, 0.4);
    writer.vector("attn_k_norm.weight", {k}, 1, 0.4);
  }
}

void write_delta_net(TensorWriter& writer, const DeltaNetShape& shape, std::uint64_t hidden) {
  const std::uint64_t keys = std::uint64_t{shape.key_heads} * shape.key_dim;
  const std::uint64_t values = std::uint64_t{shape.value_heads} * shape.value_dim;
  writer.matrix("attn_qkv.weight", {2 * keys + values, hidden});
  writer.matrix("attn_gate.weight", {values, hidden});
  writer.matrix("ssm_alpha.weight", {shape.value_heads, hidden});
  writer.matrix("ssm_beta.weight", {shape.value_heads, hidden});
  writer.matrix("ssm_out.weight", {hidden, values});
  writer.matrix("ssm_conv1d.weight", {2 * keys + values, shape.kernel}, 2);
  writer.vector("ssm_a", {shape.value_heads}, -0.6, 0.2);
  writer.vector("ssm_dt.bias", {shape.value_heads}, -1, 1);
  writer.vector("ssm_norm.weight", {shape.value_dim}, 1, 0.4);
}

void write_network(TensorWriter& writer, const std::string& suffix, std::uint64_t hidden,
                   std::uint64_t ffn) {
  writer.matrix("ffn_gate" + suffix + ".weight", {ffn, hidden});
  writer.matrix("ffn_up" + suffix + ".weight", {ffn, hidden});
  writer.matrix("ffn_down" + suffix + ".weight", {hidden, ffn});
}

void write_experts(Random& random, TensorWriter& writer, const ModelDescription& model) {
  const RouterDescription& router = model.router;
  const std::uint64_t experts = router.experts, hidden = model.hidden, ffn = model.expert_ffn;
  // kOwnNorm makes its input small: a matrix that is large makes up for it.
  const bool small = router.input == RouterInput::kOwnNorm;
  writer.matrix("ffn_gate_inp.weight", {experts, hidden}, small ? 1.5 * std::sqrt(hidden) : 1.5);
  writer.perhaps_bias("ffn_gate_inp.bias", {experts});
  if (router.selection_bias) writer.vector("exp_probs_b.bias", {experts}, 0, 0.2);
  if (small) writer.vector("ffn_gate_inp.scale", {hidden}, 1, 0.4);
  if (random.chance(0.3)) writer.vector("ffn_down_exps.scale", {experts}, 1, 0.4);
  writer.matrix("ffn_gate_exps.weight", {experts, ffn, hidden});
  writer.matrix("ffn_up_exps.weight", {experts, ffn, hidden});
  writer.matrix("ffn_down_exps.weight", {experts, hidden, ffn});
  writer.perhaps_bias("ffn_gate_exps.bias", {experts, ffn});
  writer.perhaps_bias("ffn_up_exps.bias", {experts, ffn});
  writer.perhaps_bias("ffn_down_exps.bias", {experts, hidden});
  writer.perhaps_norm("pre_ffw_norm_2", hidden);
  writer.perhaps_norm("post_ffw_norm_2", hidden);
}

void write_layer(Random& random, TensorWriter& writer, const ModelDescription& model,
                 const LayerDescription& layer) {
  const std::uint64_t hidden = model.hidden;
  writer.norm("attn_norm", hidden);
  layer.recurrent ? write_delta_net(writer, model.delta_net, hidden)
                  : write_attention(random, writer, layer.attention, hidden);
  writer.perhaps_norm("post_attention_norm", hidden);
  writer.norm("ffn_norm", hidden);
  if (layer.dense_ffn != 0) {
    write_network(writer, "", hidden, layer.dense_ffn);
    writer.perhaps_norm("post_ffw_norm_1", hidden);
  }
  if (layer.sparse) write_experts(random, writer, model);
  if (layer.shared_ffn != 0) {
    write_network(writer, "_shexp", hidden, layer.shared_ffn);
    if (random.chance(0.5)) writer.matrix("ffn_gate_inp_shexp.weight", {1, hidden});
  }
  writer.perhaps_norm("post_ffw_norm", hidden);
  if (random.chance(0.2)) writer.vector("layer_output_scale.weight", {1}, 0.8, 0.2);
}

}  // namespace

RandomModel random_model(Random& random, std::uint32_t positions, const TemporaryFolder& folder) {
  RandomModel drawn;
  drawn.description = random_description(random, positions);
  const ModelDescription& model = drawn.description;
  drawn.checkpoint.container = "drawn";
  drawn.checkpoint.architecture = "drawn";
  drawn.checkpoint.settings = settings_of(model);

  TensorWriter writer(random, drawn);
  writer.vector("token_embd.weight", {model.vocabulary, model.hidden}, 0, 1);
  if (random.chance(0.7)) writer.matrix("output.weight", {model.vocabulary, model.hidden});
  writer.perhaps_bias("output.bias", {model.vocabulary});
  writer.norm("output_norm", model.hidden);
  for (std::size_t i = 0; i < model.layers.size(); ++i) {
    writer.set_prefix("blk." + std::to_string(i) + ".");
    write_layer(random, writer, model, model.layers[i]);
  }
  drawn.checkpoint.files = {folder.write("weights", writer.file())};
  return drawn;
}

std::string in_words(const Checkpoint& checkpoint) {
  std::string text;
  for (const auto& [key, value] : checkpoint.settings) {
    text += key + " = " + setting_text(value) + "\n";
  }
  for (const auto& [name, tensor] : checkpoint.tensors) {
    text += name + ": " + std::string(tensor_format(tensor.type).name);
    for (const std::uint64_t extent : tensor.shape) text += " " + std::to_string(extent);
    text += "\n";
  }
  return text;
}

}  // namespace sluice::test
