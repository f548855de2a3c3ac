#pragma once
// What a machine was found to take, kept from run to run in a small file of JSON, which several
// machines and models share.

#include <optional>
#include <string>
#include <string_view>

#include "hybrid/layer_plan.h"

namespace sluice {

/// A hint: a file that cannot be read or written, is damaged or none of these holds nothing, and
/// that is no error.
class MachineCosts {
 public:
  /// An empty path: nothing is kept.
  explicit MachineCosts(std::string path = {}) : path_(std::move(path)) {}

  /// The host's processor, as the kernel names it; empty where it does not.
  static std::string processor();

  /// None: there are no such costs, or none that could be anybody's.
  std::optional<HybridCosts> find(std::string_view key) const;
  /// Beside those of other keys. A reader sees the old file or the new one. What is there and none
  /// of these files is left as it is.
  void keep(std::string_view key, const HybridCosts& costs) const;

 private:
  std::string path_;
};

}  // namespace sluice
