#include "capi/handles.h"

using namespace sluice;        // NOLINT: an entry point is not of any namespace
using namespace sluice::capi;  // NOLINT

namespace sluice::capi {

Result<std::unique_lock<std::mutex>> SessionState::enter() {
  std::unique_lock lock(busy, std::try_to_lock);
  if (lock.owns_lock()) return lock;
  return invalid("the session is in use on another thread: one at a time");
}

void SessionState::count(std::size_t tokens, double seconds) {
  stats.evaluated += tokens;
  stats.calls += 1;
  stats.seconds += seconds;
  if (tokens != 1) return;
  stats.decoded += 1;
  stats.decode_seconds += seconds;
}

}  // namespace sluice::capi

namespace {

/// A session and the right to use it.
struct Entered {
  SessionState& state;
  std::unique_lock<std::mutex> lock;
};

Result<Entered> enter(sluice_session* session) {
  SLUICE_TRY(expect(session, "session"));
  SLUICE_ASSIGN(std::unique_lock<std::mutex> lock, session->state->enter());
  return Entered{*session->state, std::move(lock)};
}

}  // namespace

sluice_status sluice_session_create(sluice_model* model, const sluice_session_options* options,
                                    sluice_session** session, sluice_error* error) {
  return guard(error, [&]() -> Status {
    SLUICE_TRY(expect(model, "model"));
    SLUICE_TRY(expect(session, "session"));
    SLUICE_ASSIGN(const sluice_session_options given, take_options(options));
    const std::uint32_t most = model->opened->model->plan().context;
    if (given.context > most) {
      return invalid("a session of " + std::to_string(given.context) +
                     " tokens: the model was opened with a context of " + std::to_string(most));
    }
    auto handle = std::make_unique<sluice_session>();
    handle->state = std::make_shared<SessionState>(model->opened, given.context);
    *session = handle.release();
    return {};
  });
}

void sluice_session_destroy(sluice_session* session) { delete session; }

sluice_status sluice_session_eval(sluice_session* session, const sluice_token* tokens, size_t count,
                                  const float** logits, sluice_error* error) {
  return guard(error, [&]() -> Status {
    SLUICE_ASSIGN(const Entered entered, enter(session));
    SLUICE_TRY(expect(tokens, "tokens"));
    if (count == 0) return invalid("there are no tokens");
    SessionState& state = entered.state;
    const LogitsSink sink = [&](std::size_t, std::span<const float> row) {
      state.logits.assign(row.begin(), row.end());
    };
    const auto wanted = logits != nullptr ? WantedLogits::kLast : WantedLogits::kNone;
    SLUICE_TRY(state.run([&] {
      return state.session.eval({tokens, count}, wanted, sink, {.cancel = &state.abort});
    }));
    if (logits != nullptr) *logits = state.logits.data();
    return {};
  });
}

sluice_status sluice_session_forward(sluice_session* session, const sluice_token* tokens,
                                     size_t count, float* logits, sluice_error* error) {
  return guard(error, [&]() -> Status {
    SLUICE_ASSIGN(const Entered entered, enter(session));
    SLUICE_TRY(expect(tokens, "tokens"));
    SLUICE_TRY(expect(logits, "logits"));
    SessionState& state = entered.state;
    const LogitsSink sink = [&](std::size_t row, std::span<const float> values) {
      std::copy(values.begin(), values.end(), logits + row * values.size());
    };
    return state.run([&] {
      return state.session.eval({tokens, count}, WantedLogits::kAll, sink,
                                {.cancel = &state.abort});
    });
  });
}

size_t sluice_session_length(const sluice_session* session) {
  return session == nullptr ? 0 : session->state->length.load();
}

sluice_status sluice_session_truncate(sluice_session* session, size_t length, sluice_error* error) {
  return guard(error, [&]() -> Status {
    SLUICE_ASSIGN(const Entered entered, enter(session));
    entered.state.session.truncate(length);
    entered.state.length = entered.state.session.length();
    return {};
  });
}

sluice_status sluice_session_keep_prefix(sluice_session* session, const sluice_token* tokens,
                                         size_t count, size_t* kept, sluice_error* error) {
  return guard(error, [&]() -> Status {
    SLUICE_ASSIGN(const Entered entered, enter(session));
    if (count > 0) SLUICE_TRY(expect(tokens, "tokens"));
    SLUICE_TRY(expect(kept, "kept"));
    *kept = entered.state.session.keep_prefix({tokens, count});
    entered.state.length = *kept;
    return {};
  });
}

void sluice_session_abort(sluice_session* session) {
  if (session != nullptr) session->state->abort = true;
}

void sluice_session_forget_abort(sluice_session* session) {
  if (session != nullptr) session->state->abort = false;
}

sluice_status sluice_session_get_stats(const sluice_session* session, sluice_session_stats* stats,
                                       sluice_error* error) {
  return guard(error, [&]() -> Status {
    SLUICE_TRY(expect(session, "session"));
    SLUICE_ASSIGN(const auto lock, session->state->enter());
    return give(session->state->stats, stats);
  });
}
