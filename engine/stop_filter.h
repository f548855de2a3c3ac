#pragma once

#include <algorithm>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace sluice {

/// Holds text back as long as it may be the beginning of a stop string.
class StopFilter {
 public:
  explicit StopFilter(std::vector<std::string> stops) : stops_(std::move(stops)) {}

  /// The text that may be shown; `stopped()` is true when a stop string was met, and what precedes
  /// it is the last.
  std::string push(std::string_view text) {
    pending_ += text;
    std::size_t cut = std::string::npos;
    for (const std::string& stop : stops_)
      cut = std::min(cut, stop.empty() ? std::string::npos : pending_.find(stop));
    stopped_ = cut != std::string::npos;
    if (!stopped_) cut = pending_.size() - held();
    std::string shown = pending_.substr(0, cut);
    pending_.erase(0, cut);
    return shown;
  }
  std::string finish() { return stopped_ ? std::string() : std::exchange(pending_, {}); }
  bool stopped() const { return stopped_; }

 private:
  /// Length of the longest end of the pending text that begins a stop string.
  std::size_t held() const {
    std::size_t longest = 0;
    for (const std::string& stop : stops_) {
      for (std::size_t n = std::min(stop.size(), pending_.size()); n > longest; --n) {
        if (pending_.compare(pending_.size() - n, n, stop, 0, n) == 0) longest = n;
      }
    }
    return longest;
  }

  std::vector<std::string> stops_;
  std::string pending_;
  bool stopped_ = false;
};

}  // namespace sluice
