// Models that nobody has made, drawn from a seed, agree with a reference in double precision: what
// the fields of a description mean does not depend on which of them a published model combines.
//
// SLUICE_PROPERTY_SEEDS=FIRST-LAST or SEED runs others than the usual seeds. A failure prints its
// seed, the settings and the tensors.

#include <fmt/format.h>
#include <fmt/ranges.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <map>
#include <set>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "formats/settings.h"
#include "tests/engine/fixture.h"
#include "tests/engine/property_trial.h"

namespace sluice {
namespace {

using test::Recorder;
using test::ReferenceChoice;
using test::ReferenceResult;
using test::Trial;
using test::Vector;

struct Seeds {
  std::uint64_t first = 1, last = 300;
};

Seeds seeds_to_run() {
  const char* wanted = std::getenv("SLUICE_PROPERTY_SEEDS");
  if (wanted == nullptr) return {};
  const std::string text = wanted;
  const std::size_t dash = text.find('-');
  const std::uint64_t first = std::stoull(text);
  return {first, dash == text.npos ? first : std::stoull(text.substr(dash + 1))};
}

struct Tally {
  std::size_t positions = 0, skipped = 0;
  double worst_logit = 0, worst_score = 0;  // as parts of what is allowed
};

// A product in float32 is the exact product of weights that are off by a few units in the last
// place. So how far the reference moves when its weights do says how far float32 may be off, for
// each model and position anew: some norms make much of a small vector. The floor is for what the
// weights have no part in: exponentials, sums of the residual. A mistake moves some logits by 1e-3
// of their size and more.
constexpr double kTolerance = 8;
constexpr double kFloor = 1e-5;
/// Where the reference itself moves by so much of its size, nothing can be said.
constexpr double kMostMoved = 5e-5;
constexpr std::size_t kMostFailures = 5;

double largest(const Vector& x) {
  double most = 0;
  for (const double value : x) most = std::max(most, std::abs(value));
  return most;
}

double distance(Vector a, const Vector& b) {
  test::add_scaled(a, -1, b);
  return largest(a);
}

/// What is right, how far off is right enough, and for how many positions that can be said.
class Verdict {
 public:
  Verdict(const ModelDescription& model, ReferenceResult reference, const ReferenceResult& nudged)
      : reference_(std::move(reference)), certain_(reference_.logits.size()) {
    for (std::size_t position = 0; position < certain_; ++position) {
      const Vector& logits = reference_.logits[position];
      // A cap's tanh comes from an exponential near 1.
      const double size = std::max(largest(logits), double{model.logit_softcap.value_or(0)});
      const double moved = distance(logits, nudged.logits[position]);
      allowed_logit_.push_back(kTolerance * moved + kFloor * size);
      if (moved > kMostMoved * size) certain_ = position;
    }
    for (const auto& [layer, choices] : reference_.choices) {
      for (std::size_t position = 0; position < certain_; ++position) {
        const ReferenceChoice& choice = choices[position];
        const double moved = distance(choice.scores, nudged.choices.at(layer)[position].scores);
        allowed_score_[layer].push_back(kTolerance * moved +
                                        kFloor * std::max(largest(choice.scores), 0.1));
        // Two scores may both be off. Positions after it may look back at a wrong choice.
        if (choice.margin <= 2 * allowed_score_[layer].back()) certain_ = position;
      }
    }
  }

  std::size_t positions() const { return reference_.logits.size(); }
  std::size_t certain() const { return certain_; }

  /// What is wrong; empty: nothing.
  std::string on(const Trial::Run& run, Tally& tally) const {
    for (const auto& [layer, choices] : reference_.choices) {
      for (std::size_t position = 0; position < certain_; ++position) {
        const std::string wrong = on_choice(layer, position, choices[position], run, tally);
        if (wrong.empty()) continue;
        return fmt::format("layer {}, position {}: {}", layer, position, wrong);
      }
    }
    for (std::size_t position = 0; position < certain_; ++position) {
      const Vector& logits = reference_.logits[position];
      for (std::size_t i = 0; i < logits.size(); ++i) {
        const double logit = run.logits[position * logits.size() + i];
        const double off = std::abs(logit - logits[i]) / allowed_logit_[position];
        tally.worst_logit = std::max(tally.worst_logit, off);
        if (off <= 1) continue;
        return fmt::format("logit {} of position {} is {} instead of {}", i, position, logit,
                           logits[i]);
      }
    }
    return {};
  }

