#pragma once
// A line on the terminal that changes while something takes long.

#include <string_view>

namespace sluice::apps {

/// Standard error where it is a terminal, unless --quiet. One thread at a time.
class ProgressLine {
 public:
  ProgressLine();
  /// The line is empty again.
  ~ProgressLine() { clear(); }
  ProgressLine(const ProgressLine&) = delete;
  ProgressLine& operator=(const ProgressLine&) = delete;

  bool visible() const { return visible_; }
  /// Does nothing where the last words are hardly older than an eye can read.
  void show(std::string_view words);
  /// Before something else is written.
  void clear();

 private:
  const bool visible_;
  double shown_ = 0;  // when; 0: the line is empty
};

}  // namespace sluice::apps
