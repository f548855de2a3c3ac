#include "server/http_server.h"

#include <atomic>
#include <boost/asio/as_tuple.hpp>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/detached.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/strand.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <boost/asio/write.hpp>
#include <boost/beast/core/flat_buffer.hpp>
#include <boost/beast/core/tcp_stream.hpp>
#include <boost/beast/http.hpp>
#include <chrono>
#include <condition_variable>
#include <list>
#include <mutex>
#include <optional>
#include <thread>
#include <vector>

namespace sluice::server {
namespace {

namespace asio = boost::asio;
namespace beast = boost::beast;
namespace http = beast::http;
using asio::ip::tcp;

constexpr auto kTuple = asio::as_tuple(asio::use_awaitable);

std::chrono::seconds seconds(unsigned count) { return std::chrono::seconds(count); }

/// One client. All of it runs on its strand.
class Connection final : public HttpExchange, public std::enable_shared_from_this<Connection> {
 public:
  Connection(tcp::socket socket, const HttpOptions& options, const HttpHandler& handler,
             const std::atomic<bool>& draining)
      : stream_(std::move(socket)), options_(options), handler_(handler), draining_(draining) {}

  asio::awaitable<void> run() {
    while (co_await read()) {
      answered_ = keeps_ = false;
      co_await handler_(*this);
      leave_ = nullptr;
      if (watching_) stream_.socket().cancel();
      if (!keeps_) break;
    }
    beast::error_code ignored;
    stream_.socket().shutdown(tcp::socket::shutdown_send, ignored);
    co_await drop_rest();
    stream_.close();
  }

  /// Between two requests: nothing is lost.
  void close_if_idle() {
    if (idle_) stream_.socket().cancel();
  }
  void close() {
    if (leave_) std::exchange(leave_, nullptr)();
    stream_.close();
  }

  const HttpRequest& request() const override { return request_; }
  asio::any_io_executor strand() const override {
    return const_cast<beast::tcp_stream&>(stream_).get_executor();
  }
  void on_leave(std::function<void()> leave) override {
    leave_ = std::move(leave);
    if (!watching_) {
      watching_ = true;
      asio::co_spawn(stream_.get_executor(), watch(shared_from_this()), asio::detached);
    }
  }

  asio::awaitable<void> reply(HttpReply reply) override {
    if (answered_) co_return;
    answered_ = true;
    http::response<http::string_body> response(static_cast<http::status>(reply.status), version_);
    decorate(response, reply.type);
    for (const auto& [name, value] : reply.headers) response.set(name, value);
    response.body() = request_.method == "HEAD" ? std::string() : std::move(reply.body);
    response.prepare_payload();
    stream_.expires_after(seconds(options_.write_seconds));
    const auto [error, bytes] = co_await http::async_write(stream_, response, kTuple);
    keeps_ = !error && response.keep_alive();
  }

  asio::awaitable<bool> begin_events(HttpHeaders headers) override {
    if (answered_) co_return false;
    answered_ = true;
    http::response<http::empty_body> response(http::status::ok, version_);
    decorate(response, "text/event-stream");
    response.set(http::field::cache_control, "no-cache");
    for (const auto& [name, value] : headers) response.set(name, value);
    chunked_ = version_ >= 11;
    if (chunked_) {
      response.chunked(true);
    } else {
      response.keep_alive(false);
      wanted_alive_ = false;
    }
    http::response_serializer<http::empty_body> serializer(response);
    stream_.expires_after(seconds(options_.write_seconds));
    const auto [error, bytes] = co_await http::async_write_header(stream_, serializer, kTuple);
    co_return !error;
  }

  asio::awaitable<bool> event(std::string data) override {
    const std::string text = "data: " + data + "\n\n";
    stream_.expires_after(seconds(options_.write_seconds));
    if (chunked_) {
      const auto [error, bytes] =
          co_await asio::async_write(stream_, http::make_chunk(asio::buffer(text)), kTuple);
      co_return !error;
    }
    const auto [error, bytes] = co_await asio::async_write(stream_, asio::buffer(text), kTuple);
    co_return !error;
  }

  asio::awaitable<void> end_events() override {
    if (!chunked_) co_return;
    stream_.expires_after(seconds(options_.write_seconds));
    const auto [error, bytes] =
        co_await asio::async_write(stream_, http::make_chunk_last(), kTuple);
    keeps_ = !error && wanted_alive_ && !draining_;
  }

