#include "tests/engine/reference_attention.h"

#include <algorithm>
#include <numbers>
#include <optional>
#include <string>
#include <vector>

namespace sluice::test {
namespace {

/// Rotary positions: pair i turns by `angles_[i]` a position.
class Rotation {
 public:
  Rotation(const RopeDescription& rope, std::size_t context)
      : interleaved_(rope.interleaved), magnitude_(rope.attention_factor) {
    const double dimensions = rope.rotary_dim;
    for (std::size_t i = 0; i < rope.rotary_dim / 2; ++i) {
      angles_.push_back(std::pow(rope.base, -2.0 * static_cast<double>(i) / dimensions));
    }
    if (rope.scaling == RopeScaling::kLinear) scale(angles_, 1.0 / rope.factor);
    if (rope.scaling == RopeScaling::kYarn) interpolate(rope);
    const bool beyond = rope.scaling == RopeScaling::kLongRope &&
                        static_cast<double>(context) > rope.original_context;
    if (beyond) magnitude_ = rope.attention_factor_long;
    const std::vector<double>& factors = beyond ? rope.factors_long : rope.factors;
    for (std::size_t i = 0; i < factors.size(); ++i) angles_[i] /= factors[i];
  }

  /// Turns x[first …] to `position`.
  void turn(Vector& x, std::size_t first, std::size_t position) const {
    const std::size_t pairs = angles_.size();
    for (std::size_t i = 0; i < pairs; ++i) {
      double& a = x[first + (interleaved_ ? 2 * i : i)];
      double& b = x[first + (interleaved_ ? 2 * i + 1 : i + pairs)];
      const double angle = angles_[i] * static_cast<double>(position);
      const double turned_a = magnitude_ * (a * std::cos(angle) - b * std::sin(angle));
      b = magnitude_ * (a * std::sin(angle) + b * std::cos(angle));
      a = turned_a;
    }
  }

 private:
  /// YaRN (arXiv 2309.00071): pairs that turn more than beta_fast times in the original context
  /// stay, those that turn less than beta_slow times are slowed down by the factor, and between the
  /// two the share grows with the pair's number.
  void interpolate(const RopeDescription& rope) {
    const double dimensions = rope.rotary_dim;
    const auto pair_that_turns = [&](double times) {
      const double wave_length = rope.original_context / times;
      return dimensions / 2 * std::log(wave_length / (2 * std::numbers::pi)) / std::log(rope.base);
    };
    double fast = pair_that_turns(rope.beta_fast), slow = pair_that_turns(rope.beta_slow);
    if (rope.truncate) {
      fast = std::floor(fast);
      slow = std::ceil(slow);
    }
    fast = std::max(fast, 0.0);
    slow = std::min(slow, dimensions - 1);
    for (std::size_t i = 0; i < angles_.size(); ++i) {
      const double way = (static_cast<double>(i) - fast) / std::max(slow - fast, 0.001);
      const double share = std::min(std::max(way, 0.0), 1.0);
      angles_[i] = (1 - share) * angles_[i] + share * angles_[i] / rope.factor;
    }
  }

  Vector angles_;
  bool interleaved_;
  double magnitude_;
};

/// One position: a vector for each query head and for each key/value head.
struct Heads {
  std::vector<Vector> queries, keys, values, gates;
};

std::vector<Vector> cut(const Vector& all, std::size_t parts) {
  std::vector<Vector> vectors;
  for (std::size_t i = 0; i < parts; ++i) {
    vectors.push_back(slice(all, i * (all.size() / parts), all.size() / parts));
  }
  return vectors;
}

class GroupedQueries {
 public:
  GroupedQueries(const ModelDescription& model, const AttentionDescription& attention,
                 const TensorView& tensors, std::size_t context)
      : attention_(attention), tensors_(tensors), epsilon_(model.norm_epsilon) {
    if (attention.rope) rotation_.emplace(model.ropes[*attention.rope], context);
  }

