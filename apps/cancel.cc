#include "apps/cancel.h"

#include <csignal>

namespace sluice::apps {
namespace {

std::atomic<bool> requested{false};
static_assert(std::atomic<bool>::is_always_lock_free, "a signal handler writes it");

void on_signal(int) { requested.store(true); }

}  // namespace

void cancel_on_interrupt() {
  // The second signal finds the default again; a read that waits for input is interrupted, not
  // resumed.
  struct sigaction action = {};
  action.sa_handler = on_signal;
  action.sa_flags = static_cast<int>(SA_RESETHAND);
  sigaction(SIGINT, &action, nullptr);
  sigaction(SIGTERM, &action, nullptr);
}

void request_cancel() { requested.store(true); }

const std::atomic<bool>& cancel_requested() { return requested; }

}  // namespace sluice::apps
