// sluice run: complete a prompt.

#include <fmt/format.h>
#include <spdlog/spdlog.h>

#include "apps/answering.h"
#include "apps/cancel.h"
#include "apps/text_source.h"
#include "engine/session.h"

namespace sluice::apps {
namespace {

struct RunOptions {
  AnswerOptions answer;
  std::string prompt;
  std::string file;
  CLI::Option* prompt_given = nullptr;
};

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
                  : TextSource::open(options.file.empty() ? "-" : options.file, "--file",
                                     IllFormed::kWarned);
  if (!text.ok()) return text.status();
  TokenSource source(std::move(*text), tokenizer, {});
  Prompt prompt;
  std::string unsure;
  for (bool more = true; more;) {
    SLUICE_ASSIGN(more, source.next(prompt.tokens));
    if (options.answer.generate.context_shift) {
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
  const bool json = options.answer.common.json;
  const TextSink stream = write_text;
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
  SLUICE_ASSIGN(
      const Generation generation,
      generate(session, prompt->tokens, options.answer.generate, json ? nowhere : stream));
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
  CommonOptions& common = options.answer.common;
  if (!options.file.empty()) {
    common.files.add(options.file, "what --file names");
  } else if (options.prompt_given->count() == 0) {
    common.files.add("-", "standard input");
  }
  SLUICE_ASSIGN(OpenedModel opened, options.answer.open());
  Model& model = *opened.model;
  const auto completed = complete(model, options);
  if (!completed.ok()) return damaged(completed.status(), model);
  const Generation& generation = *completed;
  if (common.json) {
    nlohmann::json json = generation_json(generation);
    add_use(json, model);
    print_json(json);
  }
  warn_if_full(generation, model);
  if (common.stats) print_statistic("prompt: " + speed_of(generation));
  options.answer.finish(model);
  return opened.finish();
}

}  // namespace

Verb add_run(CLI::App& root) {
  auto options = std::make_shared<RunOptions>();
  CLI::App* app = root.add_subcommand("run", "Complete a prompt");
  options->answer.add_to(*app);
  options->prompt_given =
      app->add_option("-p,--prompt", options->prompt, "The prompt (default: standard input)");
  app->add_option("-f,--file", options->file, "Read the prompt from a file")
      ->excludes(options->prompt_given);
  return {app, [options] { return run(*options); }};
}

}  // namespace sluice::apps
