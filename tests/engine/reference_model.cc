#include "tests/engine/reference_model.h"

#include <string>

#include "tests/engine/reference_attention.h"

namespace sluice::test {
namespace {

class ReferencePass {
 public:
  ReferencePass(const ModelDescription& model, const NamedTensors& tensors, std::size_t context)
      : model_(model), tensors_(tensors), whole_(tensors, ""), context_(context) {}

  ReferenceResult run(std::span<const TokenId> tokens) {
    for (const TokenId token : tokens) {
      const Numbers row =
          slice(whole_.at("token_embd.weight"), static_cast<std::size_t>(token), model_.hidden);
      residual_.emplace_back(row.begin(), row.end());
      scale(residual_.back(), model_.embedding_scale);
    }
    for (std::uint32_t i = 0; i < model_.layers.size(); ++i) {
      run_layer(i, TensorView(tensors_, "blk." + std::to_string(i) + "."));
    }
    for (const Vector& x : residual_) result_.logits.push_back(logits(x));
    return std::move(result_);
  }

 private:
  void run_layer(std::uint32_t index, const TensorView& tensors) {
    const LayerDescription& layer = model_.layers[index];
    const Sequence before = residual_;
    Sequence input;
    for (const Vector& x : residual_) input.push_back(norm(tensors, "attn_norm", x));
    const Sequence attended =
        layer.recurrent ? reference_delta_net(model_, tensors, input)
                        : reference_attention(model_, layer.attention, tensors, input, context_);
    const Numbers factor = tensors.find("layer_output_scale.weight");
    for (std::size_t position = 0; position < residual_.size(); ++position) {
      Vector& x = residual_[position];
      add_scaled(x, model_.residual_scale,
                 optional_norm(tensors, "post_attention_norm", attended[position]));
      add_scaled(x, model_.residual_scale, feed_forward(index, tensors, x, before[position]));
      if (!factor.empty()) scale(x, factor[0]);
    }
  }

  /// `x` is the residual after attention, `before` before it.
  Vector feed_forward(std::uint32_t index, const TensorView& tensors, const Vector& x,
                      const Vector& before) {
    const LayerDescription& layer = model_.layers[index];
    const Vector input = norm(tensors, "ffn_norm", x);
    Vector sum(model_.hidden);
    if (layer.dense_ffn != 0) {
      const Vector dense = network(tensors, "").run(model_, input);
      add_scaled(sum, 1, optional_norm(tensors, "post_ffw_norm_1", dense));
    }
    if (layer.sparse) {
      const bool own = !tensors.find("pre_ffw_norm_2.weight").empty();
      const Vector read = own ? norm(tensors, "pre_ffw_norm_2", x) : input;
      Vector routed = experts(index, tensors, read, choose(index, tensors, read, x, before));
      if (layer.shared_ffn != 0) {
        const Numbers gate = tensors.find("ffn_gate_inp_shexp.weight");
        add_scaled(routed, gate.empty() ? 1.0 : sigmoid(multiply(gate, read)[0]),
                   network(tensors, "_shexp").run(model_, read));
      }
      add_scaled(sum, 1, optional_norm(tensors, "post_ffw_norm_2", routed));
    }
    return optional_norm(tensors, "post_ffw_norm", sum);
  }

  const ReferenceChoice& choose(std::uint32_t index, const TensorView& tensors,
                                const Vector& experts_read, const Vector& x, const Vector& before) {
    Vector input = experts_read;
    if (model_.router.input == RouterInput::kLayerInput) input = before;
    if (model_.router.input == RouterInput::kOwnNorm) {
      input = rms_norm(x, tensors.at("ffn_gate_inp.scale"), model_.norm_epsilon);
      scale(input, 1.0 / std::sqrt(static_cast<double>(model_.hidden)));
    }
    const Vector logits =
        multiply(tensors.at("ffn_gate_inp.weight"), input, tensors.find("ffn_gate_inp.bias"));
    std::vector<ReferenceChoice>& all = result_.choices[index];
    all.push_back(reference_choice(model_.router, logits, tensors.find("exp_probs_b.bias")));
    return all.back();
  }

