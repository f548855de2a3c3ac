#pragma once
// An HTTP request and the ways to answer it, without the wire's details.

#include <boost/asio/any_io_executor.hpp>
#include <boost/asio/awaitable.hpp>
#include <functional>
#include <string>
#include <utility>
#include <vector>

namespace sluice::server {

struct HttpRequest {
  std::string method;  // "GET" …
  std::string path;    // without the query
  std::string body;
  std::string authorization;
  std::string origin;
};

using HttpHeaders = std::vector<std::pair<std::string, std::string>>;

struct HttpReply {
  int status = 200;
  std::string type = "application/json";
  std::string body = {};
  HttpHeaders headers = {};
};

/// One request's way back. Exactly one of `reply` and `begin_events` is called, once.
class HttpExchange {
 public:
  virtual ~HttpExchange() = default;
  virtual const HttpRequest& request() const = 0;
  /// Where all of this runs.
  virtual boost::asio::any_io_executor strand() const = 0;
  virtual boost::asio::awaitable<void> reply(HttpReply reply) = 0;
  /// Server-sent events follow. False, here and below: the client is gone.
  virtual boost::asio::awaitable<bool> begin_events(HttpHeaders headers) = 0;
  /// An event's data, on one line.
  virtual boost::asio::awaitable<bool> event(std::string data) = 0;
  virtual boost::asio::awaitable<void> end_events() = 0;
  /// Called, on the strand, when the client leaves before its answer has ended.
  virtual void on_leave(std::function<void()> leave) = 0;
};

using HttpHandler = std::function<boost::asio::awaitable<void>(HttpExchange&)>;

}  // namespace sluice::server
