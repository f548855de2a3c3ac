#pragma once
// Work in pieces that know nothing of one another.

#include <algorithm>
#include <atomic>
#include <cstddef>
#include <thread>
#include <vector>

namespace sluice::apps {

/// Calls `piece` with 0 … count - 1, on `threads` threads at a time; 0: as many as there are
/// processors. `piece` may be called from several threads at once.
template <typename Piece>
void side_by_side(std::size_t count, unsigned threads, const Piece& piece) {
  std::atomic<std::size_t> next = 0;
  const auto work = [&] {
    for (std::size_t at = next++; at < count; at = next++) piece(at);
  };
  const unsigned wished =
      threads != 0 ? threads : std::max(1u, std::thread::hardware_concurrency());
  std::vector<std::jthread> others;
  for (std::size_t i = 1; i < std::min<std::size_t>(wished, count); ++i) others.emplace_back(work);
  work();
}

}  // namespace sluice::apps
