#pragma once
// How many bits of its experts each token was multiplied by, as a file that a later run can follow:
//
//     sluice widths 1
//     <token> <layer> <layer> ...       for each token that was computed, in that order
//
// with, of each layer of experts, a character for each expert of the token, best first: its bits,
// `e` where the layer has no planes to choose from, or `-` where --skip left it out.

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "apps/gzip_lines.h"
#include "apps/output_file.h"
#include "engine/model.h"
#include "engine/routing_observer.h"
#include "engine/width_script.h"

namespace sluice::apps {

/// Bytes that either of those below keeps of a pass of so many rows.
std::uint64_t width_log_bytes(const ModelOutline& model, std::size_t rows);

/// --width-log. A pass that fails leaves nothing in it, nor does one that --width auto does not
/// choose for, but takes all bits. Used by one thread.
class WidthRecorder final : public RoutingObserver {
 public:
  /// Errors are those of OutputFile.
  static Result<std::unique_ptr<WidthRecorder>> create(const std::string& path,
                                                       const RunFiles& files);
  /// Ends the file, if nobody did.
  ~WidthRecorder() override;

  /// From now on sees every pass of the model. kUnsupported: lines would be longer than WidthReplay
  /// reads.
  Status attach(Model& model);
  /// Ends the file, or leaves what was there where there was no pass; the first error of all that
  /// was written. REQUIRES: no pass runs.
  Status finish();

  void begin(std::span<const Row> rows) override;
  void routed(const Routing&) override {}
  void narrowed(const TakenWidths& taken) override;

 private:
  explicit WidthRecorder(OutputFile file) : file_(std::move(file)) {}
  void write_pass();

  OutputFile file_;
  Status status_;           // of the first write that failed; nothing is recorded after it
  Model* model_ = nullptr;  // null before `attach` and after `finish`
  std::size_t top_k_ = 0;
  std::vector<std::size_t> turns_;  // [the model's layers]
  std::string usual_;               // [turns]: what stands for all bits that the catalogue has …
  std::vector<bool> chooses_;       // … where there are not several widths to choose from
  std::vector<TokenId> tokens_;     // [rows]
  std::size_t turns_seen_ = 0;      // of this pass that belong into the log
  std::string pass_;                // [rows, turns, top_k]
  std::string line_;
  bool begun_ = false;
};

/// --width-replay. Used by one thread.
class WidthReplay final : public WidthScript {
 public:
  /// kInvalidArgument says what does not fit; kNotFound, kIo and kCorrupt name the path, too.
  static Result<std::unique_ptr<WidthReplay>> open(const std::string& path);

  /// From now on every pass of the model follows it. kInvalidArgument: its widths are not chosen.
  Status attach(Model& model);

  /// kInvalidArgument names the line that does not fit these rows.
  Status begin(std::span<const Row> rows) override;
  std::optional<std::uint8_t> level(std::uint32_t layer, std::size_t row,
                                    std::size_t rank) const override;

 private:
  WidthReplay(std::string path, GzipLines lines)
      : path_(std::move(path)), lines_(std::move(lines)) {}
  Status take_line(const Row& row);
  Status misfit(const std::string& what) const;

  const std::string path_;
  GzipLines lines_;
  std::uint64_t line_ = 0;  // the number of the last one
  std::size_t top_k_ = 0;
  std::vector<std::size_t> turns_;                 // [the model's layers]
  std::vector<std::uint32_t> layers_;              // [turns]
  std::vector<std::vector<std::uint8_t>> widths_;  // [turns]: of parts; empty: there is no choice
  std::vector<std::uint8_t> pass_;                 // [rows, turns, top_k]: levels, or kNone
};

}  // namespace sluice::apps
