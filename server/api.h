#pragma once
// The endpoints: what each HTTP request makes of the batcher, and what becomes of its answer.

#include <atomic>
#include <boost/asio/awaitable.hpp>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "server/http.h"
#include "server/openai_reply.h"
#include "server/openai_request.h"
#include "serving/batcher.h"
#include "text/chat_format.h"

namespace sluice::server {

struct ApiOptions {
  std::string model_name;              // in answers and in /v1/models
  std::vector<std::string> keys = {};  // one of which requests must bring; empty: none is needed
  std::string allowed_origin = {};     // of pages whose scripts may call, "*": of any; empty: none
  std::optional<ChatFormat> chat = std::nullopt;   // none: /v1/chat/completions is refused …
  std::string no_chat = {};                        // … for this reason
  std::function<std::string()> metrics = {};       // Prometheus' text
  std::function<void(const Outcome&)> ended = {};  // told of every answer; on any thread
};

/// Thread-safe.
class Api {
 public:
  /// Borrows the batcher and its model. REQUIRES: the model has a tokenizer.
  Api(Batcher& batcher, ApiOptions options);

  boost::asio::awaitable<void> handle(HttpExchange& exchange);
  /// From now on /ready says no.
  void set_draining() { draining_ = true; }

 private:
  struct Job;
  boost::asio::awaitable<void> dispatch(HttpExchange& exchange);
  boost::asio::awaitable<void> complete(HttpExchange& exchange);
  boost::asio::awaitable<void> chat(HttpExchange& exchange);
  boost::asio::awaitable<void> run(HttpExchange& exchange, Job& job);
  boost::asio::awaitable<void> collect(HttpExchange& exchange, Job& job);
  boost::asio::awaitable<void> stream(HttpExchange& exchange, Job& job);
  std::optional<ApiError> submit(Job& job);
  HttpReply tokenize(const HttpRequest& request) const;
  HttpReply detokenize(const HttpRequest& request) const;
  HttpReply models() const;
  bool authorised(const HttpRequest& request) const;
  HttpReply refusal(const ApiError& error) const;
  boost::asio::awaitable<void> send(HttpExchange& exchange, HttpReply reply) const;
  HttpHeaders headers(const HttpRequest& request) const;
  const Tokenizer& tokenizer() const { return *batcher_.model().tokenizer(); }
  std::string next_id(const char* prefix);

  Batcher& batcher_;
  const ApiOptions options_;
  const std::int64_t started_;
  std::atomic<std::uint64_t> last_id_ = 0;
  std::atomic<bool> draining_ = false;
};

}  // namespace sluice::server
