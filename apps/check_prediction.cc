#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <map>
#include <span>

#include "apps/cancel.h"
#include "apps/check_step.h"
#include "apps/options.h"
#include "apps/printable.h"
#include "apps/score.h"
#include "base/cancellation.h"
#include "engine/generator.h"
#include "engine/session.h"
#include "text/chat_format.h"
#include "text/local_time.h"

namespace sluice::apps {
namespace {

// Two texts, for a model need not be good at both: one that nearly every corpus holds (the first
// lines of "Alice's Adventures in Wonderland", Lewis Carroll, 1865), and a plain story.
constexpr std::string_view kFamous =
    "Alice was beginning to get very tired of sitting by her sister on the bank, and of having "
    "nothing to do: once or twice she had peeped into the book her sister was reading, but it had "
    "no pictures or conversations in it, \"and what is the use of a book,\" thought Alice, "
    "\"without pictures or conversations?\" So she was considering in her own mind (as well as she "
    "could, for the hot day made her feel very sleepy and stupid), whether the pleasure of making "
    "a daisy-chain would be worth the trouble of getting up and picking the daisies, when suddenly "
    "a White Rabbit with pink eyes ran close by her.";
constexpr std::string_view kStory =
    "Once upon a time there was a little girl named Lily. She lived with her mother in a small "
    "house near a big forest. One day Lily went into the forest to look for berries. She walked "
    "and walked, and soon she could not see the house any more. Lily was afraid and began to cry. "
    "Then a small brown bird came down from a tree and said, \"Do not cry, little girl. I know the "
    "way to your house.\" The bird flew from tree to tree, and Lily went after it. When they came "
    "out of the forest, her mother was waiting at the door. \"Thank you, little bird,\" said Lily. "
    "She gave the bird some of her berries, and from that day on they were good friends.";

// What trained models reach, against the least that predicting without context costs.
constexpr double kUnlikely = 0.85;
// And of a passage that was just read, against the first time: large models nearly know it by
// heart, small ones at least do not get worse.
constexpr double kUnlikelyAgain = 1.0;

constexpr std::size_t kIdsAlone = 32;
// Random logits of usual size leave nine tenths of the entropy of a uniform guess and more; trained
// models commit themselves, whatever they read.
constexpr double kUniform = 0.85;

constexpr std::size_t kAnswerTokens = 48;
constexpr std::size_t kJudged = 16;  // a shorter answer is not called monotonous

/// Predicted tokens of one text.
struct Text {
  std::string_view name;
  std::size_t begin = 0, end = 0;  // in the sequence
  Score score;
};

/// The entropy of the tokens' own frequencies, in nats: no guess that knows how often tokens occur,
/// but not in which order, does better on them, not even one that was fitted to this very text
/// (Gibbs' inequality).
double order_free_nll(std::span<const TokenId> ids) {
  std::map<TokenId, double> counts;
  for (const TokenId id : ids) ++counts[id];
  const auto all = static_cast<double>(ids.size());
  double entropy = 0;
  for (const auto& [id, count] : counts) entropy -= count / all * std::log(count / all);
  return entropy;
}

/// The texts one after the other, the last of them twice, as far as the context goes.
struct Sequence {
  std::vector<TokenId> ids;
  std::array<Text, 3> texts;

