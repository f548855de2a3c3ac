#include "apps/cancel.h"

#include <csignal>

namespace sluice::apps {
namespace {

std::atomic<bool> requested{false};
static_assert(std::atomic<bool>::is_always_lock_free, "a signal handler writes it");

void on_signal(int signal) {
  requested.store(true);
  std::signal(signal, SIG_DFL);
}

}  // namespace

void cancel_on_interrupt() {
  std::signal(SIGINT, on_signal);
  std::signal(SIGTERM, on_signal);
}

const std::atomic<bool>& cancel_requested() { return requested; }

}  // namespace sluice::apps
