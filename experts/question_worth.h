#pragma once
// Whether it is worth while to ask what the coming layers will want. A question takes some tens of
// microseconds, whatever its answer is good for: where hardly any guess pays, the questions cost
// more than the reads of the few that do can gain. So both are added up; where the gain is less,
// only some visits ask, to see whether that changes.
//
// Not thread-safe. Times are in any one unit.

#include <cstdint>

namespace sluice {

class QuestionWorth {
 public:
  /// A visit begins: from now on `due` is about it.
  void next_visit() {
    visits_ += 1;
    if (pays_ ? gain_ < cost_ : gain_ > kAgain * cost_) pays_ = !pays_;
  }
  /// Whether this visit should ask.
  bool due() const { return visits_ <= kFirst || pays_ || visits_ % kEvery < kInTurn; }
  /// This visit has asked, which took so long.
  void took(double time) {
    gain_ *= kFade;
    cost_ = kFade * cost_ + time;
  }
  /// Something is read ahead that will gain so much, as far as is known.
  void gains(double time) { gain_ += time; }

 private:
  // Until the worth of guesses is known.
  static constexpr std::uint32_t kFirst = 400;
  // Else so many in turn, a pass or more, of so many visits.
  static constexpr std::uint32_t kInTurn = 100, kEvery = 1009;
  // Of about the last 200 visits that asked.
  static constexpr double kFade = 1 - 1.0 / 200;
  static constexpr double kAgain = 1.5;

  std::uint32_t visits_ = 0;
  double gain_ = 0, cost_ = 0;
  bool pays_ = true;
};

}  // namespace sluice
