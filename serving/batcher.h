#pragma once
// Continuous batching: requests join and leave a running batch at every step.
//
// A step computes one token of every text that is being written and a piece of the prompts that are
// being read, so that long prompts do not hold up short answers. All of it is one batch: an expert
// that many want is read and multiplied once. Whoever has waited longest is taken next, as soon as
// the KV cache has room for all that he may come to; what a request gets is what it would get
// alone.

#include <atomic>
#include <condition_variable>
#include <cstdint>
#include <deque>
#include <memory>
#include <mutex>
#include <optional>
#include <thread>
#include <vector>

#include "base/clock.h"
#include "engine/batch.h"
#include "serving/request.h"
#include "serving/session_pool.h"

namespace sluice {

struct BatcherOptions {
  std::size_t sessions = 1;        // requests that are computed at one time
  std::size_t queue = 256;         // that wait, at most
  std::uint32_t prompt_rows = 64;  // of prompts in a step, while texts are being written
  Clock clock = steady_seconds;
};

struct BatcherStatistics {
  std::uint64_t submitted = 0, refused = 0, finished = 0, cancelled = 0, failed = 0;
  std::uint64_t prompt_tokens = 0, reused_tokens = 0, tokens = 0;
  std::uint64_t steps = 0, rows = 0;  // tokens computed in steps
  std::size_t waiting = 0, running = 0;
};

/// Thread-safe.
class Batcher {
 public:
  using Ticket = std::uint64_t;

  /// Borrows the model, of which nobody else has sessions.
  Batcher(Model& model, const BatcherOptions& options);
  /// Whatever is left is cancelled.
  ~Batcher();
  Batcher(const Batcher&) = delete;
  Batcher& operator=(const Batcher&) = delete;

  /// kBudget: the queue is full, come again; kInvalidArgument: the prompt is empty or longer than
  /// the context; kCancelled: it takes no more requests. The listener hears of nothing then.
  Result<Ticket> submit(Request request, std::shared_ptr<RequestListener> listener);
  /// Ended with the step that is being computed, unless it has ended before.
  void cancel(Ticket ticket);
  /// No more requests are taken; waits until those that were have ended.
  void drain();

  BatcherStatistics statistics() const;
  const Model& model() const { return model_; }

 private:
  struct Stream {
    Ticket ticket = 0;
    Request request;
    std::shared_ptr<RequestListener> listener;
    double arrived = 0, begun = 0, first_token = 0;
    std::optional<Continuation> continuation;
    Session* session = nullptr;
    std::size_t reused = 0;
    std::vector<TokenId> next;  // to be computed: what is left of the prompt, or the last token
    std::size_t given = 0;      // of it, in the step
    Status chosen;
    bool writes() const { return continuation && !continuation->tokens().empty(); }
  };
  using Streams = std::deque<std::unique_ptr<Stream>>;

  void run();
  bool wait_for_work();
  void take_cancelled();
  void admit();
  void step();
  void gather();
  void add_part(Stream& stream, std::size_t tokens);
  bool take_step(Stream& stream, const Status& status);
  void end(Stream& stream, Status status, StopReason reason, std::string_view text);
  void count(const Outcome& outcome);

  Model& model_;
  const BatcherOptions options_;
  SessionPool pool_;

  // The batcher's thread's alone.
  Streams running_;
  Batch batch_;
  std::vector<BatchPart> parts_;
  std::vector<Stream*> part_streams_;
  std::vector<LogitsSink> sinks_;

  mutable std::mutex mutex_;  // guards those below
  std::condition_variable changed_;
  Streams waiting_;
  std::vector<Ticket> to_cancel_;
  Ticket last_ticket_ = 0;
  bool draining_ = false, stopping_ = false;
  std::size_t running_count_ = 0;
  BatcherStatistics statistics_;

  std::thread thread_;
};

}  // namespace sluice
