#pragma once
// What a server's operator watches, in Prometheus' text format.

#include <memory>
#include <string>

#include "serving/batcher.h"

namespace sluice::server {

/// Thread-safe.
class Metrics {
 public:
  Metrics();
  ~Metrics();
  /// Of a request that has ended.
  void observe(const Outcome& outcome);
  /// `connections`: that are open.
  std::string text(const Batcher& batcher, std::size_t connections) const;

 private:
  struct Histograms;
  std::unique_ptr<Histograms> histograms_;
};

}  // namespace sluice::server
