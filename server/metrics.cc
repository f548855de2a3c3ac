#include "server/metrics.h"

#include <prometheus/histogram.h>
#include <prometheus/registry.h>
#include <prometheus/text_serializer.h>

#include <vector>

#include "base/system_memory.h"

namespace sluice::server {
namespace {

using prometheus::Histogram;
using prometheus::MetricFamily;
using prometheus::MetricType;

MetricFamily single(const char* name, const char* help, MetricType type, double value) {
  MetricFamily family;
  family.name = name;
  family.help = help;
  family.type = type;
  prometheus::ClientMetric metric;
  if (type == MetricType::Counter) {
    metric.counter.value = value;
  } else {
    metric.gauge.value = value;
  }
  family.metric.push_back(metric);
  return family;
}

}  // namespace

struct Metrics::Histograms {
  Histograms()
      : first_token(
            add("sluice_first_token_seconds", "From a request's arrival to its first token")),
        between_tokens(add("sluice_between_tokens_seconds",
                           "Mean time between a request's tokens after the first")),
        queued(add("sluice_queued_seconds", "From a request's arrival to its first step")),
        whole(add("sluice_request_seconds", "From a request's arrival to its end")) {}

  Histogram& add(const char* name, const char* help) {
    return prometheus::BuildHistogram().Name(name).Help(help).Register(registry).Add(
        {}, Histogram::BucketBoundaries{0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1,
                                        2.5, 5, 10, 25, 50, 100, 250});
  }

  prometheus::Registry registry;
  Histogram &first_token, &between_tokens, &queued, &whole;
};

Metrics::Metrics() : histograms_(std::make_unique<Histograms>()) {}
Metrics::~Metrics() = default;

void Metrics::observe(const Outcome& outcome) {
  Histograms& all = *histograms_;
  all.queued.Observe(outcome.queued_seconds);
  all.whole.Observe(outcome.seconds);
  if (outcome.tokens > 0) all.first_token.Observe(outcome.first_token_seconds);
  if (outcome.tokens > 1) {
    all.between_tokens.Observe((outcome.seconds - outcome.first_token_seconds) /
                               static_cast<double>(outcome.tokens - 1));
  }
}

std::string Metrics::text(const Batcher& batcher, std::size_t connections) const {
  const BatcherStatistics requests = batcher.statistics();
  const ModelStatistics model = batcher.model().statistics();
  std::vector<MetricFamily> all = histograms_->registry.Collect();
  const auto counter = [&](const char* name, const char* help, std::uint64_t value) {
    all.push_back(single(name, help, MetricType::Counter, static_cast<double>(value)));
  };
  const auto gauge = [&](const char* name, const char* help, std::uint64_t value) {
    all.push_back(single(name, help, MetricType::Gauge, static_cast<double>(value)));
  };
  counter("sluice_requests_total", "Answers that were asked for", requests.submitted);
  counter("sluice_requests_finished_total", "Answers that ended", requests.finished);
  counter("sluice_requests_refused_total", "Refused: queue full, or cannot be", requests.refused);
  counter("sluice_requests_cancelled_total", "Clients left", requests.cancelled);
  counter("sluice_requests_failed_total", "Answers that an error ended", requests.failed);
  counter("sluice_prompt_tokens_total", "Tokens of prompts", requests.prompt_tokens);
  counter("sluice_prompt_tokens_reused_total", "Of these, those that an earlier request had left",
          requests.reused_tokens);
  counter("sluice_tokens_total", "Tokens written", requests.tokens);
  counter("sluice_steps_total", "Steps of the batch", requests.steps);
  counter("sluice_step_rows_total", "Tokens computed in them", requests.rows);
  gauge("sluice_requests_waiting", "Answers that wait for their turn", requests.waiting);
  gauge("sluice_requests_running", "Answers that are being computed", requests.running);
  gauge("sluice_connections", "Clients that are connected", connections);
  counter("sluice_expert_requests_total", "Experts that layers wanted", model.experts.requests);
  counter("sluice_expert_hits_total", "Of these, those that were in memory", model.experts.hits);
  counter("sluice_expert_loads_total", "Experts read from the disk", model.experts.loads);
  counter("sluice_expert_bytes_read_total", "Bytes of these", model.experts.bytes_read);
  counter("sluice_gpu_experts_total", "Experts that a GPU computed rows of", model.on_device);
  all.push_back(single("sluice_expert_wait_seconds_total", "That steps waited for the disk",
                       MetricType::Counter,
                       static_cast<double>(model.experts.wait_nanoseconds) * 1e-9));
  gauge("sluice_expert_cache_bytes", "Memory for experts", batcher.model().plan().cache);
  if (const auto memory = process_memory(); memory.ok()) {
    gauge("sluice_resident_bytes", "Of the process, as the system counts them", memory->resident);
  }
  return prometheus::TextSerializer().Serialize(all);
}

}  // namespace sluice::server
