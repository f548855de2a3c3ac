// sluice tokenize: text to ids and back.

#include <fmt/format.h>

#include "apps/options.h"
#include "apps/report.h"
#include "apps/text_source.h"
#include "text/tokenizer.h"

namespace sluice::apps {
namespace {

struct TokenizeOptions {
  CommonOptions common;
  std::string text;
  std::string file;
  std::string ids;
  bool bos = false;
  bool plain = false;
  CLI::Option* text_given = nullptr;
  CLI::Option* decode_given = nullptr;
};

/// As they come: one a line, or one array.
Status print_ids(TokenSource source, bool json) {
  std::vector<TokenId> ids;
  const char* before = json ? "[" : "";
  for (bool more = true; more;) {
    ids.clear();
    SLUICE_ASSIGN(more, source.next(ids));
    for (const TokenId id : ids) {
      fmt::print("{}{}", before, id);
      before = json ? "," : "\n";
    }
  }
  fmt::print("{}\n", !json ? "" : *before == '[' ? "[]" : "]");
  return {};
}

Status tokenize(const TokenizeOptions& options) {
  SLUICE_ASSIGN(Checkpoint checkpoint,
                open_checkpoint(options.common.model, CheckpointParts::kTokenizerOnly));
  const auto created = Tokenizer::create(std::move(checkpoint.tokenizer));
  if (!created.ok()) return created.status().with_context(options.common.model);
  const std::unique_ptr<Tokenizer>& tokenizer = *created;
  if (options.decode_given->count() != 0) {
    SLUICE_ASSIGN(const std::vector<TokenId> ids, parse_ids(options.ids));
    for (const TokenId id : ids) {
      if (static_cast<std::size_t>(id) >= tokenizer->size()) {
        return Status(
            ErrorCode::kInvalidArgument,
            fmt::format("token {} is outside the vocabulary of {}", id, tokenizer->size()));
      }
    }
    const std::string text = tokenizer->decode(ids, true);
    if (options.common.json) {
      print_json({{"text", text}});
    } else {
      fmt::print("{}\n", text);
    }
    return {};
  }
  auto text = options.text_given->count() != 0
                  ? Result<TextSource>(TextSource::of(options.text))
                  : TextSource::open(options.file.empty() ? "-" : options.file, "--file");
  if (!text.ok()) return text.status();
  return print_ids(
      {std::move(*text), *tokenizer, {.add_special = options.bos, .parse_special = !options.plain}},
      options.common.json);
}

}  // namespace

Verb add_tokenize(CLI::App& root) {
  auto options = std::make_shared<TokenizeOptions>();
  CLI::App* app = root.add_subcommand("tokenize", "Text to token ids, and back");
  options->common.add_to(*app, false);
  options->text_given =
      app->add_option("--text", options->text, "The text (default: standard input)");
  app->add_option("--file", options->file, "Read the text from a file")
      ->excludes(options->text_given);
  options->decode_given =
      app->add_option("--decode", options->ids, "Token ids such as 1,2,3, to text");
  app->add_flag("--bos", options->bos, "Add what the model adds at the ends");
  app->add_flag("--plain", options->plain, "Special tokens written in the text are text");
  return {app, [options] { return tokenize(*options); }};
}

}  // namespace sluice::apps
