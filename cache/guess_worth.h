#pragma once
// Whether it is worth while to read an expert that is only guessed. A right guess saves what of its
// read fits into the disk's idle time before the next visit; a wrong one delays that visit's misses
// by the rest of its read, and displaces an expert. All that is observed, whether guesses are read
// or not: so reading ahead ends where the disk is saturated or guesses are bad, and begins again
// when that changes.
//
// Not thread-safe. Times are in any one unit.

#include <algorithm>
#include <array>
#include <cstddef>

namespace sluice {

class GuessWorth {
 public:
  /// Guesses are told apart by grades, the best first: how often one of a grade comes true is
  /// learned. A grade may be a place among a visit's guesses, or a range of probability.
  static constexpr std::size_t kGrades = 8;

  GuessWorth() { right_.fill({0, kDoubt}); }

  /// The grade of an expert that will be wanted with that probability, as somebody says.
  static std::size_t grade(float probability);

  /// A guess of that grade, which was not in memory, has turned out right or wrong, read or not.
  void came(std::size_t grade, bool right);
  /// So long the disk was busy with one expert.
  void read_took(double time);
  /// Between a visit's last miss's arrival, or its begin without one, and the next visit's begin.
  void was_idle(double time);
  /// The visit wanted something that was neither in memory nor under way.
  void missed(bool any);

  /// Whether the read of such a guess gains more than it costs, where the disk will have nothing
  /// else to do for the time `idle`, until the guess's turn.
  bool pays(std::size_t grade, double idle) const;
  /// How many guesses of one visit are worth their reads when each has the grade of its place, the
  /// disk is free, and the next visit is theirs; at most kGrades.
  std::size_t count() const;

  /// What was observed, on average of late; 0: nothing yet.
  double read() const { return read_.value; }
  double idle() const { return idle_.value; }

 private:
  /// The average of what was seen so far, and later of about the last fifty.
  struct Average {
    double value = 0;
    int seen = 0;
    void see(double next) {
      seen = std::min(seen + 1, 50);
      value += (next - value) / seen;
    }
  };
  // Of each grade so many wrong guesses are assumed to have been seen.
  static constexpr int kDoubt = 8;
  // What an expert displaced in vain costs, in reads; and what a read must gain to be begun, so
  // that what the estimate does not know is not paid for.
  static constexpr double kDisplaced = 0.5, kMargin = 0.1;

  std::array<Average, kGrades> right_;
  Average read_, idle_, missing_;
};

}  // namespace sluice
