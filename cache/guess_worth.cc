#include "cache/guess_worth.h"

namespace sluice {

std::size_t GuessWorth::grade(float probability) {
  constexpr float kLeast[kGrades - 1] = {0.98f, 0.95f, 0.9f, 0.8f, 0.7f, 0.5f, 0.3f};
  std::size_t grade = 0;
  while (grade < kGrades - 1 && probability < kLeast[grade]) ++grade;
  return grade;
}

void GuessWorth::came(std::size_t grade, bool right) {
  if (grade < kGrades) right_[grade].see(right ? 1 : 0);
}

void GuessWorth::read_took(double time) { read_.see(time); }

void GuessWorth::was_idle(double time) { idle_.see(std::max(0.0, time)); }

void GuessWorth::missed(bool any) { missing_.see(any ? 1 : 0); }

bool GuessWorth::pays(std::size_t grade, double idle) const {
  if (grade >= kGrades || read_.value <= 0) return false;
  const double read = read_.value, fits = std::clamp(idle, 0.0, read), rest = read - fits;
  const double right = right_[grade].value;
  const double gain = right * fits - (1 - right) * (missing_.value * rest + kDisplaced * read);
  return gain > kMargin * read;
}

std::size_t GuessWorth::count() const {
  std::size_t count = 0;
  while (count < kGrades && pays(count, idle_.value - static_cast<double>(count) * read_.value)) {
    ++count;
  }
  return count;
}

}  // namespace sluice
