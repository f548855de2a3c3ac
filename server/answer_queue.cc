#include "server/answer_queue.h"

#include <boost/asio/as_tuple.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <utility>

namespace sluice::server {

void AnswerQueue::push(AnswerEvent event) {
  {
    const std::lock_guard lock(mutex_);
    if (left_) return;
    events_.push_back(std::move(event));
  }
  wake();
}

void AnswerQueue::leave() {
  {
    const std::lock_guard lock(mutex_);
    left_ = true;
    events_.clear();
  }
  wake();
}

bool AnswerQueue::left() const {
  const std::lock_guard lock(mutex_);
  return left_;
}

void AnswerQueue::wake() {
  boost::asio::post(strand_, [self = shared_from_this()] { self->changed_.cancel(); });
}

boost::asio::awaitable<std::vector<AnswerEvent>> AnswerQueue::next() {
  for (;;) {
    {
      const std::lock_guard lock(mutex_);
      if (left_ || !events_.empty()) co_return std::exchange(events_, {});
    }
    changed_.expires_at(boost::asio::steady_timer::time_point::max());
    co_await changed_.async_wait(boost::asio::as_tuple(boost::asio::use_awaitable));
  }
}

void QueuedAnswer::prompt_logits(std::size_t position, std::span<const float> logits) {
  if (!wanted_ || position + 1 >= prompt_.size()) return;
  queue_->push({.answer = answer_,
                .text = {},
                .logprobs = LikelyTokens(logits, *wanted_).of(prompt_[position + 1])});
}

void QueuedAnswer::logits(std::span<const float> logits) {
  if (wanted_) likely_.emplace(logits, *wanted_);
}

void QueuedAnswer::token(TokenId token, std::string_view text) {
  AnswerEvent event{.answer = answer_, .text = std::string(text)};
  if (likely_) event.logprobs = likely_->of(token);
  queue_->push(std::move(event));
}

void QueuedAnswer::ended(const Outcome& outcome, std::string_view text) {
  queue_->push({.answer = answer_,
                .text = std::string(text),
                .logprobs = {},
                .ended = true,
                .outcome = outcome});
}

}  // namespace sluice::server