  Vector experts(std::uint32_t index, const TensorView& tensors, const Vector& x,
                 const ReferenceChoice& choice) {
    const std::size_t hidden = model_.hidden, ffn = model_.expert_ffn;
    const Numbers output_scales = tensors.find("ffn_down_exps.scale");
    Vector sum(hidden);
    for (std::size_t rank = 0; rank < choice.experts.size(); ++rank) {
      const std::size_t expert = choice.experts[rank];
      const ReferenceNetwork one{
          .gate = slice(tensors.at("ffn_gate_exps.weight"), expert, ffn * hidden),
          .up = slice(tensors.at("ffn_up_exps.weight"), expert, ffn * hidden),
          .down = slice(tensors.at("ffn_down_exps.weight"), expert, ffn * hidden),
          .gate_bias = slice(tensors.find("ffn_gate_exps.bias"), expert, ffn),
          .up_bias = slice(tensors.find("ffn_up_exps.bias"), expert, ffn),
          .down_bias = slice(tensors.find("ffn_down_exps.bias"), expert, hidden)};
      const double of_output = output_scales.empty() ? 1.0 : output_scales[expert];
      if (model_.router.weights_scale_input) {
        Vector scaled = x;
        scale(scaled, choice.weights[rank]);
        add_scaled(sum, of_output, one.run(model_, scaled));
        note(index, expert, scaled, one.hidden(model_, scaled));
      } else {
        add_scaled(sum, choice.weights[rank] * of_output, one.run(model_, x));
        note(index, expert, x, one.hidden(model_, x));
      }
    }
    return sum;
  }

  void note(std::uint32_t layer, std::size_t expert, const Vector& input, const Vector& hidden) {
    std::vector<ReferenceReadings>& all = result_.readings[layer];
    all.resize(model_.router.experts);
    ReferenceReadings& of = all[expert];
    of.rows += 1;
    add_squares(of.inputs, input);
    add_squares(of.hidden, hidden);
  }
  static void add_squares(Vector& sums, const Vector& x) {
    sums.resize(x.size());
    for (std::size_t i = 0; i < x.size(); ++i) sums[i] += x[i] * x[i];
  }

  static ReferenceNetwork network(const TensorView& tensors, const std::string& suffix) {
    return {.gate = tensors.at("ffn_gate" + suffix + ".weight"),
            .up = tensors.at("ffn_up" + suffix + ".weight"),
            .down = tensors.at("ffn_down" + suffix + ".weight")};
  }

  Vector norm(const TensorView& tensors, const std::string& name, const Vector& x) const {
    const Numbers weight = tensors.at(name + ".weight"), bias = tensors.find(name + ".bias");
    Vector y = model_.norm_kind == NormKind::kLayer ? layer_norm(x, weight, model_.norm_epsilon)
                                                    : rms_norm(x, weight, model_.norm_epsilon);
    for (std::size_t i = 0; i < bias.size(); ++i) y[i] += bias[i];
    return y;
  }
  Vector optional_norm(const TensorView& tensors, const std::string& name, const Vector& x) const {
    return tensors.find(name + ".weight").empty() ? x : norm(tensors, name, x);
  }

  Vector logits(const Vector& x) const {
    Numbers head = whole_.find("output.weight");
    if (head.empty()) head = whole_.at("token_embd.weight");
    Vector all = multiply(head, norm(whole_, "output_norm", x), whole_.find("output.bias"));
    for (double& logit : all) {
      logit *= model_.logit_scale;
      if (const auto cap = model_.logit_softcap) logit = *cap * std::tanh(logit / *cap);
    }
    return all;
  }

  const ModelDescription& model_;
  const NamedTensors& tensors_;
  const TensorView whole_;
  const std::size_t context_;
  Sequence residual_;
  ReferenceResult result_;
};

}  // namespace

ReferenceResult run_reference(const ModelDescription& model, const NamedTensors& tensors,
                              std::span<const TokenId> tokens, std::size_t context) {
  return ReferencePass(model, tensors, context).run(tokens);
}

}  // namespace sluice::test
