#include "devices/hybrid_calibration.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <optional>
#include <span>
#include <utility>
#include <vector>

#include "devices/made_up_experts.h"

namespace sluice {
namespace {

constexpr std::size_t kLeastTimes = 3, kMostTimes = 15;
constexpr double kEnough = 20e-3;  // seconds of one kind of measurement, beyond the least times
constexpr double kWarmUp = 50e-3;  // until a device that slept has its clocks, at most
constexpr std::size_t kMostWarmUps = 100;
constexpr std::size_t kAtOnce = 8;  // experts of a call, at most: those of a token
constexpr std::size_t kMostUploads = 64, kMostBatches = 64;
constexpr double kBatchesBeside = 2;  // of the CPU's work, while uploads are under way
constexpr std::uint64_t kSmallCopy = 4096;
/// What is measured is taken for a hiccup beyond these.
constexpr double kMostStart = 2e-3, kMostCpuStart = 50e-6, kLeastByte = 1e-13, kMostByte = 1e-4,
                 kLeastShare = 0.2;

double middle(std::vector<double> times) {
  const auto half = times.begin() + static_cast<std::ptrdiff_t>(times.size() / 2);
  std::ranges::nth_element(times, half);
  return *half;
}

std::uint32_t rows_at(std::size_t knot) { return 1u << knot; }

/// Through seconds a byte at the first knots, and beyond them as a roofline goes on: it grows by
/// what it grew by last, or, where that was waiting for memory, as the usual curve does.
CostCurve curve_through(std::span<const double> measured, const CostCurve& usual) {
  if (measured.empty()) return usual;
  std::array<double, CostCurve::kKnots> knots{};
  const std::size_t known = measured.size();
  for (std::size_t knot = 0; knot < known; ++knot) {
    knots[knot] = std::clamp(measured[knot], kLeastByte, kMostByte);
  }
  // Somebody else's work only adds to what is measured: twice the rows take no less, and no more
  // than twice as long.
  for (std::size_t knot = known - 1; knot > 0; --knot) {
    knots[knot - 1] = std::min(knots[knot - 1], knots[knot]);
  }
  for (std::size_t knot = 1; knot < known; ++knot) {
    knots[knot] = std::min(knots[knot], 2 * knots[knot - 1]);
  }
  const double last_growth = known > 1 ? knots[known - 1] / knots[known - 2] : 1;
  for (std::size_t knot = known; knot < CostCurve::kKnots; ++knot) {
    const double growth = usual.seconds(1, rows_at(knot)) / usual.seconds(1, rows_at(knot - 1));
    knots[knot] = knots[knot - 1] * std::max(last_growth, std::min(growth, 2.0));
  }
  return CostCurve(knots);
}

class Calibration {
 public:
  Calibration(DeviceBackend& device, Compute& compute, MadeUpExperts experts,
              const CalibrationShape& shape, const CalibrationOptions& options, double begun)
      : device_(device),
        compute_(compute),
        experts_(std::move(experts)),
        most_rows_(std::min(shape.rows, experts_.rows())),
        at_once_(std::min(kAtOnce, experts_.experts())),
        clock_(options.clock),
        deadline_(begun + options.seconds),
        usual_(options.usual),
        costs_(options.usual) {}

  /// What plans depend on most comes first.
  Result<HybridCosts> run() {
    SLUICE_ASSIGN(compute_stream_, device_.make_stream());
    SLUICE_ASSIGN(copy_stream_, device_.make_stream());
    SLUICE_TRY(warm_up());
    SLUICE_TRY(measure_link());
    SLUICE_TRY(measure_knot_of_gpu(0));
    SLUICE_TRY(measure_first_knot_of_cpu());
    SLUICE_TRY(measure_together());
    SLUICE_TRY(measure_start_of_gpu());
    SLUICE_TRY(measure_more_rows());
    costs_.cpu = curve_through(cpu_knots_, usual_.cpu);
    costs_.gpu = curve_through(gpu_knots_, usual_.gpu);
    return costs_;
  }

 private:
  /// None: the time is up, or would be. `measure` gives a Result of seconds.
  template <typename Measure>
  Result<std::optional<double>> median(double expected, Measure measure) {
    std::vector<double> times;
    if (clock_() + (kLeastTimes + 1) * expected > deadline_) return std::optional<double>();
    SLUICE_TRY(measure().status());  // the first is slow
    double spent = 0;
    while (times.size() < kMostTimes && clock_() < deadline_ &&
           (times.size() < kLeastTimes || spent < kEnough)) {
      SLUICE_ASSIGN(const double took, measure());
      times.push_back(took);
      spent += took;
    }
    if (times.size() < kLeastTimes) return std::optional<double>();
    return std::optional<double>(middle(std::move(times)));
  }

