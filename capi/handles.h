#pragma once
// What the handles are. A caller destroys them in any order, so each keeps alive what it needs.

#include <atomic>
#include <cstdint>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "base/clock.h"
#include "capi/boundary.h"
#include "engine/sampler.h"
#include "engine/session.h"
#include "engine/writer.h"

namespace sluice::capi {

/// The budget of all models that are opened with it. Each has an engine runtime of its own, so that
/// one may load while another computes.
struct Budget {
  RuntimeOptions options;
  std::mutex mutex;                // guards those below
  std::uint64_t taken = 0;         // bytes, by models that are open or being opened
  std::unique_ptr<Runtime> first;  // made with the budget, for the first model
};

/// A part of a budget, given back on destruction.
class Share {
 public:
  /// All that is left, or at most so much. kBudget: nothing is.
  static Result<Share> take(std::shared_ptr<Budget> budget, std::uint64_t most);
  Share(Share&& other) noexcept : budget_(std::move(other.budget_)), bytes_(other.bytes_) {}
  Share& operator=(Share&&) = delete;
  ~Share() {
    if (budget_ != nullptr) shrink(0);
  }

  Budget& budget() const { return *budget_; }
  std::uint64_t bytes() const { return bytes_; }
  /// REQUIRES: not more than it has.
  void shrink(std::uint64_t bytes);

 private:
  Share(std::shared_ptr<Budget> budget, std::uint64_t bytes)
      : budget_(std::move(budget)), bytes_(bytes) {}

  std::shared_ptr<Budget> budget_;
  std::uint64_t bytes_ = 0;
};

/// Destroyed from the last to the first.
struct OpenModel {
  Share share;
  std::unique_ptr<Runtime> runtime;
  std::unique_ptr<Model> model;
};

/// One sequence, for one thread at a time.
struct SessionState {
  explicit SessionState(std::shared_ptr<OpenModel> opened, std::uint32_t context)
      : model(std::move(opened)), session(*model->model, context) {}

  std::shared_ptr<OpenModel> model;
  Session session;
  std::mutex busy;
  std::atomic<bool> abort = false;
  std::atomic<std::size_t> length = 0;
  std::vector<float> logits;  // of the last call that asked for them
  sluice_session_stats stats{};

  /// kInvalidArgument where another thread is at it.
  Result<std::unique_lock<std::mutex>> enter();
  /// Runs `compute`, which appends tokens: an abort that stopped it has done so, and statistics
  /// have it.
  template <typename Compute>
  Status run(const Compute& compute);

 private:
  void count(std::size_t tokens, double seconds);
};

template <typename Compute>
Status SessionState::run(const Compute& compute) {
  const std::size_t before = session.length();
  const double begun = steady_seconds();
  Status status = compute();
  if (status.code() == ErrorCode::kCancelled) abort = false;
  if (session.length() > before) count(session.length() - before, steady_seconds() - begun);
  length = session.length();
  return status;
}

SamplerOptions sampler_options(const sluice_sampler_options& given);

}  // namespace sluice::capi

struct sluice_runtime {
  std::shared_ptr<sluice::capi::Budget> budget;
};

struct sluice_model {
  std::shared_ptr<sluice::capi::OpenModel> opened;
};

struct sluice_session {
  std::shared_ptr<sluice::capi::SessionState> state;
};