 private:
  std::string on_choice(std::uint32_t layer, std::size_t position, const ReferenceChoice& right,
                        const Trial::Run& run, Tally& tally) const {
    const auto found = run.recorder.by_layer.find(layer);
    if (found == run.recorder.by_layer.end()) return "no experts";
    const Recorder::Choice& choice = found->second.at(position);
    for (std::size_t i = 0; i < right.scores.size(); ++i) {
      const double off =
          std::abs(choice.scores[i] - right.scores[i]) / allowed_score_.at(layer)[position];
      tally.worst_score = std::max(tally.worst_score, off);
      if (off <= 1) continue;
      return fmt::format("score {} is {} instead of {}", i, choice.scores[i], right.scores[i]);
    }
    std::vector<std::uint32_t> experts = right.experts;
    std::sort(experts.begin(), experts.end());
    if (choice.experts == experts) return {};
    return fmt::format("experts [{}] instead of [{}]", fmt::join(choice.experts, ", "),
                       fmt::join(experts, ", "));
  }

  ReferenceResult reference_;
  std::size_t certain_;                                         // the first so many positions
  std::vector<double> allowed_logit_;                           // [positions]
  std::map<std::uint32_t, std::vector<double>> allowed_score_;  // layer → [positions]
};

std::string run_seed(std::uint64_t seed, Tally& tally) {
  Trial trial(seed);
  const auto failed = [&](const std::string& what) {
    return what + "\n" + test::in_words(trial.drawn().checkpoint);
  };
  if (const Status status = trial.open(); !status.ok()) return failed(status.message());
  const Verdict verdict(trial.drawn().description, trial.reference(), trial.nudged());
  tally.positions += verdict.positions();
  tally.skipped += verdict.positions() - verdict.certain();

  const auto whole = trial.in_one_piece();
  if (!whole.ok()) return failed(whole.status().message());
  const std::string wrong = verdict.on(*whole, tally);
  if (!wrong.empty()) return failed(wrong);
  const auto chunks = trial.in_chunks();
  if (!chunks.ok()) return failed(chunks.status().message());
  if (!test::same_bits(chunks->logits, whole->logits)) return failed("chunks change the logits");
  const auto again = trial.after_truncations();
  if (!again.ok()) return failed(again.status().message());
  const std::size_t vocabulary = trial.drawn().description.vocabulary;
  const std::vector<float> rest(
      whole->logits.begin() + static_cast<std::ptrdiff_t>(trial.kept() * vocabulary),
      whole->logits.end());
  if (!test::same_bits(again->logits, rest)) return failed("a truncation changes the logits");
  return {};
}

TEST(DescriptionProperty, DrawnModelsAgreeWithTheReference) {
  const Seeds seeds = seeds_to_run();
  Tally tally;
  std::size_t failures = 0;
  for (std::uint64_t seed = seeds.first; seed <= seeds.last && failures < kMostFailures; ++seed) {
    const std::string wrong = run_seed(seed, tally);
    if (wrong.empty()) continue;
    ADD_FAILURE() << "seed " << seed << ": " << wrong;
    ++failures;
  }
  RecordProperty("worst_logit", std::to_string(tally.worst_logit));
  RecordProperty("worst_score", std::to_string(tally.worst_score));
  RecordProperty("skipped", std::to_string(tally.skipped));
  if (seeds.last - seeds.first < 100) return;
  EXPECT_LE(tally.skipped * 10, tally.positions) << "the choice of experts is too often open";
}

/// What of a model there is to get wrong: settings that are names or flags, which others it
/// has, and which tensors, whatever their layer.
std::set<std::string> features_of(const Checkpoint& checkpoint) {
  std::set<std::string> features;
  for (const auto& [key, value] : checkpoint.settings) {
    const bool few =
        std::holds_alternative<bool>(value) || std::holds_alternative<std::string>(value);
    features.insert(few ? key + "=" + setting_text(value) : key);
  }
  for (const auto& [name, tensor] : checkpoint.tensors) {
    const bool of_layer = name.starts_with("blk.");
    features.insert(of_layer ? name.substr(name.find('.', 4) + 1) : name);
  }
  return features;
}

// A feature that is never drawn would be one that is never tested.
TEST(DescriptionProperty, TheUsualSeedsDrawEveryFeature) {
  std::map<std::string, std::size_t, std::less<>> models;
  for (std::uint64_t seed = Seeds().first; seed <= Seeds().last; ++seed) {
    for (const std::string& feature : features_of(Trial(seed).drawn().checkpoint))
      ++models[feature];
  }
  for (const std::string_view feature : {"attention.clamp_kqv",
                                         "attention.kv_lora_rank",
                                         "attention.output_gate=true",
                                         "attention.q_lora_rank",
                                         "attention.qk_norm=head",
                                         "attention.qk_norm=none",
                                         "attention.qk_norm=projection",
                                         "attention.qk_norm=unweighted",
                                         "attention.temperature_scale",
                                         "attention.value_is_key_layers",
                                         "attention.value_norm=true",
                                         "attention.window_kind=chunked",
                                         "attention.window_kind=sliding",
                                         "attn_k.bias",
                                         "attn_norm.bias",
                                         "attn_output.bias",
                                         "attn_q.bias",
                                         "attn_sinks.weight",
                                         "attn_v.bias",
                                         "exp_probs_b.bias",
                                         "feed_forward.activation=clamped_swiglu",
                                         "feed_forward.activation=gelu",
                                         "feed_forward.activation=gelu_tanh",
                                         "feed_forward.activation=relu",
                                         "feed_forward.activation=silu",
                                         "ffn_down_exps.bias",
                                         "ffn_down_exps.scale",
                                         "ffn_gate.weight",
                                         "ffn_gate_exps.bias",
                                         "ffn_gate_inp.bias",
                                         "ffn_gate_inp_shexp.weight",
                                         "ffn_gate_shexp.weight",
                                         "ffn_up_exps.bias",
                                         "final_logit_softcapping",
                                         "layer_output_scale.weight",
                                         "norm.kind=layer",
                                         "norm.kind=rms",
                                         "output.bias",
                                         "output.weight",
                                         "post_attention_norm.weight",
                                         "post_ffw_norm.weight",
                                         "post_ffw_norm_1.weight",
                                         "post_ffw_norm_2.weight",
                                         "pre_ffw_norm_2.weight",
                                         "rope.factors",
                                         "rope.factors_long",
                                         "rope.interleaved=false",
                                         "rope.interleaved=true",
                                         "rope.scaling.truncate=false",
                                         "rope.scaling.truncate=true",
                                         "rope.scaling.type=linear",
                                         "rope.scaling.type=longrope",
                                         "rope.scaling.type=yarn",
                                         "router.groups=best",
                                         "router.groups=best_two",
                                         "router.groups=none",
                                         "router.groups=one_each",
                                         "router.input=ffn_norm",
                                         "router.input=layer_input",
                                         "router.input=own_norm",
                                         "router.renormalise=false",
                                         "router.renormalise=true",
                                         "router.score=sigmoid",
                                         "router.score=softmax",
                                         "router.score=sparsemixer",
                                         "router.selection_bias=true",
                                         "router.weights_scale_input=true",
                                         "ssm.value_heads_tiled=false",
                                         "ssm.value_heads_tiled=true"}) {
    EXPECT_GE(models[std::string(feature)], 5u) << feature;
  }
}

}  // namespace
}  // namespace sluice
