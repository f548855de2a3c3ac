#pragma once
// Ctrl-C: the first asks for a stop between two layers, the second ends the process at once.

#include <atomic>

namespace sluice::apps {

void cancel_on_interrupt();
const std::atomic<bool>& cancel_requested();
/// As the first Ctrl-C does.
void request_cancel();

}  // namespace sluice::apps
