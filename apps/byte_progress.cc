#include "apps/byte_progress.h"

#include <fmt/format.h>
#include <spdlog/spdlog.h>

#include <cmath>

#include "base/clock.h"
#include "base/size.h"

namespace sluice::apps {
namespace {

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
      started_(steady_seconds()),
      tenths_(total == 0 ? 0 : 10 * done / total) {}

void ByteProgress::update(std::uint64_t done) {
  const std::string words = progress_words(done, total_, first_, steady_seconds() - started_);
  if (line_.visible()) {
    line_.show(words);
  } else if (const std::uint64_t tenths = total_ == 0 ? 10 : 10 * done / total_; tenths > tenths_) {
    tenths_ = tenths;
    spdlog::info("{}", words);
  }
}

}  // namespace sluice::apps