  Result<double> cpu(std::size_t experts, std::uint32_t rows) {
    const auto tasks = experts_.on_host(experts, rows);
    const double begun = clock_();
    compute_.ffn(tasks);
    return clock_() - begun;
  }

  /// As the device's events tell.
  Result<double> gpu(std::size_t experts, std::uint32_t rows) {
    SLUICE_ASSIGN(const DeviceEvent begun, device_.record(compute_stream_));
    device_.operations(compute_stream_).ffn(experts_.on_device(experts, rows));
    SLUICE_ASSIGN(const DeviceEvent over, device_.record(compute_stream_));
    SLUICE_TRY(device_.finish(over));
    return device_.seconds_between(begun, over);
  }

  struct Copies {
    DeviceEvent begun, over;
  };
  Result<Copies> begin_link(std::size_t uploads, std::uint64_t bytes) {
    Copies copies;
    SLUICE_ASSIGN(copies.begun, device_.record(copy_stream_));
    for (std::size_t i = 0; i < uploads; ++i) SLUICE_TRY(experts_.upload(copy_stream_, bytes));
    SLUICE_ASSIGN(copies.over, device_.record(copy_stream_));
    return copies;
  }
  Result<double> end_link(const Copies& copies) {
    SLUICE_TRY(device_.finish(copies.over));
    return device_.seconds_between(copies.begun, copies.over);
  }
  Result<double> stage() {
    const double begun = clock_();
    experts_.stage(compute_);
    return clock_() - begun;
  }
  Result<double> link(std::size_t uploads, std::uint64_t bytes) {
    SLUICE_ASSIGN(const Copies copies, begin_link(uploads, bytes));
    return end_link(copies);
  }

  /// While the CPU works without a pause; `batches` gets what those of its calls took that were
  /// over before the uploads were.
  Result<double> link_beside_cpu(std::size_t uploads, std::vector<double>& batches) {
    SLUICE_ASSIGN(const Copies copies, begin_link(uploads, experts_.bytes()));
    for (std::size_t i = 0; i < kMostBatches && clock_() < deadline_; ++i) {
      SLUICE_ASSIGN(const double took, cpu(at_once_, 1));
      SLUICE_ASSIGN(const bool over, device_.done(copies.over));
      if (over) break;
      batches.push_back(took);
    }
    return end_link(copies);
  }

  /// Of a row, without what is computed there.
  Result<double> round_trip() {
    const double sent = clock_();
    SLUICE_TRY(experts_.send_row(compute_stream_));
    SLUICE_ASSIGN(const DeviceEvent begun, device_.record(compute_stream_));
    device_.operations(compute_stream_).ffn(experts_.on_device(1, 1));
    SLUICE_ASSIGN(const DeviceEvent computed, device_.record(compute_stream_));
    SLUICE_TRY(experts_.fetch_row(compute_stream_));
    SLUICE_ASSIGN(const DeviceEvent over, device_.record(compute_stream_));
    SLUICE_TRY(device_.finish(over));
    const double all = clock_() - sent;
    SLUICE_ASSIGN(const double own, device_.seconds_between(begun, computed));
    return all - own;
  }

  Status warm_up() {
    const double until = std::min(clock_() + kWarmUp, deadline_);
    for (std::size_t i = 0; i < kMostWarmUps && clock_() < until; ++i) {
      SLUICE_TRY(gpu(at_once_, 1).status());
      SLUICE_TRY(link(1, experts_.bytes()).status());
    }
    return {};
  }

  Status measure_link() {
    const std::uint64_t few = std::min(kSmallCopy, experts_.bytes() / 2), all = experts_.bytes();
    SLUICE_ASSIGN(const auto small,
                  median(usual_.upload_seconds(few), [&] { return link(1, few); }));
    SLUICE_ASSIGN(const auto large,
                  median(usual_.upload_seconds(all), [&] { return link(1, all); }));
    SLUICE_ASSIGN(const auto staged, median(usual_.staging_seconds(all), [&] { return stage(); }));
    if (staged) {
      costs_.staging_byte = std::clamp(*staged / static_cast<double>(all), kLeastByte, kMostByte);
    }
    if (!small || !large) return {};
    costs_.upload_byte =
        std::clamp((*large - *small) / static_cast<double>(all - few), kLeastByte, kMostByte);
    costs_.upload_start =
        std::clamp(*small - static_cast<double>(few) * costs_.upload_byte, 0.0, kMostStart);
    return {};
  }

