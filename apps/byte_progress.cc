#include "apps/byte_progress.h"

#include <fmt/format.h>
#include <spdlog/spdlog.h>
#include <unistd.h>

#include <cmath>
#include <cstdio>

#include "base/size.h"

namespace sluice::apps {
namespace {

constexpr double kRedrawSeconds = 0.2;

std::string clock_words(double seconds) {
  const auto whole = static_cast<std::uint64_t>(std::ceil(seconds));
  if (whole < 3600) return fmt::format("{}:{:02}", whole / 60, whole % 60);
  return fmt::format("{}:{:02}:{:02}", whole / 3600, whole / 60 % 60, whole % 60);
}

}  // namespace

std::string progress_words(std::uint64_t done, std::uint64_t total, std::uint64_t first,
                           double seconds) {
  const double share = total == 0 ? 1 : static_cast<double>(done) / static_cast<double>(total);
  std::string words = fmt::format("{:.0f} % ({} of {})", std::floor(100 * share), format_size(done),
                                  format_size(total));
  if (done > first && done < total && seconds > 0) {
    const double left = static_cast<double>(total - done) / static_cast<double>(done - first);
    words += fmt::format(", {} left", clock_words(left * seconds));
  }
  return words;
}

ByteProgress::ByteProgress(std::uint64_t total, std::uint64_t done)
    : total_(total),
      first_(done),
      terminal_(::isatty(STDERR_FILENO) != 0),
      wanted_(spdlog::should_log(spdlog::level::info)),
      started_(steady_seconds()),
      tenths_(total == 0 ? 0 : 10 * done / total) {}

ByteProgress::~ByteProgress() {
  if (shown_ > 0) fmt::print(stderr, "\r\x1b[K");
}

void ByteProgress::update(std::uint64_t done) {
  if (!wanted_) return;
  const double now = steady_seconds();
  const std::string words = progress_words(done, total_, first_, now - started_);
  if (terminal_) {
    if (now - shown_ < kRedrawSeconds) return;
    shown_ = now;
    fmt::print(stderr, "\rsluice: {}\x1b[K", words);
    std::fflush(stderr);
  } else if (const std::uint64_t tenths = total_ == 0 ? 10 : 10 * done / total_; tenths > tenths_) {
    tenths_ = tenths;
    spdlog::info("{}", words);
  }
}

}  // namespace sluice::apps