 private:
  /// The next request; false: there is none.
  asio::awaitable<bool> read() {
    http::request_parser<http::string_body> parser;
    parser.header_limit(static_cast<std::uint32_t>(options_.header_bytes));
    parser.body_limit(options_.body_bytes);
    if (buffer_.size() == 0) {
      idle_ = true;
      stream_.expires_after(seconds(options_.idle_seconds));
      const auto [error, bytes] =
          co_await stream_.async_read_some(buffer_.prepare(std::size_t{16} << 10), kTuple);
      idle_ = false;
      if (error) co_return false;
      buffer_.commit(bytes);
    }
    stream_.expires_after(seconds(options_.request_seconds));
    beast::error_code error;
    std::size_t bytes = 0;
    std::tie(error, bytes) = co_await http::async_read_header(stream_, buffer_, parser, kTuple);
    if (!error && parser.get()[http::field::expect] == "100-continue") {
      const std::string_view go_on = "HTTP/1.1 100 Continue\r\n\r\n";
      std::tie(error, bytes) = co_await asio::async_write(stream_, asio::buffer(go_on), kTuple);
    }
    if (!error)
      std::tie(error, bytes) = co_await http::async_read(stream_, buffer_, parser, kTuple);
    if (error) {
      co_await refuse(error);
      co_return false;
    }
    auto& message = parser.get();
    wanted_alive_ = message.keep_alive();
    version_ = message.version();
    request_.method = std::string(message.method_string());
    const std::string_view target = message.target();
    request_.path = std::string(target.substr(0, target.find_first_of("?#")));
    request_.body = std::move(message.body());
    request_.authorization = std::string(message[http::field::authorization]);
    request_.origin = std::string(message[http::field::origin]);
    co_return true;
  }

  /// What can be told of a request that is none.
  asio::awaitable<void> refuse(const beast::error_code& error) {
    HttpReply answer{.status = 400, .body = {}};
    std::string why = error.message();
    if (error == http::error::body_limit) {
      answer.status = 413;
      why = "the body is larger than " + std::to_string(options_.body_bytes) + " bytes";
    } else if (error == http::error::header_limit) {
      answer.status = 431;
      why = "the headers are larger than " + std::to_string(options_.header_bytes) + " bytes";
    } else if (error == beast::error::timeout) {
      co_return;  // the stream is closed already
    } else if (error.category() != http::make_error_code(http::error::bad_method).category() ||
               error == http::error::end_of_stream || error == http::error::partial_message) {
      co_return;  // nobody is there
    }
    answer.body = R"({"error":{"message":"the request is no HTTP: )" + why +
                  R"(","type":"invalid_request_error","param":null,"code":null}})";
    answered_ = false;
    wanted_alive_ = false;
    version_ = 11;
    co_await reply(std::move(answer));
    keeps_ = false;
  }

  /// What a client still sends that was refused: it would miss the answer if it were cut off.
  asio::awaitable<void> drop_rest() {
    constexpr std::size_t kMost = std::size_t{64} << 20;
    stream_.expires_after(seconds(2));
    for (std::size_t dropped = 0; dropped < kMost;) {
      buffer_.clear();
      const auto [error, bytes] =
          co_await stream_.async_read_some(buffer_.prepare(std::size_t{16} << 10), kTuple);
      if (error) co_return;
      dropped += bytes;
    }
  }

  /// Sees a client leave while it is being answered; what it sends meanwhile is its next request.
  static asio::awaitable<void> watch(std::shared_ptr<Connection> self) {
    tcp::socket& socket = self->stream_.socket();
    const auto [error] = co_await socket.async_wait(tcp::socket::wait_read, kTuple);
    self->watching_ = false;
    if (error) co_return;
    char byte = 0;
    beast::error_code peeked;
    socket.non_blocking(true, peeked);
    const std::size_t bytes =
        socket.receive(asio::buffer(&byte, 1), tcp::socket::message_peek, peeked);
    if (bytes > 0 || peeked == asio::error::would_block) co_return;
    if (self->leave_) std::exchange(self->leave_, nullptr)();
  }

  template <typename Response>
  void decorate(Response& response, const std::string& type) {
    response.set(http::field::server, "sluice");
    response.set(http::field::content_type, type);
    response.keep_alive(wanted_alive_ && !draining_);
  }

  beast::tcp_stream stream_;
  const HttpOptions& options_;
  const HttpHandler& handler_;
  const std::atomic<bool>& draining_;
  beast::flat_buffer buffer_;
  HttpRequest request_;
  unsigned version_ = 11;
  bool wanted_alive_ = false, keeps_ = false, answered_ = false, chunked_ = true, idle_ = false;
  bool watching_ = false;
  std::function<void()> leave_;
};

