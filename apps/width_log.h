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
#include <string_view>
#include <vector>

#include "apps/gzip_lines.h"
#include "apps/output_file.h"
#include "engine/model.h"
#include "engine/width_script.h"
#include "layers/routing_observer.h"

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

/// The lines of such a file. Used by one thread.
class WidthLogLines {
 public:
  struct Line {
    TokenId token = 0;
    std::string_view layers;  // each after a blank; valid until the next call
  };

  /// kNotFound, kIo and kCorrupt name the path, here and below.
  static Result<WidthLogLines> open(const std::string& path);
  /// Nothing at the end.
  Result<std::optional<Line>> next();
  /// kInvalidArgument with the path and the number of the last line.
  Status misfit(const std::string& what) const;
  std::uint64_t tokens() const { return line_ - 1; }

 private:
  WidthLogLines(std::string path, GzipLines lines)
      : path_(std::move(path)), lines_(std::move(lines)) {}

  std::string path_;
  GzipLines lines_;
  std::uint64_t line_ = 1;  // the number of the last one
};

/// --width-replay. Used by one thread.
class WidthReplay final : public WidthScript {
 public:
  /// Errors are those of WidthLogLines.
  static Result<std::unique_ptr<WidthReplay>> open(const std::string& path);

  /// From now on every pass of the model follows it. kInvalidArgument: its widths are not chosen.
  Status attach(Model& model);

  /// kInvalidArgument names the line that does not fit these rows.
  Status begin(std::span<const Row> rows) override;
  std::optional<std::uint8_t> level(std::uint32_t layer, std::size_t row,
                                    std::size_t rank) const override;

 private:
  explicit WidthReplay(WidthLogLines lines) : lines_(std::move(lines)) {}
  Status take_line(const Row& row);

  WidthLogLines lines_;
  std::size_t top_k_ = 0;
  std::vector<std::size_t> turns_;                 // [the model's layers]
  std::vector<std::uint32_t> layers_;              // [turns]
  std::vector<std::vector<std::uint8_t>> widths_;  // [turns]: of parts; empty: there is no choice
  std::vector<std::uint8_t> pass_;                 // [rows, turns, top_k]: levels, or kNone
};

/// bench --widths-like: a log of any model as a distribution, for models whose own routing weights
/// mean nothing. Tokens take the log's lines in turn, layers those of the log that lie as deep, and
/// ranks, of which the model may have another number, those that stand as high, drawn where they
/// fall between two. So each width is as frequent as in the log. Used by one thread.
class WidthMixture final : public WidthScript {
 public:
  /// Errors are those of WidthLogLines; kInvalidArgument where the log's lines differ or leave
  /// experts out.
  static Result<std::unique_ptr<WidthMixture>> read(const std::string& path);

  /// From now on every pass of the model, whose tokens take `top_k` experts, follows it.
  /// kInvalidArgument as WidthReplay.
  Status attach(Model& model, std::size_t top_k);

  Status begin(std::span<const Row> rows) override;
  std::optional<std::uint8_t> level(std::uint32_t layer, std::size_t row,
                                    std::size_t rank) const override;

 private:
  explicit WidthMixture(std::string path) : path_(std::move(path)) {}

  const std::string path_;
  std::size_t log_layers_ = 0, log_ranks_ = 0;
  std::string log_;                                // [tokens, log_layers, log_ranks]
  std::size_t top_k_ = 0, first_ = 0, next_ = 0;   // rows before this pass, and before the next
  std::vector<std::size_t> turns_;                 // [the model's layers]
  std::vector<std::vector<std::uint8_t>> widths_;  // [turns]: of parts; empty: there is no choice
};

}  // namespace sluice::apps