  Sequence(const Tokenizer& tokenizer, std::size_t context) {
    ids = tokenizer.encode("\n");
    const std::array<std::pair<std::string_view, std::string_view>, 3> parts = {
        {{"famous", kFamous}, {"story", kStory}, {"again", kStory}}};
    for (std::size_t i = 0; i < parts.size(); ++i) {
      const std::string text = std::string(parts[i].second) + "\n\n";
      const auto more = tokenizer.encode(text, {.add_special = false, .parse_special = false});
      texts[i] = {.name = parts[i].first, .begin = ids.size(), .end = 0, .score = {}};
      ids.insert(ids.end(), more.begin(), more.end());
      ids.resize(std::min(ids.size(), context));
      texts[i].begin = std::min(texts[i].begin, ids.size());
      texts[i].end = ids.size();
    }
  }
};

struct Scored {
  double ratio = 0;  // to the order-free guess, of the text that is predicted best
  double perplexity = 0;
  double order_free = 0;  // perplexity
  std::string_view name;
};

Scored best_of(std::span<const Text> texts, std::span<const TokenId> ids, nlohmann::json& details) {
  Scored best;
  for (const Text& text : texts) {
    if (text.score.tokens == 0) continue;
    const double free = order_free_nll(ids.subspan(text.begin, text.end - text.begin));
    const double ratio = text.score.mean() / free;
    details["texts"].push_back({{"name", text.name},
                                {"tokens", text.score.tokens},
                                {"perplexity", text.score.perplexity()},
                                {"order_free_perplexity", std::exp(free)}});
    if (best.ratio != 0 && best.ratio <= ratio) continue;
    best = {ratio, text.score.perplexity(), std::exp(free), text.name};
  }
  return best;
}

double entropy_of(std::span<const float> logits) {
  const float peak = *std::max_element(logits.begin(), logits.end());
  double sum = 0, weighted = 0;
  for (const float logit : logits) {
    const double below = static_cast<double>(logit) - peak, likelihood = std::exp(below);
    sum += likelihood;
    weighted += likelihood * below;
  }
  return std::log(sum) - weighted / sum;
}

CheckStep not_numbers(const Status& status, CheckStep step) {
  step.verdict = Verdict::kFailed;
  step.found = status.message();
  step.remedy =
      "see what 'tensors' says; if nothing is wrong there, report it with the model's name";
  return step;
}

}  // namespace

Result<CheckStep> check_prediction(Model& model) {
  CheckStep step{.name = "prediction", .found = {}, .remedy = {}};
  Sequence sequence(*model.tokenizer(), model.plan().context);
  Session session(model);
  Status sound;
  const LogitsSink sink = [&](std::size_t row, std::span<const float> logits) {
    if (sound.ok()) sound = check_logits(logits, row, model);
    for (Text& text : sequence.texts) {
      if (row + 1 >= text.begin && row + 1 < text.end) {
        text.score.add(logits, sequence.ids[row + 1]);
      }
    }
  };
  SLUICE_TRY(
      session.eval(sequence.ids, Session::Logits::kAll, sink, {.cancel = &cancel_requested()}));
  if (!sound.ok()) return not_numbers(sound, std::move(step));

  const auto& [famous, story, again] = sequence.texts;
  const Scored best = best_of(std::span(sequence.texts).first(2), sequence.ids, step.details);
  const double vocabulary = static_cast<double>(model.description().vocabulary);
  const double relearned = again.score.tokens != 0 && again.score.tokens == story.score.tokens
                               ? again.score.mean() / story.score.mean()
                               : 0;  // the context is too small for it
  step.details["vocabulary"] = vocabulary;
  step.details["of_order_free"] = best.ratio;
  if (relearned != 0) step.details["again_of_first"] = relearned;
  const std::string perplexity =
      fmt::format("perplexity {:.1f} on the {} text", best.perplexity, best.name);
  const char* const kWrong =
      "the weights are random or damaged, or misread (their order, RoPE, a norm, the tokenizer): "
      "compare the file's checksum with its source's and 'tokenize' with the model's own tokens";
  if (best.ratio >= 1) {
    step.verdict = Verdict::kFailed;
    step.found = fmt::format(
        "{}: no better than a guess that ignores what stands before ({:.0f}; blind chance: {:.0f})",
        perplexity, best.order_free, vocabulary);
    step.remedy = kWrong;
  } else if (best.ratio > kUnlikely) {
    step.verdict = Verdict::kSuspicious;
    step.found =
        fmt::format("{}: little better than a guess that ignores what stands before ({:.0f})",
                    perplexity, best.order_free);
    step.remedy = kWrong;
  } else if (relearned >= kUnlikelyAgain) {
    step.verdict = Verdict::kSuspicious;
    step.found =
        fmt::format("{}, but a passage is no better known the second time ({:.1f}, then {:.1f})",
                    perplexity, story.score.perplexity(), again.score.perplexity());
    step.remedy = "positions may be misread: RoPE's base, scaling or pairs, the window";
  } else {
    step.found = fmt::format(
        "{}, where a guess that ignores what stands before has {:.0f}{}", perplexity,
        best.order_free,
        relearned == 0 ? ""
                       : fmt::format("; a passage that was just read: {:.1f}, then {:.1f}",
                                     story.score.perplexity(), again.score.perplexity()));
  }
  return step;
}

Result<CheckStep> check_logits_alone(Model& model) {
  CheckStep step{.name = "prediction", .verdict = Verdict::kSuspicious, .found = {}, .remedy = {}};
  const std::size_t vocabulary = model.description().vocabulary;
  std::vector<TokenId> ids(std::min<std::size_t>({kIdsAlone, vocabulary, model.plan().context}));
  for (std::size_t i = 0; i < ids.size(); ++i) {
    ids[i] = static_cast<TokenId>(i * vocabulary / ids.size());
  }
  Session session(model);
  Status sound;
  double entropy = 0;
  const LogitsSink sink = [&](std::size_t row, std::span<const float> logits) {
    if (sound.ok()) sound = check_logits(logits, row, model);
    entropy += entropy_of(logits) / static_cast<double>(ids.size());
  };
  SLUICE_TRY(session.eval(ids, Session::Logits::kAll, sink, {.cancel = &cancel_requested()}));
  if (!sound.ok()) return not_numbers(sound, std::move(step));
  const double most = std::log(static_cast<double>(vocabulary));
  step.details = {{"entropy", entropy}, {"uniform_entropy", most}};
  step.found = entropy > kUniform * most
                   ? fmt::format(
                         "no token is much likelier to it than another (entropy {:.2f} of {:.2f} "
                         "nats): random weights are like that",
                         entropy, most)
                   : "its logits are numbers; whether they are right cannot be told without texts";
  step.remedy = "put the tokenizer's files beside the weights, so that it can read and write";
  return step;
}

Result<CheckStep> check_answer(Model& model) {
  CheckStep step{.name = "answer", .found = {}, .remedy = {}};
  const Tokenizer& tokenizer = *model.tokenizer();
  std::string prompt = "Once upon a time, there was a cat who";
  bool chats = false;
  const auto format =
      ChatFormat::create(tokenizer.data().chat_template, tokenizer.data(), kTemplateLimits);
  if (format.ok() && !tokenizer.data().chat_template.empty()) {
    const nlohmann::ordered_json message = {{"role", "user"},
                                            {"content", "Tell me a story about a cat and a tree."}};
    const auto rendered = format->render(
        {{"messages", nlohmann::ordered_json::array({message})}, {"add_generation_prompt", true}},
        local_time());
    chats = rendered.ok();
    if (chats) prompt = *rendered;
  }
  Session session(model);
  GenerateOptions options;
  options.max_tokens = kAnswerTokens;
  options.own_text = chats;
  options.pass.cancel = &cancel_requested();
  const auto ids = tokenizer.encode(prompt, {.add_special = !chats});
  SLUICE_ASSIGN(const Generation answer, generate(session, ids, options, {}));
  if (answer.reason == StopReason::kCancelled) return cancelled();
  std::map<TokenId, std::size_t> counts;
  std::size_t most = 0;
  for (const TokenId id : answer.tokens) most = std::max(most, ++counts[id]);
  step.details = {{"prompt", prompt}, {"text", answer.text}, {"tokens", answer.tokens}};
  step.found = (chats ? "" : prompt) + answer.text;
  const std::size_t count = answer.tokens.size();
  if (count == 0 || (count >= kJudged && most * 2 > count)) {
    step.verdict = Verdict::kSuspicious;
    step.found = count == 0 ? "(nothing)" : answer.text;
    step.remedy = "a model that is read rightly says something, and not the same over and over";
  }
  return step;
}

}  // namespace sluice::apps
