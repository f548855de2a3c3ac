#pragma once
// Whether it is worth while to read an expert that is only guessed. A right guess saves what of its
// read fits into the disk's idle time before the next visit; a wrong one delays the misses to come
// by the rest of its read. All that is observed, whether guesses are read or not: so reading ahead
// ends where the disk is saturated or guesses are bad, and begins again when that changes.
//
// Guesses that are read now and then, because an estimate wavers about what pays, gain nothing on
// average and by chance may cost. So guesses of a grade are read only once they surely pay, and
// then for as long as they seem to.
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

  /// The grade of an expert that will be wanted with that probability, as somebody says.
  static std::size_t grade(float probability);

  /// A guess of that grade, which was not in memory, has turned out right or wrong, read or not.
  void came(std::size_t grade, bool right);
  /// So long the disk was busy with one expert.
  void read_took(double time);
  /// Between a visit's last miss's arrival, or its begin without one, and the next visit's begin.
  void was_idle(double time);
  /// The visit that begins wants something that is neither in memory nor under way, or does not.
  /// After what `came` with it, and after how idle the disk was before it.
  void missed(bool any);

  /// Whether the read of such a guess gains more than it costs, where the disk will have nothing
  /// else to do for the time `idle`, until the guess's turn.
  bool pays(std::size_t grade, double idle) const;
  /// The one less the other.
  double gain(std::size_t grade, double idle) const {
    return gain(grade, right_[grade].value(), idle);
  }
  /// Whether it would between two visits if it were certain.
  bool pays_if_sure() const {
    return std::max(idle_[false].value(), idle_[true].value()) > kBegin * read();
  }
  /// How many guesses of one visit are worth their reads when each has the grade of its place, the
  /// disk is free, and the next visit is theirs; at most kGrades.
  std::size_t count() const;

  /// What was observed, on average of late; 0: nothing yet. The disk is idle for much longer after
  /// a visit without misses: the idle time is that of visits which missed as the last one did.
  double read() const { return read_.value(); }
  double idle() const { return idle_[missed_].value(); }

 private:
  /// Of all that was seen at first, and later of about the last kMemory.
  class Average {
   public:
    void see(double next) {
      seen_ = std::min(seen_ + 1, kMemory);
      value_ += (next - value_) / seen_;
    }
    double value() const { return value_; }
    double seen() const { return seen_; }

   private:
    double value_ = 0, seen_ = 0;
  };

  static constexpr double kMemory = 200;
  // What an expert displaced in vain costs, in reads. In virtual time it was between -0.2 (a wrong
  // guess is right later) and 0.06 with the policy paths and a cache for more than one token; and
  // with LRU, where it is as likely wanted as others, up to 0.8. This is in between.
  static constexpr double kDisplaced = 0.25;
  // What a read must gain, in reads, until guesses of its grade are read and while they are.
  static constexpr double kBegin = 0.15, kGoOn = 0.05;
  // Standard deviations by which a share may be less than it seems.
  static constexpr double kDoubt = 3;

  double surely_right(std::size_t grade) const;
  double delay(std::size_t grade, double rest) const;
  double gain(std::size_t grade, double right, double idle) const;

  std::array<Average, kGrades> right_;
  // Of the visits about which a guess of the grade was wrong, the share that missed something: more
  // than of others, for what was wanted in its place may have been nobody's guess.
  std::array<Average, kGrades> missed_when_wrong_;
  std::array<bool, kGrades> wrong_{};  // about the visit that begins
  Average read_, missing_;
  std::array<Average, 2> idle_;  // after visits without misses, and after those with
  std::array<std::array<bool, kGrades>, 2> reading_{};  // the same
  bool missed_ = true;                                  // the last visit
};

}  // namespace sluice
