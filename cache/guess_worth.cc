#include "cache/guess_worth.h"

#include <cmath>

namespace sluice {

std::size_t GuessWorth::grade(float probability) {
  constexpr float kLeast[kGrades - 1] = {0.98f, 0.95f, 0.9f, 0.8f, 0.7f, 0.5f, 0.3f};
  std::size_t grade = 0;
  while (grade < kGrades - 1 && probability < kLeast[grade]) ++grade;
  return grade;
}

void GuessWorth::came(std::size_t grade, bool right) {
  if (grade >= kGrades) return;
  right_[grade].see(right ? 1 : 0);
  wrong_[grade] |= !right;
}

void GuessWorth::read_took(double time) { read_.see(time); }

void GuessWorth::was_idle(double time) { idle_[missed_].see(std::max(0.0, time)); }

void GuessWorth::missed(bool any) {
  missed_ = any;
  missing_.see(any ? 1 : 0);
  for (std::size_t grade = 0; grade < kGrades; ++grade) {
    if (wrong_[grade]) missed_when_wrong_[grade].see(any ? 1 : 0);
    wrong_[grade] = false;
    bool& reading = reading_[any][grade];
    reading = reading ? gain(grade, idle()) > kGoOn * read()
                      : gain(grade, surely_right(grade), idle()) > kBegin * read();
  }
}

/// The share that came true, less what chance may have added to it.
double GuessWorth::surely_right(std::size_t grade) const {
  const double right = right_[grade].value(), seen = right_[grade].seen();
  if (seen == 0) return 0;
  return std::max(0.0, right - kDoubt * std::sqrt((right * (1 - right) + 1 / seen) / seen));
}

/// What of the rest of a wrong guess's read misses will wait for: those of the visit that it was
/// about or, if that misses nothing, of a later one, when less of it is left.
double GuessWorth::delay(std::size_t grade, double rest) const {
  constexpr int kVisits = 20;
  double delay = 0, until_now = 1, missing = missed_when_wrong_[grade].value();
  for (int visit = 0; visit < kVisits && rest > 0; ++visit) {
    delay += until_now * missing * rest;
    until_now *= 1 - missing;
    missing = missing_.value();
    rest -= idle_[false].value();
  }
  return delay;
}

double GuessWorth::gain(std::size_t grade, double right, double idle) const {
  const double fits = std::clamp(idle, 0.0, read()), rest = read() - fits;
  return right * fits - (1 - right) * (delay(grade, rest) + kDisplaced * read());
}

bool GuessWorth::pays(std::size_t grade, double idle) const {
  if (grade >= kGrades || !reading_[missed_][grade]) return false;
  return gain(grade, idle) > kGoOn * read();
}

std::size_t GuessWorth::count() const {
  std::size_t count = 0;
  while (count < kGrades && pays(count, idle() - static_cast<double>(count) * read())) ++count;
  return count;
}

}  // namespace sluice
