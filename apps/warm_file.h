#pragma once
// Where a model's hot set lies between two runs, and when it is read and written.

#include <CLI/CLI.hpp>
#include <cstdint>
#include <string>

#include "engine/model.h"

namespace sluice::apps {

/// A hint: nothing that goes wrong with it ends a run.
class WarmFile {
 public:
  /// --warm FILE|auto|off, or SLUICE_WARM.
  static void add_to(CLI::App& app, std::string& option);
  /// "auto" is beside the model where files can be written there, else in the user's cache folder.
  WarmFile(const std::string& option, const std::string& model, const Checkpoint& checkpoint);

  /// Empty: none is kept.
  const std::string& path() const { return path_; }
  std::uint64_t fingerprint() const { return fingerprint_; }
  /// Lets the model begin with what the file holds. What is wrong with the file is warned of.
  void read_into(Model& model);
  /// Keeps what the model has in memory. With --stats: says how that went.
  void write(const Model& model, bool stats) const;

 private:
  bool off_ = false;
  bool chosen_ = false;  // the path was given
  std::string path_;
  std::uint64_t fingerprint_ = 0;
  std::size_t earlier_ = 0;  // experts that the file named
  bool first_ = true;        // there was no file
};

}  // namespace sluice::apps
