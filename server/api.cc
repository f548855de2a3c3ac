#include "server/api.h"

#include <fmt/format.h>

#include <algorithm>
#include <ctime>
#include <exception>
#include <limits>
#include <utility>

#include "engine/chat_answer.h"
#include "server/answer_queue.h"
#include "server/fields.h"
#include "text/answer_splitter.h"
#include "text/chat_json.h"
#include "text/local_time.h"

namespace sluice::server {
namespace {

namespace asio = boost::asio;

/// Bytes that are no characters become U+FFFD.
std::string text_of(const Json& json) {
  return json.dump(-1, ' ', false, Json::error_handler_t::replace);
}

/// Takes as long for a key that is nearly right as for any other.
bool same_secret(std::string_view a, std::string_view b) {
  unsigned char differs = a.size() == b.size() ? 0 : 1;
  for (std::size_t i = 0; i < a.size(); ++i) {
    differs |= static_cast<unsigned char>(a[i] ^ b[b.empty() ? 0 : i % b.size()]);
  }
  return differs == 0;
}

ApiError not_found(const HttpRequest& request) {
  ApiError error;
  error.http = 404;
  error.message = "there is no " + request.method + " " + request.path;
  return error;
}

}  // namespace

/// The answers to one HTTP request: to each prompt as many as were asked for.
struct Api::Job {
  ReplyHead head;
  CommonRequest common;
  std::vector<std::vector<TokenId>> prompts;
  bool prompt_logprobs = false;
  std::shared_ptr<AnswerQueue> queue = {};
  std::vector<Batcher::Ticket> tickets = {};
  std::vector<ReplyChoice> choices = {};
  std::vector<bool> begun = {};
  std::vector<std::unique_ptr<AnswerSplitter>> splitters = {};  // of chats
  std::size_t running = 0;
  ReplyUsage usage = {};
  std::optional<ApiError> failed = std::nullopt;

