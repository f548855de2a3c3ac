#pragma once
// What the batcher tells of an answer, on its way to the connection that waits for it.

#include <boost/asio/any_io_executor.hpp>
#include <boost/asio/awaitable.hpp>
#include <boost/asio/steady_timer.hpp>
#include <deque>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "server/token_logprobs.h"
#include "serving/request.h"

namespace sluice::server {

/// A token, or the end of an answer.
struct AnswerEvent {
  std::size_t answer = 0;  // of the request's
  std::string text;
  TokenLogprobs logprobs = {};  // where they were asked for
  bool ended = false;
  Outcome outcome = {};  // then
};

/// Of all answers to one HTTP request. `push` and `leave` are for any thread, `next` for the
/// connection's strand.
class AnswerQueue : public std::enable_shared_from_this<AnswerQueue> {
 public:
  explicit AnswerQueue(boost::asio::any_io_executor strand)
      : strand_(std::move(strand)), changed_(strand_) {}

  void push(AnswerEvent event);
  /// The client is gone: nobody wants the answers any more.
  void leave();
  bool left() const;
  /// Waits for some; empty once the client has left.
  boost::asio::awaitable<std::vector<AnswerEvent>> next();

 private:
  void wake();

  boost::asio::any_io_executor strand_;
  boost::asio::steady_timer changed_;  // never due: cancelled to wake whoever waits
  mutable std::mutex mutex_;           // guards those below
  std::vector<AnswerEvent> events_;
  bool left_ = false;
};

/// Puts one answer's events into the queue.
class QueuedAnswer final : public RequestListener {
 public:
  /// `logprobs`: of so many likely tokens beside each token's own; none: nobody wants any. Of
  /// `prompt`, too, but of its first.
  QueuedAnswer(std::shared_ptr<AnswerQueue> queue, std::size_t answer,
               std::optional<std::uint32_t> logprobs, std::vector<TokenId> prompt = {})
      : queue_(std::move(queue)), answer_(answer), wanted_(logprobs), prompt_(std::move(prompt)) {}

  void prompt_logits(std::size_t position, std::span<const float> logits) override;
  void logits(std::span<const float> logits) override;
  void token(TokenId token, std::string_view text) override;
  void ended(const Outcome& outcome, std::string_view text) override;

 private:
  const std::shared_ptr<AnswerQueue> queue_;
  const std::size_t answer_;
  const std::optional<std::uint32_t> wanted_;
  const std::vector<TokenId> prompt_;
  std::optional<LikelyTokens> likely_;
};

}  // namespace sluice::server
