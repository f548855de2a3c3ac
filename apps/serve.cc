// sluice serve: an OpenAI-compatible server.

#include <fmt/format.h>
#include <spdlog/spdlog.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <algorithm>
#include <filesystem>
#include <utility>

#include "apps/cancel.h"
#include "apps/chat_template_file.h"
#include "apps/options.h"
#include "apps/text_source.h"
#include "server/api.h"
#include "server/http_server.h"
#include "server/metrics.h"

namespace sluice::apps {
namespace {

constexpr std::size_t kLargestKeyFile = std::size_t{1} << 20;

struct ServeOptions {
  CommonOptions common;
  server::HttpOptions http;
  BatcherOptions batch;
  std::string key_file, origin, template_file, name;
  unsigned drain_seconds = 30;
};

/// A key a line; empty lines and those that begin with # are none.
Result<std::vector<std::string>> read_keys(const std::string& path) {
  std::vector<std::string> keys;
  if (path.empty()) return keys;
  SLUICE_ASSIGN(TextSource file, TextSource::open(path, "--api-keys"));
  SLUICE_ASSIGN(const std::string text, file.rest(kLargestKeyFile));
  for (std::size_t begin = 0; begin < text.size();) {
    const std::size_t end = std::min(text.find('\n', begin), text.size());
    std::string line = text.substr(begin, end - begin);
    while (!line.empty() && (line.back() == '\r' || line.back() == ' ')) line.pop_back();
    if (!line.empty() && line.front() != '#') keys.push_back(std::move(line));
    begin = end + 1;
  }
  if (!keys.empty()) return keys;
  return Status(ErrorCode::kInvalidArgument,
                path + ": there is no key in it: write one a line, or leave --api-keys out");
}

std::string model_name(const ServeOptions& options) {
  if (!options.name.empty()) return options.name;
  std::filesystem::path path = options.common.model;
  if (!path.has_filename()) path = path.parent_path();
  return path.stem().string();
}

/// Until a signal asks for the end.
void wait_for_signal() {
  const int never = eventfd(0, EFD_CLOEXEC);
  (void)wait_readable(never);
  ::close(never);
}

Status serve(ServeOptions& options) {
  CommonOptions& common = options.common;
  common.files.add(options.key_file, "what --api-keys names");
  common.files.add(options.template_file, "what --template names");
  server::ApiOptions api_options{.model_name = model_name(options),
                                 .allowed_origin = options.origin};
  SLUICE_ASSIGN(api_options.keys, read_keys(options.key_file));
  common.seats = static_cast<std::uint32_t>(options.batch.sessions);
  const OutlineCheck check = [&](const ModelOutline& outline) -> Status {
    if (outline.tokenizer == nullptr) {
      return Status(ErrorCode::kUnsupported, common.model + ": " + outline.no_tokenizer);
    }
    auto format = chat_format(common.model, options.template_file, outline.tokenizer->data(),
                              template_limits(common.context));
    if (format.ok()) {
      api_options.chat = std::move(*format);
      return {};
    }
    if (!options.template_file.empty()) return format.status();
    api_options.no_chat = format.status().message();
    spdlog::warn("{}: chats are refused", api_options.no_chat);
    return {};
  };
  SLUICE_ASSIGN(OpenedModel opened, open_model(common, check));
  Batcher batcher(*opened.model, options.batch);
  server::Metrics metrics;
  server::HttpServer* listening = nullptr;
  api_options.metrics = [&] {
    return metrics.text(batcher, listening == nullptr ? 0 : listening->connections());
  };
  api_options.ended = [&](const Outcome& outcome) { metrics.observe(outcome); };
  server::Api api(batcher, std::move(api_options));
  auto http = server::HttpServer::start(
      options.http, [&](server::HttpExchange& exchange) { return api.handle(exchange); });
  if (!http.ok()) return http.status().with_context("--host, --port");
  listening = http->get();
  spdlog::info("http://{}:{}/v1 serves {}; {} requests at a time", options.http.host,
               listening->port(), model_name(options), options.batch.sessions);
  wait_for_signal();
  api.set_draining();
  spdlog::info("no more requests are taken; those that are being answered have {} s",
               options.drain_seconds);
  const bool all = listening->drain(options.drain_seconds);
  if (!all) spdlog::warn("{} connections are cut off", listening->connections());
  http->reset();
  SLUICE_TRY(opened.finish());
  forget_request();
  return {};
}

}  // namespace

Verb add_serve(CLI::App& root) {
  auto options = std::make_shared<ServeOptions>();
  CLI::App* app = root.add_subcommand(
      "serve", "Serve OpenAI's HTTP interface: /v1/chat/completions, /v1/completions …");
  options->batch.sessions = 4;
  options->common.sequences = 4;
  options->common.add_to(*app, /*runs_the_model=*/true);
  app->add_option("--host", options->http.host,
                  "Address to listen at; 0.0.0.0 is everybody's (default: this machine's alone)")
      ->capture_default_str();
  app->add_option("--port", options->http.port, "Port; 0: any that is free")->capture_default_str();
  app->add_option("--parallel", options->batch.sessions, "Requests that are computed at one time")
      ->check(CLI::Range(1, 4096))
      ->capture_default_str();
  app->add_option("--contexts", options->common.sequences,
                  "Whole contexts that the KV cache holds; requests share them by what each may "
                  "come to")
      ->check(CLI::Range(1, 4096))
      ->capture_default_str();
  app->add_option("--queue", options->batch.queue, "Requests that may wait; more are refused")
      ->check(CLI::Range(1, 1 << 20))
      ->capture_default_str();
  app->add_option("--prompt-rows", options->batch.prompt_rows,
                  "Tokens of prompts that are read in a step beside texts that are being written")
      ->check(CLI::Range(1, 1 << 16))
      ->capture_default_str();
  app->add_option("--api-keys", options->key_file,
                  "File with keys, one a line, one of which every request must bring");
  app->add_option("--cors", options->origin,
                  "Origin of web pages whose scripts may call, or * (default: none may)");
  app->add_option("--template", options->template_file,
                  "The chat template, Jinja (default: the model's)");
  app->add_option("--name", options->name, "The model's name in answers (default: its file's)");
  app->add_option("--max-body", options->http.body_bytes, "Bytes of a request, at most")
      ->capture_default_str();
  app->add_option("--drain", options->drain_seconds,
                  "Seconds that answers may take after SIGTERM or Ctrl-C")
      ->capture_default_str();
  return {app, [options] { return serve(*options); }};
}

}  // namespace sluice::apps