  /// What an event adds to its answer.
  ReplyChoice take(const AnswerEvent& event);
  std::function<void(const Outcome&)> on_end = {};
};

ReplyChoice Api::Job::take(const AnswerEvent& event) {
  ReplyChoice part;
  part.with_logprobs = common.logprobs.has_value();
  if (part.with_logprobs && !event.ended) part.logprobs.push_back(event.logprobs);
  if (splitters.empty()) {
    part.text = event.text;
  } else {
    ReplyChoice& whole = choices[event.answer];
    const std::size_t text = whole.text.size(), reasoning = whole.reasoning.size();
    splitters[event.answer]->push(event.text);
    if (event.ended) splitters[event.answer]->finish();
    part.text = whole.text.substr(text);
    part.reasoning = whole.reasoning.substr(reasoning);
  }
  if (!event.ended) return part;
  if (on_end) on_end(event.outcome);
  running -= 1;
  usage.prompt += event.answer % common.n == 0 ? event.outcome.prompt_tokens : 0;
  usage.reused += event.answer % common.n == 0 ? event.outcome.reused_tokens : 0;
  usage.answers += event.outcome.tokens;
  if (event.outcome.status.ok()) {
    part.finish = finish_reason(event.outcome.reason);
  } else {
    failed = ApiError::from(event.outcome.status);
  }
  return part;
}

Api::Api(Batcher& batcher, ApiOptions options)
    : batcher_(batcher), options_(std::move(options)), started_(std::time(nullptr)) {}

std::string Api::next_id(const char* prefix) {
  return fmt::format("{}-{:x}-{:x}", prefix, started_, ++last_id_);
}

HttpReply Api::refusal(const ApiError& error) const {
  HttpReply reply{.status = error.http, .body = text_of(error.json())};
  if (error.http == 429 || error.http == 503) reply.headers.emplace_back("Retry-After", "1");
  return reply;
}

HttpHeaders Api::headers(const HttpRequest& request) const {
  const bool allowed =
      !options_.allowed_origin.empty() && !request.origin.empty() &&
      (options_.allowed_origin == "*" || options_.allowed_origin == request.origin);
  if (!allowed) return {};
  return {{"Access-Control-Allow-Origin", options_.allowed_origin}, {"Vary", "Origin"}};
}

bool Api::authorised(const HttpRequest& request) const {
  if (options_.keys.empty()) return true;
  constexpr std::string_view kBearer = "Bearer ";
  if (!request.authorization.starts_with(kBearer)) return false;
  const std::string_view given = std::string_view(request.authorization).substr(kBearer.size());
  bool known = false;
  for (const std::string& key : options_.keys) known |= same_secret(given, key);
  return known;
}

asio::awaitable<void> Api::handle(HttpExchange& exchange) {
  std::string why;
  try {
    co_await dispatch(exchange);
    co_return;
  } catch (const std::exception& error) {
    why = error.what();
  }
  co_await send(exchange, refusal(ApiError::from(Status(ErrorCode::kInternal, why))));
}

asio::awaitable<void> Api::dispatch(HttpExchange& exchange) {
  const HttpRequest& request = exchange.request();
  const bool get = request.method == "GET" || request.method == "HEAD";
  const bool post = request.method == "POST";
  HttpReply reply;
  if (request.method == "OPTIONS" && !headers(request).empty()) {
    reply.status = 204;
    reply.headers = {{"Access-Control-Allow-Methods", "GET, POST, OPTIONS"},
                     {"Access-Control-Allow-Headers", "Authorization, Content-Type"}};
  } else if (get && request.path == "/health") {
    reply.body = R"({"status":"ok"})";
  } else if (get && request.path == "/ready") {
    reply.status = draining_ ? 503 : 200;
    reply.body = draining_ ? R"({"status":"draining"})" : R"({"status":"ready"})";
  } else if (!authorised(request)) {
    ApiError error;
    error.http = 401;
    error.type = "authentication_error";
    error.code = "invalid_api_key";
    error.message = "no key of this server's: send one as 'Authorization: Bearer KEY'";
    reply = refusal(error);
  } else if (get && request.path == "/metrics" && options_.metrics) {
    reply.type = "text/plain; version=0.0.4";
    reply.body = options_.metrics();
  } else if (get && request.path == "/v1/models") {
    reply = models();
  } else if (post && request.path == "/v1/completions") {
    co_return co_await complete(exchange);
  } else if (post && request.path == "/v1/chat/completions") {
    co_return co_await chat(exchange);
  } else if (post && request.path == "/tokenize") {
    reply = tokenize(request);
  } else if (post && request.path == "/detokenize") {
    reply = detokenize(request);
  } else {
    reply = refusal(not_found(request));
  }
  co_await send(exchange, std::move(reply));
}

/// Scripts of pages that are allowed to call may read refusals, too.
asio::awaitable<void> Api::send(HttpExchange& exchange, HttpReply reply) const {
  for (auto& header : headers(exchange.request())) reply.headers.push_back(std::move(header));
  co_await exchange.reply(std::move(reply));
}

HttpReply Api::models() const {
  const Json model = {{"id", options_.model_name},
                      {"object", "model"},
                      {"created", started_},
                      {"owned_by", "sluice"},
                      {"max_model_len", batcher_.model().plan().context}};
  return {.body = text_of({{"object", "list"}, {"data", Json::array({model})}})};
}

HttpReply Api::tokenize(const HttpRequest& request) const {
  const auto body = parse_chat_json(request.body);
  ApiError wrong;
  if (!body.ok() || !body->is_object()) {
    wrong.message =
        body.ok() ? "the body is no JSON object" : "the body " + body.status().message();
    return refusal(wrong);
  }
  Fields fields(*body);
  if (fields.find("content") == nullptr && fields.find("prompt") == nullptr) {
    fields.fail("content", "'content' is missing");
  }
  const std::string text = fields.text("content", fields.text("prompt", ""));
  const bool special = fields.boolean("add_special", fields.boolean("add_special_tokens", false));
  if (fields.error()) return refusal(*fields.error());
  const std::vector<TokenId> ids =
      tokenizer().encode(text, {.add_special = special, .parse_special = true});
  return {.body = text_of({{"tokens", ids}, {"count", ids.size()}})};
}

HttpReply Api::detokenize(const HttpRequest& request) const {
  const auto body = parse_chat_json(request.body);
  ApiError wrong;
  wrong.field = "tokens";
  wrong.message = "'tokens' is no list of token ids";
  if (!body.ok() || !body->is_object() || !body->contains("tokens") ||
      !(*body)["tokens"].is_array()) {
    return refusal(wrong);
  }
  std::vector<TokenId> ids;
  for (const Json& id : (*body)["tokens"]) {
    if (!id.is_number_integer() || id < 0 || id > INT32_MAX) return refusal(wrong);
    ids.push_back(id.get<TokenId>());
  }
  const std::string text = tokenizer().decode(ids);
  return {.body = text_of({{"content", text}, {"prompt", text}})};
}

asio::awaitable<void> Api::complete(HttpExchange& exchange) {
  auto parsed = parse_completion(exchange.request().body);
  if (const ApiError* const error = std::get_if<ApiError>(&parsed)) {
    co_return co_await send(exchange, refusal(*error));
  }
  CompletionRequest& request = std::get<CompletionRequest>(parsed);
  Job job{.head = {next_id("cmpl"), options_.model_name, std::time(nullptr), false},
          .common = request,
          .prompts = {}};
  std::vector<std::string> echoes;
  for (const auto& prompt : request.prompts) {
    const auto* const text = std::get_if<std::string>(&prompt);
    job.prompts.push_back(text != nullptr ? tokenizer().encode(*text)
                                          : std::get<std::vector<TokenId>>(prompt));
    if (!request.echo) continue;
    echoes.push_back(text != nullptr ? *text : tokenizer().decode(job.prompts.back()));
  }
  job.prompt_logprobs = request.echo && request.logprobs;
  job.choices.resize(job.prompts.size() * request.n);
  for (std::size_t i = 0; i < job.choices.size() && request.echo; ++i) {
    job.choices[i].text = echoes[i / request.n];
    if (!request.logprobs || job.prompts[i / request.n].empty()) continue;
    const TokenId first = job.prompts[i / request.n].front();
    job.choices[i].logprobs.push_back({{first, std::numeric_limits<double>::quiet_NaN()}, {}});
  }
  co_await run(exchange, job);
}

asio::awaitable<void> Api::chat(HttpExchange& exchange) {
  ApiError error;
  if (!options_.chat) {
    error.message = options_.no_chat;
    co_return co_await send(exchange, refusal(error));
  }
  auto parsed = parse_chat(exchange.request().body);
  if (const ApiError* const wrong = std::get_if<ApiError>(&parsed)) {
    co_return co_await send(exchange, refusal(*wrong));
  }
  ChatRequestBody& request = std::get<ChatRequestBody>(parsed);
  const std::tm now = local_time();
  const auto prompt = options_.chat->render(std::move(request.variables), now);
  if (!prompt.ok()) {
    error.field = "messages";
    error.message = prompt.status().message();
    co_return co_await send(exchange, refusal(error));
  }
  make_answer(*options_.chat, tokenizer(), now, request.generate);
  Job job{.head = {next_id("chatcmpl"), options_.model_name, std::time(nullptr), true},
          .common = request,
          .prompts = {encode_chat(tokenizer(), *prompt)}};
  job.choices.resize(request.n);
  for (ReplyChoice& choice : job.choices) {
    job.splitters.push_back(std::make_unique<AnswerSplitter>(
        *prompt, [&choice](AnswerPart part, std::string_view text) {
          (part == AnswerPart::kText ? choice.text : choice.reasoning) += text;
        }));
  }
  co_await run(exchange, job);
}

std::optional<ApiError> Api::submit(Job& job) {
  const std::size_t context = batcher_.model().plan().context;
  for (std::size_t i = 0; i < job.choices.size(); ++i) {
    Request request{.prompt = job.prompts[i / job.common.n],
                    .options = job.common.generate,
                    .wants_logits = job.common.logprobs.has_value(),
                    .wants_prompt_logits = job.prompt_logprobs};
    request.options.sampling.seed += i % job.common.n;  // else all would be alike
    const std::size_t room = context - std::min(context, request.prompt.size());
    request.options.max_tokens =
        static_cast<std::uint32_t>(std::min<std::size_t>(request.options.max_tokens, room));
    auto listener = std::make_shared<QueuedAnswer>(
        job.queue, i, job.common.logprobs,
        job.prompt_logprobs ? request.prompt : std::vector<TokenId>());
    const auto ticket = batcher_.submit(std::move(request), std::move(listener));
    if (!ticket.ok()) {
      for (const Batcher::Ticket earlier : job.tickets) batcher_.cancel(earlier);
      job.queue->leave();
      ApiError error = ApiError::from(ticket.status());
      if (error.http == 400) error.field = job.head.chat ? "messages" : "prompt";
      if (error.http == 400 && room == 0) error.code = "context_length_exceeded";
      return error;
    }
    job.tickets.push_back(*ticket);
  }
  job.running = job.choices.size();
  job.begun.assign(job.choices.size(), false);
  return std::nullopt;
}

asio::awaitable<void> Api::run(HttpExchange& exchange, Job& job) {
  job.queue = std::make_shared<AnswerQueue>(exchange.strand());
  job.on_end = options_.ended;
  if (const auto error = submit(job)) co_return co_await send(exchange, refusal(*error));
  exchange.on_leave([this, queue = job.queue, tickets = job.tickets] {
    queue->leave();
    for (const Batcher::Ticket ticket : tickets) batcher_.cancel(ticket);
  });
  if (job.common.stream) {
    co_await stream(exchange, job);
  } else {
    co_await collect(exchange, job);
  }
  // Whoever could not be written to any more is gone, too.
  if (job.running > 0) {
    job.queue->leave();
    for (const Batcher::Ticket ticket : job.tickets) batcher_.cancel(ticket);
  }
}

asio::awaitable<void> Api::collect(HttpExchange& exchange, Job& job) {
  while (job.running > 0) {
    const auto events = co_await job.queue->next();
    if (events.empty()) co_return;
    for (const AnswerEvent& event : events) {
      const ReplyChoice part = job.take(event);
      ReplyChoice& choice = job.choices[event.answer];
      if (job.splitters.empty()) choice.text += part.text;
      choice.with_logprobs = part.with_logprobs;
      choice.logprobs.insert(choice.logprobs.end(), part.logprobs.begin(), part.logprobs.end());
      choice.finish = part.finish;
    }
  }
  HttpReply reply =
      job.failed
          ? refusal(*job.failed)
          : HttpReply{.body = text_of(whole_reply(job.head, job.choices, job.usage, tokenizer()))};
  co_await send(exchange, std::move(reply));
}

asio::awaitable<void> Api::stream(HttpExchange& exchange, Job& job) {
  if (!co_await exchange.begin_events(headers(exchange.request()))) co_return;
  for (std::size_t i = 0; i < job.choices.size() && !job.choices[i].text.empty(); ++i) {  // echoes
    ReplyChoice echo;
    echo.text = job.choices[i].text;
    if (!co_await exchange.event(text_of(chunk_reply(job.head, i, echo, true, tokenizer()))))
      co_return;
  }
  while (job.running > 0) {
    const auto events = co_await job.queue->next();
    if (events.empty()) co_return;
    for (const AnswerEvent& event : events) {
      const ReplyChoice part = job.take(event);
      if (job.failed) {
        co_await exchange.event(text_of(job.failed->json()));
        job.running = std::max<std::size_t>(job.running, 1);  // the others are cancelled
        co_return co_await exchange.end_events();
      }
      const bool first = !job.begun[event.answer];
      const bool empty = part.text.empty() && part.reasoning.empty() && part.logprobs.empty();
      if (empty && part.finish == nullptr && !first) continue;
      job.begun[event.answer] = true;
      const Json chunk = chunk_reply(job.head, event.answer, part, first, tokenizer());
      if (!co_await exchange.event(text_of(chunk))) co_return;
    }
  }
  if (job.common.include_usage) {
    if (!co_await exchange.event(text_of(usage_reply(job.head, job.usage)))) co_return;
  }
  if (!co_await exchange.event("[DONE]")) co_return;
  co_await exchange.end_events();
}

}  // namespace sluice::server
