#pragma once
// Writes what a model's routers choose into a file (--trace-routing), laid out as recorded_trace.h
// says.

#include <memory>
#include <span>
#include <string>
#include <vector>

#include "apps/output_file.h"
#include "engine/model.h"
#include "formats/checksum.h"
#include "layers/routing_observer.h"

namespace sluice::apps {

/// Takes a part of a choice at a time: its memory does not grow with the run. Used by one thread.
class RoutingRecorder final : public RoutingObserver {
 public:
  /// Errors are those of OutputFile.
  static Result<std::unique_ptr<RoutingRecorder>> create(const std::string& path,
                                                         const RunFiles& files);
  /// Ends the file, if nobody did: what was recorded before an error is worth keeping.
  ~RoutingRecorder() override;

  /// From now on sees every pass of the model, which takes `top_k` experts for a row. Nothing is
  /// written before the first one: a run that is refused leaves an earlier recording.
  Status attach(Model& model, std::uint32_t top_k);
  /// Ends the file, or leaves what was there where there was no pass; the first error of all that
  /// was written. REQUIRES: no pass runs.
  Status finish();

  void begin(std::span<const Row> rows) override;
  void routed(const Routing& routing) override;

 private:
  explicit RoutingRecorder(OutputFile file);
  template <typename Number>
  void put(Number number);
  void put_sum();
  void flush();

  OutputFile file_;
  Status status_;  // of the first write that failed; nothing is recorded after it
  std::vector<std::byte> part_;
  RunningChecksum sum_;
  std::size_t summed_ = 0;            // bytes that are in it
  Model* model_ = nullptr;            // null before `attach` and after `finish`
  std::vector<std::uint16_t> turns_;  // [the model's layers]
  bool wide_ids_ = false;
  std::uint64_t passes_ = 0;
};

}  // namespace sluice::apps