  Heads at(std::size_t position, const Vector& x) const {
    Vector q = multiply(tensors_.at("attn_q.weight"), x, tensors_.find("attn_q.bias"));
    Vector k = multiply(tensors_.at("attn_k.weight"), x, tensors_.find("attn_k.bias"));
    Vector v = attention_.value_is_key
                   ? k
                   : multiply(tensors_.at("attn_v.weight"), x, tensors_.find("attn_v.bias"));
    Heads heads;
    if (attention_.output_gate) {
      const std::vector<Vector> both = cut(q, attention_.heads);
      const std::size_t length = both[0].size() / 2;
      q.clear();
      for (const Vector& pair : both) {
        q.insert(q.end(), pair.begin(), pair.begin() + static_cast<std::ptrdiff_t>(length));
        heads.gates.push_back(slice(pair, length, length));
      }
    }
    if (attention_.qk_norm == QkNorm::kProjection) {
      q = rms_norm(q, tensors_.at("attn_q_norm.weight"), epsilon_);
      k = rms_norm(k, tensors_.at("attn_k_norm.weight"), epsilon_);
    }
    heads.queries = cut(q, attention_.heads);
    heads.keys = cut(k, attention_.kv_heads);
    heads.values = cut(v, attention_.kv_heads);
    for (Vector& query : heads.queries) finish(query, "attn_q_norm.weight", position);
    for (Vector& key : heads.keys) finish(key, "attn_k_norm.weight", position);
    for (Vector& value : heads.values) {
      if (attention_.value_norm) value = rms_norm(value, {}, epsilon_);
      clamp(value);
    }
    if (!rotation_ && attention_.temperature_scale != 0) {
      const double runs = std::floor((static_cast<double>(position) + 1) /
                                     static_cast<double>(attention_.temperature_length));
      const double factor = 1 + double{attention_.temperature_scale} * std::log(runs + 1);
      for (Vector& query : heads.queries) scale(query, factor);
    }
    return heads;
  }

 private:
  void finish(Vector& x, const std::string& norm, std::size_t position) const {
    if (attention_.qk_norm == QkNorm::kHead) x = rms_norm(x, tensors_.at(norm), epsilon_);
    clamp(x);
    if (!rotation_) return;
    rotation_->turn(x, 0, position);
    if (attention_.qk_norm == QkNorm::kUnweighted) x = rms_norm(x, {}, epsilon_);
  }
  void clamp(Vector& x) const {
    if (!attention_.clamp) return;
    const double limit = *attention_.clamp;
    for (double& value : x) value = std::min(std::max(value, -limit), limit);
  }

  const AttentionDescription& attention_;
  const TensorView& tensors_;
  const double epsilon_;
  std::optional<Rotation> rotation_;
};

/// Latent attention with a key and a value for each head.
class ExpandedLatents {
 public:
  ExpandedLatents(const ModelDescription& model, const AttentionDescription& attention,
                  const TensorView& tensors, std::size_t context)
      : attention_(attention),
        tensors_(tensors),
        rotation_(model.ropes[*attention.rope], context) {}

