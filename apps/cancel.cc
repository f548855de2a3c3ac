#include "apps/cancel.h"

#include <poll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <cerrno>
#include <csignal>
#include <cstdint>
#include <cstring>

#include "base/cancellation.h"

namespace sluice::apps {
namespace {

std::atomic<bool> requested{false};
std::atomic<bool> interrupted{false};  // by Ctrl-C
std::atomic<int> signal_number{SIGINT};
static_assert(std::atomic<bool>::is_always_lock_free && std::atomic<int>::is_always_lock_free,
              "a signal handler writes them");

/// Readable from the first request on. A look at `requested` alone would miss the signal that comes
/// between that look and the wait for input, whichever thread the system gives it to.
int event = -1;

void on_signal(int number) {
  const int error = errno;
  signal_number.store(number);
  if (number == SIGINT) interrupted.store(true);
  request_cancel();
  errno = error;
}

/// The second signal finds the default again; a call that waits is interrupted, not resumed.
void handle(int number) {
  struct sigaction action = {};
  action.sa_handler = on_signal;
  action.sa_flags = static_cast<int>(SA_RESETHAND);
  sigaction(number, &action, nullptr);
}

constexpr int kForever = -1;

/// As poll(2) does: for the descriptor, or the end of waiting for anything.
int poll_for(int descriptor, int milliseconds) {
  pollfd waits[] = {{.fd = descriptor, .events = POLLIN, .revents = 0},
                    {.fd = event, .events = POLLIN, .revents = 0}};
  return ::poll(waits, 2, milliseconds);
}

}  // namespace

void cancel_on_interrupt() {
  event = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
  handle(SIGINT);
  handle(SIGTERM);
  std::signal(SIGXFSZ, SIG_IGN);
}

void request_cancel() {
  requested.store(true);
  constexpr std::uint64_t kOne = 1;
  [[maybe_unused]] const ssize_t written = ::write(event, &kOne, sizeof kOne);
}

const std::atomic<bool>& cancel_requested() { return requested; }

bool forget_interrupt() {
  if (!interrupted.exchange(false) || signal_number.load() != SIGINT) return false;
  requested.store(false);
  std::uint64_t count = 0;
  [[maybe_unused]] const ssize_t drained = ::read(event, &count, sizeof count);
  handle(SIGINT);
  if (signal_number.load() == SIGINT) return true;
  request_cancel();  // SIGTERM came meanwhile
  return false;
}

void forget_request() { requested.store(false); }

int cancelled_exit_status() { return 128 + signal_number.load(); }

Status wait_readable(int descriptor) {
  while (poll_for(descriptor, kForever) < 0) {
    if (errno != EINTR) return Status(ErrorCode::kIo, std::strerror(errno));
  }
  return check_cancelled(&cancel_requested());
}

bool is_readable(int descriptor) { return poll_for(descriptor, 0) != 0; }

}  // namespace sluice::apps
