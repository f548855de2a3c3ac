#include "apps/progress_line.h"

#include <fmt/format.h>
#include <spdlog/spdlog.h>
#include <unistd.h>

#include <cstdio>

#include "base/clock.h"

namespace sluice::apps {
namespace {

constexpr double kRedrawSeconds = 0.2;

}  // namespace

ProgressLine::ProgressLine()
    : visible_(::isatty(STDERR_FILENO) != 0 && spdlog::should_log(spdlog::level::info)) {}

void ProgressLine::show(std::string_view words) {
  const double now = steady_seconds();
  if (!visible_ || now - shown_ < kRedrawSeconds) return;
  shown_ = now;
  fmt::print(stderr, "\rsluice: {}\x1b[K", words);
  std::fflush(stderr);
}

void ProgressLine::clear() {
  if (shown_ > 0) fmt::print(stderr, "\r\x1b[K");
  shown_ = 0;
}

}  // namespace sluice::apps
