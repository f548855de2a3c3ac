#pragma once
// Sessions that requests take turns with. One that is idle keeps its text: a request that begins
// alike goes on from there.

#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "engine/session.h"

namespace sluice {

/// Not thread-safe.
class SessionPool {
 public:
  /// Of at most so many sessions. Borrows the model.
  SessionPool(Model& model, std::size_t sessions);

  /// One that nobody has, which keeps what of its text `prompt` begins with, for texts of up to
  /// `positions` tokens; null: there is none, or not enough of the KV cache. Idle sessions' texts
  /// are forgotten for that, those that were used longest ago first.
  Session* take(std::span<const TokenId> prompt, std::size_t positions);
  void give_back(Session& session);
  std::size_t taken() const { return taken_; }
  std::size_t size() const { return seats_.size(); }

 private:
  struct Seat {
    std::unique_ptr<Session> session;
    std::size_t promised = 0;  // blocks, while somebody has it
    std::uint64_t used = 0;    // when it was given back
    bool taken = false;
  };
  Seat* best(std::span<const TokenId> prompt);
  bool make_room(const Seat& kept, std::size_t blocks);

  Model& model_;
  std::vector<Seat> seats_;
  std::size_t taken_ = 0;
  std::uint64_t clock_ = 0;
};

}  // namespace sluice
