#include "serving/batcher.h"

#include <algorithm>
#include <string>
#include <utility>

#include "base/cancellation.h"

namespace sluice {

Batcher::Batcher(Model& model, const BatcherOptions& options)
    : model_(model),
      options_(options),
      pool_(model, options.sessions),
      thread_([this] { run(); }) {}

Batcher::~Batcher() {
  {
    const std::lock_guard lock(mutex_);
    draining_ = stopping_ = true;
  }
  changed_.notify_all();
  thread_.join();
}

Result<Batcher::Ticket> Batcher::submit(Request request,
                                        std::shared_ptr<RequestListener> listener) {
  const std::lock_guard lock(mutex_);
  const auto refuse = [&](ErrorCode code, std::string why) {
    statistics_.refused += 1;
    return Status(code, std::move(why));
  };
  const std::size_t context = model_.plan().context;
  if (draining_) return refuse(ErrorCode::kCancelled, "the server is being shut down");
  if (request.prompt.empty()) {
    return refuse(ErrorCode::kInvalidArgument, "the prompt has no tokens: give some text");
  }
  if (request.prompt.size() >= context) {
    return refuse(ErrorCode::kInvalidArgument,
                  "the prompt has " + std::to_string(request.prompt.size()) +
                      " tokens and the context holds " + std::to_string(context) +
                      ", an answer among them: shorten it");
  }
  for (const TokenId token : request.prompt) {
    if (token >= 0 && static_cast<std::size_t>(token) < model_.description().vocabulary) continue;
    return refuse(ErrorCode::kInvalidArgument,
                  "token " + std::to_string(token) + " of the prompt is outside the vocabulary");
  }
  if (waiting_.size() >= options_.queue) {
    return refuse(ErrorCode::kBudget, std::to_string(waiting_.size()) +
                                          " requests are waiting already: try again later");
  }
  auto stream = std::make_unique<Stream>();
  stream->ticket = ++last_ticket_;
  stream->request = std::move(request);
  stream->listener = std::move(listener);
  stream->arrived = options_.clock();
  waiting_.push_back(std::move(stream));
  statistics_.submitted += 1;
  changed_.notify_all();
  return last_ticket_;
}

void Batcher::cancel(Ticket ticket) {
  const std::lock_guard lock(mutex_);
  to_cancel_.push_back(ticket);
  changed_.notify_all();
}

void Batcher::drain() {
  std::unique_lock lock(mutex_);
  draining_ = true;
  changed_.notify_all();
  changed_.wait(lock, [&] { return waiting_.empty() && running_count_ == 0; });
}

BatcherStatistics Batcher::statistics() const {
  const std::lock_guard lock(mutex_);
  BatcherStatistics all = statistics_;
  all.waiting = waiting_.size();
  all.running = running_count_;
  return all;
}

void Batcher::run() {
  while (wait_for_work()) {
    take_cancelled();
    admit();
    step();
  }
  for (const auto& stream : running_) {
    end(*stream, cancelled(), StopReason::kCancelled, {});
  }
  running_.clear();
  const std::lock_guard lock(mutex_);
  for (const auto& stream : waiting_) {
    stream->listener->ended({.status = cancelled()}, {});
  }
  waiting_.clear();
  running_count_ = 0;
  changed_.notify_all();
}

bool Batcher::wait_for_work() {
  std::unique_lock lock(mutex_);
  running_count_ = running_.size();
  changed_.notify_all();
  changed_.wait(lock, [&] { return stopping_ || !running_.empty() || !waiting_.empty(); });
  return !stopping_;
}

void Batcher::take_cancelled() {
  Streams gone;
  {
    const std::lock_guard lock(mutex_);
    for (const Ticket ticket : to_cancel_) {
      for (Streams* const streams : {&running_, &waiting_}) {
        const auto found =
            std::ranges::find(*streams, ticket, [](const auto& one) { return one->ticket; });
        if (found == streams->end()) continue;
        gone.push_back(std::move(*found));
        streams->erase(found);
      }
    }
    to_cancel_.clear();
  }
  for (const auto& stream : gone) end(*stream, cancelled(), StopReason::kCancelled, {});
}

/// In the order of arrival: who does not fit yet is not overtaken, for else he might never be.
void Batcher::admit() {
  for (;;) {
    Stream* first = nullptr;
    {
      const std::lock_guard lock(mutex_);
      if (waiting_.empty()) return;
      first = waiting_.front().get();
    }
    const Request& request = first->request;
    const std::size_t context = model_.plan().context;
    const std::size_t positions =
        std::min<std::size_t>(context, request.prompt.size() + request.options.max_tokens);
    const std::span<const TokenId> known(request.prompt);
    Session* const session =
        pool_.take(request.wants_prompt_logits ? known.first(0) : known, positions);
    if (session == nullptr) return;
    first->session = session;
    first->begun = options_.clock();
    first->reused = session->length();
    first->next.assign(request.prompt.begin() + static_cast<std::ptrdiff_t>(first->reused),
                       request.prompt.end());
    if (request.options.max_tokens > 0) {
      first->continuation.emplace(model_.tokenizer(), request.options, request.prompt);
    }
    const std::lock_guard lock(mutex_);
    running_.push_back(std::move(waiting_.front()));
    waiting_.pop_front();
    running_count_ = running_.size();
  }
}

void Batcher::add_part(Stream& stream, std::size_t tokens) {
  stream.given = std::min(tokens, stream.next.size());
  const bool last = stream.given == stream.next.size() && stream.continuation;
  const bool all = stream.request.wants_prompt_logits && !stream.writes();
  parts_.push_back({.session = stream.session,
                    .tokens = std::span(stream.next).first(stream.given),
                    .wanted = all    ? WantedLogits::kAll
                              : last ? WantedLogits::kLast
                                     : WantedLogits::kNone});
  part_streams_.push_back(&stream);
}

/// A token of every text, and as many of prompts as there is room for beside them.
void Batcher::gather() {
  parts_.clear();
  part_streams_.clear();
  std::size_t rows = 0;
  for (const auto& stream : running_) {
    if (!stream->writes()) continue;
    add_part(*stream, 1);
    rows += 1;
  }
  const std::size_t most = std::max<std::size_t>(
      rows + 1,
      rows == 0 ? model_.max_rows() : std::min(model_.max_rows(), rows + options_.prompt_rows));
  for (const auto& stream : running_) {
    if (stream->writes() || rows >= most) continue;
    add_part(*stream, most - rows);
    rows += stream->given;
  }
  sinks_.assign(parts_.size(), {});
  for (std::size_t i = 0; i < parts_.size(); ++i) {
    sinks_[i] = [stream = part_streams_[i]](std::size_t row, std::span<const float> logits) {
      const Request& request = stream->request;
      if (request.wants_prompt_logits && !stream->writes()) {
        stream->listener->prompt_logits(stream->session->length() + row, logits);
      }
      if (row + 1 < stream->next.size() || !stream->continuation) return;
      if (request.wants_logits) stream->listener->logits(logits);
      stream->chosen = stream->continuation->choose(logits);
    };
    parts_[i].sink = &sinks_[i];
  }
  const std::lock_guard lock(mutex_);
  statistics_.steps += parts_.empty() ? 0 : 1;
  statistics_.rows += rows;
}

void Batcher::step() {
  gather();
  if (parts_.empty()) return;
  batch_.eval(parts_, {});
  std::vector<Stream*> ended;
  for (std::size_t i = 0; i < parts_.size(); ++i) {
    if (!take_step(*part_streams_[i], parts_[i].status)) ended.push_back(part_streams_[i]);
  }
  std::erase_if(running_, [&](const auto& stream) {
    return std::ranges::find(ended, stream.get()) != ended.end();
  });
}

/// False: it has ended.
bool Batcher::take_step(Stream& stream, const Status& status) {
  const auto stop = [&](Status why) {
    end(stream, std::move(why), StopReason::kCancelled, {});
    return false;
  };
  if (!status.ok()) return stop(status);
  stream.next.erase(stream.next.begin(),
                    stream.next.begin() + static_cast<std::ptrdiff_t>(stream.given));
  if (!stream.next.empty()) return true;  // of the prompt
  if (!stream.continuation) {
    end(stream, {}, StopReason::kMaxTokens, {});
    return false;
  }
  if (!stream.chosen.ok()) return stop(stream.chosen);
  Continuation& continuation = *stream.continuation;
  const std::size_t before = continuation.tokens().size();
  std::string text = continuation.accept();
  if (continuation.tokens().size() > before) {
    if (before == 0) stream.first_token = options_.clock();
    stream.listener->token(continuation.tokens().back(), text);
    text.clear();
  }
  if (!continuation.ended() && stream.session->length() == stream.session->context()) {
    text = continuation.end(StopReason::kContextFull);
  }
  if (continuation.ended()) {
    end(stream, {}, continuation.reason(), text);
    return false;
  }
  stream.next.assign(1, continuation.tokens().back());
  return true;
}

void Batcher::end(Stream& stream, Status status, StopReason reason, std::string_view text) {
  if (stream.session != nullptr) pool_.give_back(*stream.session);
  const double now = options_.clock();
  const double begun = stream.session == nullptr ? now : stream.begun;
  const Outcome outcome{
      .status = std::move(status),
      .reason = reason,
      .prompt_tokens = stream.request.prompt.size(),
      .reused_tokens = stream.reused,
      .tokens = stream.continuation ? stream.continuation->tokens().size() : 0,
      .queued_seconds = begun - stream.arrived,
      .first_token_seconds = stream.first_token == 0 ? 0 : stream.first_token - stream.arrived,
      .seconds = now - stream.arrived};
  count(outcome);
  stream.listener->ended(outcome, text);
}

void Batcher::count(const Outcome& outcome) {
  const std::lock_guard lock(mutex_);
  statistics_.prompt_tokens += outcome.prompt_tokens;
  statistics_.reused_tokens += outcome.reused_tokens;
  statistics_.tokens += outcome.tokens;
  if (outcome.status.ok()) {
    statistics_.finished += 1;
  } else if (outcome.status.code() == ErrorCode::kCancelled) {
    statistics_.cancelled += 1;
  } else {
    statistics_.failed += 1;
  }
}

}  // namespace sluice
