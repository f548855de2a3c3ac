#pragma once
// HTTP/1.1 over TCP: bounded, timed, and rid of clients that leave.

#include <cstdint>
#include <memory>
#include <string>

#include "base/status.h"
#include "server/http.h"

namespace sluice::server {

struct HttpOptions {
  std::string host = "127.0.0.1";
  std::uint16_t port = 8080;  // 0: any that is free
  unsigned threads = 2;
  std::size_t connections = 1024;                 // at one time; more are turned away
  std::size_t body_bytes = std::size_t{8} << 20;  // of a request
  std::size_t header_bytes = std::size_t{32} << 10;
  unsigned request_seconds = 30;  // to send a request, once it has begun
  unsigned idle_seconds = 75;     // without one
  unsigned write_seconds = 60;    // until a client takes what it is sent
};

/// Thread-safe.
class HttpServer {
 public:
  /// Listens. kIo names the address and the system's reason.
  static Result<std::unique_ptr<HttpServer>> start(const HttpOptions& options, HttpHandler handler);
  /// Closes all connections.
  virtual ~HttpServer() = default;

  virtual std::uint16_t port() const = 0;
  /// Connections that are open.
  virtual std::size_t connections() const = 0;
  /// No new connections; those that are open end with their answer. Waits for at most so long, and
  /// says whether all have ended.
  virtual bool drain(double seconds) = 0;
};

}  // namespace sluice::server
