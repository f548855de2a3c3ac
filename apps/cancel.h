#pragma once
// Ctrl-C and SIGTERM: the first asks for a stop between two layers, the second ends the process at
// once.

#include <atomic>

#include "base/status.h"

namespace sluice::apps {

/// Also makes a write beyond the system's limit of a file's size an error instead of the end.
void cancel_on_interrupt();
const std::atomic<bool>& cancel_requested();
/// As the first Ctrl-C does.
void request_cancel();
/// After a Ctrl-C: forgets it, and the next one is the first again. False, and the request stands,
/// where something else asked for the end.
bool forget_interrupt();
/// What was asked for has been done: the end that follows is no failure.
void forget_request();
/// What a shell shows for a process that the signal ended: 130 after Ctrl-C, 143 after SIGTERM.
int cancelled_exit_status();
/// Returns once `descriptor` can be read from (or is at its end), or with kCancelled; a request
/// that came before is not missed.
Status wait_readable(int descriptor);
/// Whether wait_readable would return at once.
bool is_readable(int descriptor);

}  // namespace sluice::apps
