#include "serving/session_pool.h"

#include <algorithm>

namespace sluice {
namespace {

/// A shorter beginning is what texts of all kinds have in common: not worth another text's whole.
constexpr std::size_t kWorthKeeping = 16;  // tokens

std::size_t common(std::span<const TokenId> prompt, const Session& session) {
  const auto [end, ignored] = std::ranges::mismatch(prompt, session.tokens());
  return static_cast<std::size_t>(end - prompt.begin());
}

}  // namespace

SessionPool::SessionPool(Model& model, std::size_t sessions) : model_(model), seats_(sessions) {
  for (Seat& seat : seats_) seat.session = std::make_unique<Session>(model);
}

/// Of those that nobody has, the one with most of the prompt; else the one that was used longest
/// ago.
SessionPool::Seat* SessionPool::best(std::span<const TokenId> prompt) {
  Seat* found = nullptr;
  std::size_t most = 0;
  for (Seat& seat : seats_) {
    if (seat.taken) continue;
    std::size_t here = common(prompt, *seat.session);
    if (here < kWorthKeeping) here = 0;
    const bool better =
        found == nullptr || here > most || (here == most && seat.used < found->used);
    if (!better) continue;
    found = &seat;
    most = here;
  }
  return found;
}

/// For so many blocks of `kept`'s text beside what those in use were promised.
bool SessionPool::make_room(const Seat& kept, std::size_t blocks) {
  const std::size_t all = model_.kv_pool().blocks();
  std::size_t promised = blocks;
  for (const Seat& seat : seats_) promised += seat.taken ? seat.promised : 0;
  if (promised > all) return false;
  std::size_t idle = 0;
  std::vector<Seat*> oldest;
  for (Seat& seat : seats_) {
    if (seat.taken || &seat == &kept || seat.session->length() == 0) continue;
    oldest.push_back(&seat);
    idle += KvShape::blocks(seat.session->length());
  }
  std::ranges::sort(oldest, {}, &Seat::used);
  for (Seat* const seat : oldest) {
    if (promised + idle <= all) break;
    idle -= KvShape::blocks(seat->session->length());
    seat->session->truncate(0);
  }
  return true;
}

Session* SessionPool::take(std::span<const TokenId> prompt, std::size_t positions) {
  Seat* const seat = best(prompt);
  const std::size_t blocks = KvShape::blocks(positions);
  if (seat == nullptr || !make_room(*seat, blocks)) return nullptr;
  if (common(prompt, *seat->session) < kWorthKeeping) {
    seat->session->truncate(0);
  } else {
    seat->session->keep_prefix(prompt);
  }
  seat->taken = true;
  seat->promised = blocks;
  taken_ += 1;
  return seat->session.get();
}

void SessionPool::give_back(Session& session) {
  const auto seat =
      std::ranges::find(seats_, &session, [](const Seat& one) { return one.session.get(); });
  seat->taken = false;
  seat->used = ++clock_;
  taken_ -= 1;
}

}  // namespace sluice
