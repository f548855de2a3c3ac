#include "apps/cancel.h"

#include <poll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <cerrno>
#include <csignal>
#include <cstdint>
#include <cstring>

namespace sluice::apps {
namespace {

std::atomic<bool> requested{false};
std::atomic<int> signal_number{SIGINT};
static_assert(std::atomic<bool>::is_always_lock_free && std::atomic<int>::is_always_lock_free,
              "a signal handler writes them");

/// Readable from the first request on. A look at `requested` alone would miss the signal that comes
/// between that look and the wait for input, whichever thread the system gives it to.
int event = -1;

void on_signal(int number) {
  const int error = errno;
  signal_number.store(number);
  request_cancel();
  errno = error;
}

}  // namespace

void cancel_on_interrupt() {
  event = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
  // The second signal finds the default again; a call that waits is interrupted, not resumed.
  struct sigaction action = {};
  action.sa_handler = on_signal;
  action.sa_flags = static_cast<int>(SA_RESETHAND);
  sigaction(SIGINT, &action, nullptr);
  sigaction(SIGTERM, &action, nullptr);
  std::signal(SIGXFSZ, SIG_IGN);
}

void request_cancel() {
  requested.store(true);
  constexpr std::uint64_t kOne = 1;
  [[maybe_unused]] const ssize_t written = ::write(event, &kOne, sizeof kOne);
}

const std::atomic<bool>& cancel_requested() { return requested; }

int cancelled_exit_status() { return 128 + signal_number.load(); }

Status wait_readable(int descriptor) {
  pollfd waits[] = {{.fd = descriptor, .events = POLLIN, .revents = 0},
                    {.fd = event, .events = POLLIN, .revents = 0}};
  while (::poll(waits, 2, -1) < 0) {
    if (errno != EINTR) return Status(ErrorCode::kIo, std::strerror(errno));
  }
  if (cancel_requested().load()) return Status(ErrorCode::kCancelled, "stopped on request");
  return {};
}

}  // namespace sluice::apps