  Heads at(std::size_t position, const Vector& x) const {
    const LatentDescription& latent = *attention_.latent;
    Vector q = x;
    if (latent.q_rank != 0) {
      q = rms_norm(multiply(tensors_.at("attn_q_a.weight"), x), tensors_.at("attn_q_a_norm.weight"),
                   latent.norm_epsilon);
    }
    q = multiply(tensors_.at(latent.q_rank != 0 ? "attn_q_b.weight" : "attn_q.weight"), q);
    const Vector kept = multiply(tensors_.at("attn_kv_a_mqa.weight"), x);
    const Vector row = rms_norm(slice(kept, 0, latent.kv_rank),
                                tensors_.at("attn_kv_a_norm.weight"), latent.norm_epsilon);
    Vector rotary_key = slice(kept, latent.kv_rank, kept.size() - latent.kv_rank);
    rotation_.turn(rotary_key, 0, position);

    Heads heads;
    heads.queries = cut(q, attention_.heads);
    const std::size_t key_numbers = std::size_t{latent.kv_rank} * latent.plain_dim;
    const std::size_t value_numbers = std::size_t{latent.kv_rank} * attention_.value_dim;
    for (std::size_t head = 0; head < attention_.heads; ++head) {
      rotation_.turn(heads.queries[head], latent.plain_dim, position);
      const Numbers down = slice(tensors_.at("attn_k_b.weight"), head, key_numbers);
      Vector key(latent.plain_dim);
      for (std::size_t i = 0; i < down.size(); ++i) {
        key[i % latent.plain_dim] += double{down[i]} * row[i / latent.plain_dim];
      }
      key.insert(key.end(), rotary_key.begin(), rotary_key.end());
      heads.keys.push_back(key);
      heads.values.push_back(
          multiply(slice(tensors_.at("attn_v_b.weight"), head, value_numbers), row));
    }
    return heads;
  }

 private:
  const AttentionDescription& attention_;
  const TensorView& tensors_;
  const Rotation rotation_;
};

template <typename Projection>
std::vector<Heads> project(const Projection& projection, const Sequence& input) {
  std::vector<Heads> all;
  for (std::size_t position = 0; position < input.size(); ++position) {
    all.push_back(projection.at(position, input[position]));
  }
  return all;
}

bool sees(const AttentionDescription& attention, std::size_t position, std::size_t other) {
  if (other > position) return false;
  if (attention.window == 0) return true;
  if (attention.window_in_chunks) return other / attention.window == position / attention.window;
  return position - other < attention.window;
}

/// softmax(scale · q·k) · v of one head at one position; a sink is a score without a value.
Vector attend(const AttentionDescription& attention, const std::vector<Heads>& all,
              std::size_t position, std::size_t head, const float* sink) {
  const Vector& query = all[position].queries[head];
  const std::size_t kv_head = head * all[0].keys.size() / attention.heads;
  Vector scores;
  for (std::size_t other = 0; other < all.size(); ++other) {
    if (!sees(attention, position, other)) continue;
    scores.push_back(attention.scale * dot(query, all[other].keys[kv_head]));
  }
  double peak = *std::max_element(scores.begin(), scores.end());
  if (sink != nullptr) peak = std::max(peak, double{*sink});
  double total = sink != nullptr ? std::exp(*sink - peak) : 0.0;
  for (double& score : scores) total += score = std::exp(score - peak);
  Vector out(attention.value_dim);
  std::size_t seen = 0;
  for (std::size_t other = 0; other < all.size(); ++other) {
    if (!sees(attention, position, other)) continue;
    add_scaled(out, scores[seen++] / total, all[other].values[kv_head]);
  }
  return out;
}

}  // namespace

Sequence reference_attention(const ModelDescription& model, const AttentionDescription& attention,
                             const TensorView& tensors, const Sequence& input,
                             std::size_t context) {
  const std::vector<Heads> heads =
      attention.latent ? project(ExpandedLatents(model, attention, tensors, context), input)
                       : project(GroupedQueries(model, attention, tensors, context), input);
  const Numbers sinks = tensors.find("attn_sinks.weight");
  Sequence output;
  for (std::size_t position = 0; position < input.size(); ++position) {
    Vector all;
    for (std::size_t head = 0; head < attention.heads; ++head) {
      Vector out = attend(attention, heads, position, head, sinks.empty() ? nullptr : &sinks[head]);
      for (std::size_t i = 0; attention.output_gate && i < out.size(); ++i) {
        out[i] *= sigmoid(heads[position].gates[head][i]);
      }
      all.insert(all.end(), out.begin(), out.end());
    }
    output.push_back(
        multiply(tensors.at("attn_output.weight"), all, tensors.find("attn_output.bias")));
  }
  return output;
}

}  // namespace sluice::test