  /// And what a call takes besides, from calls of one expert and of several.
  Status measure_first_knot_of_cpu() {
    const double usual = usual_.cpu.seconds(experts_.bytes(), 1);
    SLUICE_ASSIGN(const auto one, median(usual, [&] { return cpu(1, 1); }));
    SLUICE_ASSIGN(const auto more,
                  median(usual * static_cast<double>(at_once_), [&] { return cpu(at_once_, 1); }));
    if (!one || !more) return {};
    const double each = (*more - *one) / static_cast<double>(at_once_ - 1);
    costs_.cpu_start = std::clamp(*one - each, 0.0, std::min(kMostCpuStart, *one / 2));
    cpu_seconds_ = *more;
    cpu_knots_.push_back((*more - costs_.cpu_start) /
                         static_cast<double>(experts_.bytes() * at_once_));
    return {};
  }

  /// Uploads are under way for as long as the CPU takes for a few layers, and it works until they
  /// are over.
  Status measure_together() {
    if (!(cpu_seconds_ > 0)) return {};
    const double each = costs_.upload_seconds(experts_.bytes());
    const auto uploads = static_cast<std::size_t>(std::clamp(
        std::ceil(kBatchesBeside * cpu_seconds_ / each), 1.0, static_cast<double>(kMostUploads)));
    const double expected = each * static_cast<double>(uploads);
    SLUICE_ASSIGN(const auto alone,
                  median(expected, [&] { return link(uploads, experts_.bytes()); }));
    std::vector<double> beside;
    SLUICE_ASSIGN(const auto busy,
                  median(2 * expected, [&] { return link_beside_cpu(uploads, beside); }));
    if (alone && busy && *busy > 0) {
      costs_.upload_beside_cpu = std::clamp(*alone / *busy, kLeastShare, 1.0);
    }
    if (beside.size() >= kLeastTimes) {
      costs_.cpu_beside_upload =
          std::clamp(cpu_seconds_ / middle(std::move(beside)), kLeastShare, 1.0);
    }
    return {};
  }

  /// All that a layer waits for but the computing itself.
  Status measure_start_of_gpu() {
    const double usual = usual_.gpu_start + usual_.gpu.seconds(experts_.bytes(), 1);
    SLUICE_ASSIGN(const auto start, median(usual, [this] { return round_trip(); }));
    if (start) costs_.gpu_start = std::clamp(*start, 0.0, kMostStart);
    return {};
  }

  /// Both curves, knot by knot, until the time is up.
  Status measure_more_rows() {
    for (std::size_t knot = 1; knot < CostCurve::kKnots && rows_at(knot) <= most_rows_; ++knot) {
      SLUICE_TRY(measure_knot_of_gpu(knot));
      SLUICE_TRY(measure_knot(cpu_knots_, knot, usual_.cpu, costs_.cpu_start,
                              [this](auto... what) { return cpu(what...); }));
    }
    return {};
  }

  Status measure_knot_of_gpu(std::size_t knot) {
    return measure_knot(gpu_knots_, knot, usual_.gpu, /*start=*/0,
                        [this](auto... what) { return gpu(what...); });
  }

  /// Nothing where the one before is missing, too. `start`: once in a call.
  template <typename Measure>
  Status measure_knot(std::vector<double>& knots, std::size_t knot, const CostCurve& usual,
                      double start, Measure measure) {
    if (knots.size() < knot) return {};
    const std::uint32_t rows = rows_at(knot);
    const std::size_t experts =
        std::clamp<std::size_t>(MadeUpExperts::kLeastRows / rows, 1, at_once_);
    const auto bytes = static_cast<double>(experts_.bytes() * experts);
    const double expected = bytes * (knot == 0 ? usual.seconds(1, 1) : 2 * knots.back());
    SLUICE_ASSIGN(const auto took, median(expected, [&] { return measure(experts, rows); }));
    if (took) knots.push_back((*took - start) / bytes);
    return {};
  }

  DeviceBackend& device_;
  Compute& compute_;
  MadeUpExperts experts_;
  const std::uint32_t most_rows_;
  const std::size_t at_once_;
  const Clock clock_;
  const double deadline_;
  const HybridCosts usual_;
  HybridCosts costs_;
  std::vector<double> cpu_knots_, gpu_knots_;  // seconds a byte, as far as they are known
  double cpu_seconds_ = 0;                     // of at_once_ experts; 0: not known
  StreamIndex compute_stream_ = 0, copy_stream_ = 0;
};

}  // namespace

Result<HybridCosts> calibrate(DeviceBackend& device, Compute& compute,
                              const CalibrationShape& shape, const CalibrationOptions& options) {
  const double begun = options.clock();
  SLUICE_ASSIGN(MadeUpExperts experts,
                MadeUpExperts::make(shape.model, shape.layer, device, compute,
                                    {.host_bytes = options.host_bytes,
                                     .device_bytes = options.device_bytes,
                                     .experts = shape.experts,
                                     .rows = shape.rows,
                                     .eight_bit = shape.eight_bit}));
  return Calibration(device, compute, std::move(experts), shape, options, begun).run();
}

}  // namespace sluice
