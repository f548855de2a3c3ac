#pragma once
// Whether it is worth while to read an expert that is only guessed. A right guess saves what of its
// read fits into the disk's idle time before the next visit; a wrong one delays that visit's misses
// by the rest of its read, and displaces an expert. All that is observed, whether guesses are read
// or not: so reading ahead ends where the disk is saturated and guesses are bad, and begins again
// when that changes.
//
// Not thread-safe. Times are in any one unit.

#include <array>
#include <cstddef>

namespace sluice {

class GuessWorth {
 public:
  /// Guesses of a visit that are told apart by their place, the best first.
  static constexpr std::size_t kPlaces = 8;

  /// The guess in that place, which was not in memory, has turned out right or wrong, read or not.
  void came(std::size_t place, bool right);
  /// So long the disk was busy with one expert.
  void read_took(double time);
  /// Between a visit's last miss's arrival, or its begin without one, and the next visit's begin.
  void was_idle(double time);
  /// The visit wanted something that was neither in memory nor under way.
  void missed(bool any);

  /// How many of the guesses, from the best on, are worth their reads; at most kPlaces.
  std::size_t count() const;

 private:
  // Of one observation in the means: they remember about fifty.
  static constexpr double kNewest = 1.0 / 50;
  // Guesses are worth nothing until so many were seen.
  static constexpr int kProbation = 50;
  // What an expert displaced in vain costs, in reads; and what a read must gain to be begun, so
  // that what the estimate does not know is not paid for.
  static constexpr double kDisplaced = 0.5, kMargin = 0.1;

  static void move(double& mean, double towards) { mean += kNewest * (towards - mean); }

  std::array<double, kPlaces> right_{};  // shares
  double read_ = 0, idle_ = 0, missing_ = 1;
  int seen_ = 0;
};

}  // namespace sluice
