// sluice run: complete a prompt.

#include <fmt/format.h>
#include <spdlog/spdlog.h>

#include <cstdint>
#include <cstdio>
#include <limits>

#include "apps/cancel.h"
#include "apps/options.h"
#include "apps/report.h"
#include "apps/text_source.h"
#include "engine/generator.h"
#include "engine/session.h"

namespace sluice::apps {
namespace {

constexpr double kMostTemperature = 100.0;

struct RunOptions {
  CommonOptions common;
  std::string prompt;
  std::string file;
  CLI::Option* prompt_given = nullptr;
  GenerateOptions generate;
  CLI::App* app = nullptr;
};

const char* name_of(StopReason reason) {
  switch (reason) {
    case StopReason::kEndOfText:
      return "end_of_text";
    case StopReason::kStopString:
      return "stop";
    case StopReason::kMaxTokens:
      return "length";
    case StopReason::kContextFull:
      return "context_full";
    case StopReason::kCancelled:
      return "cancelled";
  }
  return "";
}

/// What the checkpoint recommends, where the user said nothing and it is what an option would
/// accept.
void take_defaults(const Checkpoint& checkpoint, const CLI::App& app, SamplerOptions& sampling) {
  const auto recommended = [&](const char* key, const char* option, double most, auto& value) {
    if (app.count(option) != 0) return;
    const auto setting = checkpoint.real(key);
    if (setting.ok() && !setting->has_value()) return;
    if (setting.ok() && **setting >= 0 && **setting <= most) {  // not so for what is no number
      value = static_cast<std::remove_reference_t<decltype(value)>>(**setting);
      return;
    }
    const std::string wrong =
        setting.ok() ? fmt::format("is {}, outside 0 to {}", **setting, most) : "is not a number";
    spdlog::warn("the model's setting '{}' {}: {} is used instead ({} sets it)", key, wrong, value,
                 option);
  };
  recommended("sampling.temperature", "--temp", kMostTemperature, sampling.temperature);
  recommended("sampling.top_k", "--top-k", std::numeric_limits<std::uint32_t>::max(),
              sampling.top_k);
  recommended("sampling.top_p", "--top-p", 1.0, sampling.top_p);
}

nlohmann::json result_json(const Generation& generation, const Model& model) {
  const auto rate = [](std::size_t tokens, double seconds) {
    return seconds > 0 ? static_cast<double>(tokens) / seconds : 0.0;
  };
  return {{"text", generation.text},
          {"tokens", generation.tokens},
          {"prompt_tokens", generation.prompt_tokens},
          {"finish_reason", name_of(generation.reason)},
          {"timings",
           {{"prefill_tok_s", rate(generation.prompt_tokens, generation.prefill_seconds)},
            {"decode_tok_s", rate(generation.decoded, generation.decode_seconds)},
            {"first_token_ms", generation.first_token_seconds * 1e3}}},
          {"experts", experts_json(model.expert_statistics())},
          {"memory", memory_json(model)}};
}

struct Prompt {
  std::vector<TokenId> tokens;
  std::size_t dropped = 0;  // tokens before these, which a shifting context has lost
};

using TextSink = std::function<void(std::string_view)>;

/// Read no further than the context goes; with --ctx-shift to the end, whatever the length.
/// `echo` gets the text once it is sure to be taken.
Result<Prompt> read_prompt(const RunOptions& options, const Tokenizer& tokenizer,
                           std::size_t context, const TextSink& echo) {
  auto text = options.prompt_given->count() != 0
                  ? Result<TextSource>(TextSource::of(options.prompt))
                  : TextSource::open(options.file.empty() ? "-" : options.file);
  if (!text.ok()) return text.status();
  TokenSource source(std::move(*text), tokenizer, {});
  Prompt prompt;
  std::string unsure;
  for (bool more = true; more;) {
    SLUICE_ASSIGN(more, source.next(prompt.tokens));
    if (options.generate.context_shift) {
      echo(source.bytes());
      const std::size_t dropped = shifted_out(prompt.tokens.size(), context);
      prompt.tokens.erase(prompt.tokens.begin(),
                          prompt.tokens.begin() + static_cast<std::ptrdiff_t>(dropped));
      prompt.dropped += dropped;
      continue;
    }
    unsure += source.bytes();
    if (prompt.tokens.size() > context) {
      return Status(ErrorCode::kInvalidArgument,
                    fmt::format("the prompt needs at least {} tokens and the context holds {}: "
                                "open a larger one (--ctx), shorten the prompt or let the context "
                                "shift (--ctx-shift)",
                                prompt.tokens.size(), context));
    }
  }
  echo(unsure);
  return prompt;
}

/// Stopped before the prompt was read whole, too.
Result<Generation> complete(Model& model, const RunOptions& options) {
  const bool json = options.common.json;
  const TextSink stream = [](std::string_view text) {
    std::fwrite(text.data(), 1, text.size(), stdout);
    // Nobody to write for: main reports it.
    if (std::fflush(stdout) != 0) request_cancel();
  };
  const TextSink nowhere = [](std::string_view) {};
  const auto prompt =
      read_prompt(options, *model.tokenizer(), model.plan().context, json ? nowhere : stream);
  if (prompt.status().code() == ErrorCode::kCancelled && json) {
    Generation nothing;
    nothing.reason = StopReason::kCancelled;
    return nothing;
  }
  if (!prompt.ok()) return prompt.status();
  Session session(model);
  SLUICE_ASSIGN(const Generation generation,
                generate(session, prompt->tokens, options.generate, json ? nowhere : stream));
  if (!json) stream("\n");
  if (prompt->dropped != 0) {
    spdlog::info(
        "the context of {} positions has shifted over the prompt: of {} tokens the last {} are "
        "left",
        model.plan().context, prompt->dropped + prompt->tokens.size(), prompt->tokens.size());
  }
  return generation;
}

Status run(RunOptions& options) {
  SLUICE_ASSIGN(OpenedModel opened, open_model(options.common));
  Model& model = *opened.model;
  if (model.tokenizer() == nullptr) {
    return Status(ErrorCode::kUnsupported,
                  fmt::format("{}: a prompt cannot be read: {}; try 'logits' or 'bench'",
                              options.common.model, model.no_tokenizer()));
  }
  take_defaults(model.checkpoint(), *options.app, options.generate.sampling);
  options.generate.pass.cancel = &cancel_requested();
  SLUICE_ASSIGN(const Generation generation, complete(model, options));
  if (options.common.json) print_json(result_json(generation, model));
  if (generation.reason == StopReason::kContextFull) {
    spdlog::warn(
        "stopped: the context of {} positions is full; open a larger one (--ctx) or let it shift "
        "(--ctx-shift)",
        model.plan().context);
  }
  if (options.common.stats) {
    print_statistic(
        fmt::format("prompt: {} tokens in {:.2f} s; then {:.1f} tokens/s", generation.prompt_tokens,
                    generation.prefill_seconds,
                    generation.decode_seconds > 0
                        ? static_cast<double>(generation.decoded) / generation.decode_seconds
                        : 0.0));
    print_statistics(model);
  }
  return {};
}

}  // namespace

Verb add_run(CLI::App& root) {
  auto options = std::make_shared<RunOptions>();
  CLI::App* app = root.add_subcommand("run", "Complete a prompt");
  options->app = app;
  options->common.add_to(*app, true);
  options->prompt_given =
      app->add_option("-p,--prompt", options->prompt, "The prompt (default: standard input)");
  app->add_option("-f,--file", options->file, "Read the prompt from a file")
      ->excludes(options->prompt_given);
  GenerateOptions& generate = options->generate;
  app->add_option("-n,--n", generate.max_tokens, "Most tokens to write")
      ->check(kUnsigned32)
      ->capture_default_str();
  SamplerOptions& sampling = generate.sampling;
  sampling = {.temperature = 0.8f, .top_k = 40, .top_p = 0.95f, .min_p = 0.05f};
  app->add_option("--temp", sampling.temperature,
                  "Temperature; 0 is greedy (default: the model's, else 0.8)")
      ->check(CLI::Range(0.0, kMostTemperature) & kFinite);
  app->add_option("--top-k", sampling.top_k,
                  "Keep the k best; 0 keeps all (default: the model's, else 40)")
      ->check(kUnsigned32);
  app->add_option("--top-p", sampling.top_p,
                  "Keep the most probable up to this sum (default: the model's, else 0.95)")
      ->check(CLI::Range(0.0, 1.0) & kFinite);
  app->add_option("--min-p", sampling.min_p,
                  "Keep those at least this times as probable as the best")
      ->check(CLI::Range(0.0, 1.0) & kFinite)
      ->capture_default_str();
  app->add_option("--repeat-penalty", sampling.repeat_penalty, "Divide the logits of recent tokens")
      ->check(CLI::Range(0.01, 100.0) & kFinite)
      ->capture_default_str();
  app->add_option("--seed", sampling.seed, "Of the random draws; the same seed gives the same text")
      ->capture_default_str();
  app->add_option("--stop", generate.stop, "End before this text (may be given several times)")
      ->allow_extra_args(false)
      ->check([](const std::string& text) {
        return text.empty() ? std::string("an empty text would end at once") : std::string();
      });
  app->add_flag("--ctx-shift", generate.context_shift,
                "When the context is full, go on from its newer half");
  app->add_flag("--ignore-eos", generate.ignore_end, "Go on after the model ends its text");
  return {app, [options] { return run(*options); }};
}

}  // namespace sluice::apps
