#include "tests/engine/property_trial.h"

#include <algorithm>
#include <array>
#include <span>
#include <utility>

#include "base/canonical.h"
#include "formats/settings.h"

namespace sluice::test {
namespace {

Status eval(Session& session, std::span<const TokenId> tokens, Trial::Run& run) {
  return session.eval(tokens, Session::Logits::kAll,
                      [&](std::size_t, std::span<const float> row) {
                        run.logits.insert(run.logits.end(), row.begin(), row.end());
                      },
                      {.observer = &run.recorder});
}

}  // namespace

void Recorder::routed(const Routing& routing) {
  for (std::size_t row = 0; row < routing.rows; ++row) {
    const std::uint32_t* ids = routing.ids + row * routing.top_k;
    const float* scores = routing.scores + row * routing.experts;
    Choice choice{.experts = {ids, ids + routing.top_k},
                  .scores = {scores, scores + routing.experts}};
    std::sort(choice.experts.begin(), choice.experts.end());
    by_layer[routing.layer].push_back(std::move(choice));
  }
}

Trial::Trial(std::uint64_t seed) : random_(seed) {
  // Every third text reaches over the border of a block of the KV cache.
  const std::uint32_t length =
      random_.chance(0.3) ? random_.whole(kKvBlock - 4, kKvBlock + 30) : random_.whole(1, 40);
  model_ = random_model(random_, length, folder_);
  for (std::uint32_t i = 0; i < length; ++i) {
    tokens_.push_back(static_cast<TokenId>(random_.whole(0, model_.description.vocabulary - 1)));
  }
}

Status Trial::open() {
  SLUICE_TRY(check_settings(model_.checkpoint));
  SLUICE_ASSIGN(ModelOutline outline, ModelOutline::from(model_.checkpoint));
  SLUICE_ASSIGN(runtime_, Runtime::create({.ram = std::uint64_t{1} << 30, .threads = 1}));
  ModelOptions options;
  options.context = static_cast<std::uint32_t>(tokens_.size());
  options.kv_type = KvType::kF32;
  options.compute_f32 = true;
  SLUICE_ASSIGN(opened_, Model::open(*runtime_, std::move(outline), options));
  return {};
}

ReferenceResult Trial::reference() const {
  return run_reference(model_.description, model_.tensors, tokens_, tokens_.size());
}

ReferenceResult Trial::nudged() {
  const auto nudge = [&] { return random_.chance(0.5) ? 1 + 0x1p-22f : 1 - 0x1p-22f; };
  NamedTensors tensors = model_.tensors;
  for (auto& [name, numbers] : tensors) {
    for (float& number : numbers) number *= nudge();
  }
  ModelDescription description = model_.description;
  for (RopeDescription& rope : description.ropes) {
    for (std::vector<double>* factors : {&rope.factors, &rope.factors_long}) {
      factors->resize(rope.rotary_dim / 2, 1.0);
      for (double& factor : *factors) factor *= nudge();
    }
  }
  return run_reference(description, tensors, tokens_, tokens_.size());
}

Result<Trial::Run> Trial::in_one_piece() {
  Run run;
  Session session(*opened_);
  SLUICE_TRY(eval(session, tokens_, run));
  return run;
}

Result<Trial::Run> Trial::in_chunks() {
  Run run;
  Session session(*opened_);
  SLUICE_TRY(eval_in_chunks(session, run));
  return run;
}

Result<Trial::Run> Trial::after_truncations() {
  Run run, forgotten;
  Session session(*opened_);
  const auto up_to = [&](std::size_t most) {
    return random_.whole(0, static_cast<std::uint32_t>(most));
  };
  const auto back_to_the_text = [&] {
    const auto& seen = session.tokens();
    const auto differs = std::mismatch(seen.begin(), seen.end(), tokens_.begin()).first;
    kept_ = static_cast<std::size_t>(differs - seen.begin());
    session.truncate(kept_);
  };
  // Far back, and another text.
  SLUICE_TRY(eval(session, tokens_, forgotten));
  session.truncate(up_to(tokens_.size()));
  const std::vector<TokenId> wrong(up_to(tokens_.size() - session.length()), 1);
  SLUICE_TRY(eval(session, wrong, forgotten));
  back_to_the_text();
  // A prompt and a few tokens, one by one, that the prompt's end is gone back to.
  const std::span<const TokenId> rest = std::span(tokens_).subspan(kept_);
  SLUICE_TRY(eval(session, rest.first(up_to(rest.size())), forgotten));
  const std::size_t decoded = std::min<std::size_t>(tokens_.size() - session.length(), 3);
  for (std::size_t i = 0; i < decoded; ++i) {
    const TokenId one = 1;
    SLUICE_TRY(eval(session, {&one, 1}, forgotten));
  }
  back_to_the_text();
  SLUICE_TRY(eval_in_chunks(session, run));
  return run;
}

/// What is missing of the text.
Status Trial::eval_in_chunks(Session& session, Run& run) {
  const std::uint32_t most = random_.one_of(std::array{1u, 3u, 8u, 40u});
  while (session.length() < tokens_.size()) {
    const std::span<const TokenId> rest = std::span(tokens_).subspan(session.length());
    const std::size_t count = std::min<std::size_t>(rest.size(), random_.whole(1, most));
    SLUICE_TRY(eval(session, rest.first(count), run));
  }
  return {};
}

}  // namespace sluice::test