class BeastServer final : public HttpServer {
 public:
  BeastServer(const HttpOptions& options, HttpHandler handler)
      : options_(options), handler_(std::move(handler)), acceptor_(context_) {}

  Status listen() {
    beast::error_code error;
    const auto address = asio::ip::make_address(options_.host, error);
    if (!error) {
      const tcp::endpoint endpoint(address, options_.port);
      acceptor_.open(endpoint.protocol(), error);
      if (!error) acceptor_.set_option(tcp::acceptor::reuse_address(true), error);
      if (!error) acceptor_.bind(endpoint, error);
      if (!error) acceptor_.listen(asio::socket_base::max_listen_connections, error);
    }
    if (error) {
      return Status(ErrorCode::kIo, options_.host + ":" + std::to_string(options_.port) +
                                        " cannot be listened at: " + error.message());
    }
    asio::co_spawn(context_, accept(), asio::detached);
    for (unsigned i = 0; i < std::max(1u, options_.threads); ++i) {
      threads_.emplace_back([this] { context_.run(); });
    }
    return {};
  }

  ~BeastServer() override {
    drain(0);
    for_each([](Connection& connection) { connection.close(); });
    drain(5);
    context_.stop();
    for (std::thread& thread : threads_) thread.join();
  }

  std::uint16_t port() const override { return acceptor_.local_endpoint().port(); }
  std::size_t connections() const override {
    const std::lock_guard lock(mutex_);
    return open_.size();
  }

  bool drain(double most) override {
    draining_ = true;
    asio::post(context_, [this] {
      beast::error_code ignored;
      acceptor_.close(ignored);
    });
    for_each([](Connection& connection) { connection.close_if_idle(); });
    std::unique_lock lock(mutex_);
    return closed_.wait_for(lock, std::chrono::duration<double>(most),
                            [&] { return open_.empty(); });
  }

 private:
  using Open = std::list<std::shared_ptr<Connection>>;

  asio::awaitable<void> accept() {
    while (!draining_) {
      auto [error, socket] = co_await acceptor_.async_accept(asio::make_strand(context_), kTuple);
      if (error == asio::error::operation_aborted || !acceptor_.is_open()) co_return;
      if (error) {  // out of descriptors, perhaps: some will be free again
        asio::steady_timer pause(context_, std::chrono::milliseconds(50));
        co_await pause.async_wait(kTuple);
        continue;
      }
      beast::error_code ignored;
      socket.set_option(tcp::no_delay(true), ignored);
      if (connections() >= options_.connections) continue;  // which closes it
      serve(std::make_shared<Connection>(std::move(socket), options_, handler_, draining_));
    }
  }

  void serve(std::shared_ptr<Connection> connection) {
    const auto place = [&] {
      const std::lock_guard lock(mutex_);
      return open_.insert(open_.end(), connection);
    }();
    asio::co_spawn(connection->strand(), connection->run(), [this, connection, place](auto) {
      const std::lock_guard lock(mutex_);
      open_.erase(place);
      closed_.notify_all();
    });
  }

  template <typename Visit>
  void for_each(Visit visit) {
    const std::lock_guard lock(mutex_);
    for (const auto& connection : open_) {
      asio::post(connection->strand(), [connection, visit] { visit(*connection); });
    }
  }

  const HttpOptions options_;
  const HttpHandler handler_;
  asio::io_context context_;
  tcp::acceptor acceptor_;
  std::atomic<bool> draining_ = false;
  mutable std::mutex mutex_;  // guards open_
  std::condition_variable closed_;
  Open open_;
  std::vector<std::thread> threads_;
};

}  // namespace

Result<std::unique_ptr<HttpServer>> HttpServer::start(const HttpOptions& options,
                                                      HttpHandler handler) {
  auto server = std::make_unique<BeastServer>(options, std::move(handler));
  SLUICE_TRY(server->listen());
  return Result<std::unique_ptr<HttpServer>>(std::move(server));
}

}  // namespace sluice::server
