#include "apps/routing_recorder.h"

#include <spdlog/spdlog.h>

#include <bit>
#include <cmath>
#include <cstring>
#include <utility>

#include "apps/recorded_trace.h"
#include "cache/routing_trace.h"

namespace sluice::apps {
namespace {

static_assert(std::endian::native == std::endian::little, "numbers are written as they lie");

constexpr std::size_t kPart = std::size_t{64} << 10;  // bytes that are written at a time

/// Every row has a sequence of its own, and something before it.
bool is_decode(std::span<const Row> rows) {
  for (std::size_t i = 0; i < rows.size(); ++i) {
    if (rows[i].position == 0) return false;
    if (i > 0 && rows[i].sequence == rows[i - 1].sequence) return false;
  }
  return true;
}

}  // namespace

RoutingRecorder::RoutingRecorder(OutputFile file) : file_(std::move(file)) { part_.reserve(kPart); }

Result<std::unique_ptr<RoutingRecorder>> RoutingRecorder::create(const std::string& path,
                                                                 const RunFiles& files) {
  SLUICE_ASSIGN(OutputFile file, OutputFile::create(path, files));
  return std::unique_ptr<RoutingRecorder>(new RoutingRecorder(std::move(file)));
}

RoutingRecorder::~RoutingRecorder() {
  const Status status = finish();
  if (!status.ok()) spdlog::error("{}", status.message());
}

Status RoutingRecorder::attach(Model& model, std::uint32_t top_k) {
  const std::vector<ExpertLayer>& layers = model.catalogue().layers();
  model_ = &model;
  turns_.assign(model.description().layers.size(), 0);
  wide_ids_ = model.catalogue().widest_layer() > 256;
  for (const char byte : kTraceMagic) put(byte);
  put(kTraceVersion);
  put(static_cast<std::uint32_t>(layers.size()));
  put(top_k);
  put(std::uint32_t{wide_ids_ ? 2u : 1u});
  for (std::size_t turn = 0; turn < layers.size(); ++turn) {
    const ExpertLayer& layer = layers[turn];
    turns_[layer.layer] = static_cast<std::uint16_t>(turn);
    put(layer.layer);
    put(layer.experts);
    put(layer.total_bytes() / layer.experts);
    for (std::uint32_t expert = 0; expert < layer.experts; ++expert) {
      put(std::uint64_t{model.slot_bytes({layer.layer, expert})});
    }
  }
  put_sum();
  model.observe_routing(*this);
  return status_;
}

void RoutingRecorder::begin(std::span<const Row> rows) {
  if (summed_ >= kSummedBytes) {
    put(kSumMark);
    put_sum();
  }
  if (passes_ == 0) flush();  // so that a run that is killed leaves no riddle
  passes_ += 1;
  put(kPassMark);
  put(static_cast<std::uint32_t>(rows.size()));
  put(std::uint8_t{is_decode(rows)});
  for (const Row& row : rows) {
    put(static_cast<std::uint32_t>(row.token));
    put(row.position);
  }
}

void RoutingRecorder::routed(const Routing& routing) {
  const std::size_t count = routing.rows * routing.top_k;
  put(turns_[routing.layer]);
  for (std::size_t i = 0; i < count; ++i) {
    if (wide_ids_) {
      put(static_cast<std::uint16_t>(routing.ids[i]));
    } else {
      put(static_cast<std::uint8_t>(routing.ids[i]));
    }
  }
  for (std::size_t row = 0; row < routing.rows; ++row) {
    const std::span weights(routing.weights + row * routing.top_k, routing.top_k);
    const float sum = weight_sum(weights);
    for (const float weight : weights) put(share_code(std::fabs(weight) / sum));
  }
}

template <typename Number>
void RoutingRecorder::put(Number number) {
  if (passes_ > 0 && part_.size() + sizeof number > kPart) flush();
  part_.resize(part_.size() + sizeof number);
  std::memcpy(part_.data() + part_.size() - sizeof number, &number, sizeof number);
  sum_.add(std::span(part_).last(sizeof number));
  summed_ += sizeof number;
}

void RoutingRecorder::put_sum() {
  put(sum_.value());
  sum_.restart();
  summed_ = 0;
}

void RoutingRecorder::flush() {
  if (status_.ok()) status_ = file_.write(std::span<const std::byte>(part_));
  if (status_.ok()) status_ = file_.flush();
  part_.clear();
}

Status RoutingRecorder::finish() {
  if (model_ == nullptr) return {};
  std::exchange(model_, nullptr)->ignore_routing(*this);
  if (passes_ == 0) return {};  // what the file had is worth more
  put(kEndMark);
  put(passes_);
  put_sum();
  flush();
  if (status_.ok()) status_ = file_.close();
  return status_;
}

}  // namespace sluice::apps
