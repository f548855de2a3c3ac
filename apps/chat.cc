// sluice chat: turn after turn with the model's chat template.

#include <fmt/format.h>

#include <optional>
#include <utility>

#include "apps/answering.h"
#include "apps/cancel.h"
#include "apps/chat_session.h"
#include "apps/chat_template_file.h"
#include "apps/conversation.h"
#include "apps/dialogue.h"
#include "apps/text_source.h"
#include "base/cancellation.h"
#include "text/chat_format.h"
#include "text/chat_json.h"
#include "text/local_time.h"

namespace sluice::apps {
namespace {

struct ChatOptions {
  AnswerOptions answer;
  std::string template_file, render_file, load_file;
  std::string system, variables, prompt, prompt_file;
  CLI::Option* system_given = nullptr;
  CLI::Option* prompt_given = nullptr;
};

/// `file`: what `option` gave, or empty for a new one.
Result<Conversation> begin_conversation(const ChatOptions& options, const std::string& file,
                                        std::string_view option) {
  Conversation conversation;
  if (!file.empty()) {
    SLUICE_ASSIGN(conversation, Conversation::read(file, option));
  }
  if (options.system_given->count() != 0) conversation.set_system(options.system);
  if (!options.variables.empty()) {
    const auto variables = parse_chat_json(options.variables);
    if (!variables.ok()) return variables.status().with_context("--variables");
    conversation.set_variables(*variables);
  }
  return conversation;
}

Status render(const ChatOptions& options) {
  SLUICE_ASSIGN(Checkpoint checkpoint,
                open_checkpoint(options.answer.common.model, CheckpointParts::kTokenizerOnly));
  SLUICE_ASSIGN(
      const ChatFormat format,
      chat_format(options.answer.common.model, options.template_file, checkpoint.tokenizer, {}));
  SLUICE_ASSIGN(const Conversation conversation,
                begin_conversation(options, options.render_file, "--render"));
  SLUICE_ASSIGN(const std::string prompt, format.render(conversation.variables(), local_time()));
  if (!options.answer.common.json) {
    write_text(prompt);
    return {};
  }
  nlohmann::json json{{"prompt", prompt}};
  const auto tokenizer = Tokenizer::create(std::move(checkpoint.tokenizer));
  if (tokenizer.ok()) json["tokens"] = (*tokenizer)->encode(prompt, {.add_special = false});
  print_json(json);
  return {};
}

/// One turn, from an option or a file.
Status answer_once(ChatSession& chat, const ChatOptions& options) {
  std::string text = options.prompt;
  if (!options.prompt_file.empty()) {
    SLUICE_ASSIGN(TextSource file, TextSource::open(options.prompt_file, "--file"));
    SLUICE_ASSIGN(text, file.rest(chat.longest_message()));
  }
  chat.conversation().add_user(text);
  SLUICE_TRY(chat.answer());
  return chat.stopped() ? cancelled() : Status();
}

Status chat(ChatOptions& options) {
  if (!options.render_file.empty()) return render(options);
  CommonOptions& common = options.answer.common;
  const bool once = options.prompt_given->count() != 0 || !options.prompt_file.empty();
  common.files.add(options.load_file, "what --load names");
  common.files.add(options.template_file, "what --template names");
  common.files.add(options.prompt_file, "what --file names");
  if (!once) common.files.add("-", "standard input");
  // What can be wrong in small files is said before a large one is read.
  SLUICE_ASSIGN(Conversation conversation,
                begin_conversation(options, options.load_file, "--load"));
  std::optional<ChatFormat> format;
  const OutlineCheck find_format = [&](const ModelOutline& outline) -> Status {
    SLUICE_ASSIGN(format, chat_format(common.model, options.template_file,
                                      outline.tokenizer->data(), template_limits(common.context)));
    return {};
  };
  SLUICE_ASSIGN(OpenedModel opened, options.answer.open(find_format));
  Model& model = *opened.model;
  ChatSession chat(
      model, std::move(*format), std::move(conversation),
      {.generate = options.answer.generate, .silent = common.json, .stats = common.stats});
  common.files.remove(options.load_file);  // /save may go back to where it came from
  const Status status = once ? answer_once(chat, options) : Dialogue(chat, common.files).run();
  if (!status.ok() && status.code() != ErrorCode::kCancelled) return status;
  if (common.json) print_json(chat.report());
  options.answer.finish(model);
  const Status recorded = opened.finish();
  return status.ok() ? recorded : status;
}

}  // namespace

Verb add_chat(CLI::App& root) {
  auto options = std::make_shared<ChatOptions>();
  CLI::App* app = root.add_subcommand(
      "chat", "Talk with the model, turn after turn; /help there lists the commands");
  options->answer.add_to(*app);
  options->prompt_given = app->add_option("-p,--prompt", options->prompt,
                                          "One turn with this message (default: one a line of "
                                          "standard input)");
  app->add_option("-f,--file", options->prompt_file, "One turn with the message in a file")
      ->excludes(options->prompt_given);
  options->system_given =
      app->add_option("--system", options->system, "What the model is told before all");
  app->add_option("--template", options->template_file,
                  "The chat template, Jinja (default: the model's)");
  app->add_option("--variables", options->variables,
                  "More for the template, such as '{\"enable_thinking\": false}'")
      ->check([](const std::string& text) {
        const auto json = nlohmann::json::parse(text, nullptr, false);
        return json.is_object() ? std::string() : text + " is not a JSON object";
      });
  auto* load =
      app->add_option("--load", options->load_file, "Go on with a conversation that /save wrote");
  app->add_option("--render", options->render_file,
                  "Print the prompt that the messages, tools and variables in this JSON file make, "
                  "and stop; needs no weights")
      ->excludes(load)
      ->excludes(options->prompt_given);
  return {app, [options] { return chat(*options); }};
}

}  // namespace sluice::apps
