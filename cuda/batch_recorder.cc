#include "cuda/batch_recorder.h"

#include <algorithm>
#include <utility>

#include "cuda/cuda_device.h"
#include "cuda/cuda_operations.h"

namespace sluice::cuda {

BatchStatistics& BatchStatistics::operator+=(const BatchStatistics& more) {
  recordings += more.recordings;
  graphs += more.graphs;
  device_bytes += more.device_bytes;
  launches += more.launches;
  pieces += more.pieces;
  if (why_not.empty()) why_not = more.why_not;
  return *this;
}

BatchRecorder::Recording::~Recording() {
  if (graph != nullptr) static_cast<void>(cudaGraphExecDestroy(graph));
}

BatchRecorder::~BatchRecorder() = default;

cudaStream_t BatchRecorder::stream() const { return device_.streams_[stream_]; }

void BatchRecorder::begin(std::uint64_t key) {
  if (!statistics_.why_not.empty()) return;
  open_ = true;
  key_ = key;
  signature_.clear();
  changing_.clear();
  pieces_.clear();
  fitting_ = nullptr;
  fitting_pieces_ = compared_ = 0;
  uploaded_before_ = device_.ring_.uploaded();
  find_fitting(/*whole=*/false);
}

bool BatchRecorder::begins_with_signature(const Recording& recording) const {
  const auto now = signature_.bytes();
  return recording.key == key_ && recording.signature.size() >= now.size() &&
         std::equal(now.begin(), now.end(), recording.signature.begin());
}

/// Of those that fit, the one that was used last.
bool BatchRecorder::find_fitting(bool whole) {
  Recording* found = nullptr;
  for (const auto& recording : recordings_) {
    if (!begins_with_signature(*recording)) continue;
    if (whole && recording->signature.size() != signature_.bytes().size()) continue;
    if (found == nullptr || recording->used > found->used) found = recording.get();
  }
  if (found != nullptr) fitting_ = found;
  return found != nullptr;
}

bool BatchRecorder::still_fits() {
  if (fitting_ == nullptr) return false;
  const auto now = signature_.bytes();
  const auto& then = fitting_->signature;
  const auto from = static_cast<std::ptrdiff_t>(compared_);
  const bool same =
      then.size() >= now.size() && std::equal(now.begin() + from, now.end(), then.begin() + from);
  compared_ = now.size();
  return same || find_fitting(/*whole=*/false);
}

/// From now on the batch is given at once.
void BatchRecorder::give_what_fitted() {
  if (fitting_ == nullptr) return;
  const auto end = fitting_->pieces.begin() + static_cast<std::ptrdiff_t>(fitting_pieces_);
  pieces_.assign(fitting_->pieces.begin(), end);
  fitting_ = nullptr;
  for (const Give& piece : pieces_) give(piece);
}

void BatchRecorder::give(const Give& piece) {
  ++statistics_.pieces;
  piece(launches_, changing_.data());
}

Status BatchRecorder::end() {
  if (!open_) return {};
  ++batches_;
  const bool fits =
      fitting_ != nullptr &&
      (fitting_->signature.size() == signature_.bytes().size() || find_fitting(/*whole=*/true));
  if (!fits) give_what_fitted();
  open_ = false;
  // After an error nothing is given, and the next record tells of it.
  if (!launches_.ok() || signature_.bytes().empty()) return {};
  if (fits) return launch(*fitting_);
  keep();
  return {};
}

/// For one more of the key.
void BatchRecorder::make_room() {
  const auto of_key = [this](const auto& recording) { return recording->key == key_; };
  const bool full_key =
      static_cast<std::size_t>(std::ranges::count_if(recordings_, of_key)) >= kMostOfKey;
  if (!full_key && recordings_.size() < kMost) return;
  auto oldest = recordings_.end();
  for (auto at = recordings_.begin(); at != recordings_.end(); ++at) {
    if (full_key && !of_key(*at)) continue;
    if (oldest == recordings_.end() || (*at)->used < (*oldest)->used) oldest = at;
  }
  // Its graph may be under way.
  if ((*oldest)->graph != nullptr) static_cast<void>(cudaStreamSynchronize(stream()));
  recordings_.erase(oldest);
}

void BatchRecorder::keep() {
  make_room();
  auto recording = std::make_unique<Recording>();
  recording->key = key_;
  recording->signature.assign(signature_.bytes().begin(), signature_.bytes().end());
  recording->pieces = std::move(pieces_);
  recording->argument_bytes = device_.ring_.uploaded() - uploaded_before_;
  recording->used = batches_;
  recordings_.push_back(std::move(recording));
  pieces_.clear();
}

Status BatchRecorder::launch(Recording& recording) {
  SLUICE_TRY(device_.begin());
  recording.used = batches_;
  const char* doing = "capturing a batch";
  cudaError_t error = recording.graph == nullptr ? capture(recording) : cudaSuccess;
  if (error == cudaSuccess && !changing_.empty()) {
    // Seldom: who gives a batch again has mostly waited for the last one.
    if (recording.launch > done_launches_) error = cudaStreamSynchronize(stream());
    if (error == cudaSuccess) recording.arguments.change(changing_);
  }
  if (error == cudaSuccess) {
    doing = "launching a graph";
    error = cudaGraphLaunch(recording.graph, stream());
  }
  if (error == cudaSuccess) {
    recording.launch = ++statistics_.launches;
    return {};
  }
  const std::vector<Give> pieces = recording.pieces;
  give_up(error, doing);
  // A device that is lost says so now.
  for (const Give& piece : pieces) give(piece);
  return {};
}

cudaError_t BatchRecorder::capture(Recording& recording) {
  std::size_t before = 0, after = 0, total = 0;
  cudaError_t error = cudaMemGetInfo(&before, &total);
  if (error != cudaSuccess) return error;
  error = recording.arguments.create(changing_.size(), recording.argument_bytes);
  if (error != cudaSuccess) return error;
  cudaGraph_t graph = nullptr;
  error = capture_pieces(recording, graph);
  if (error == cudaSuccess) error = recording.arguments.end(stream());
  if (error == cudaSuccess) error = cudaGraphInstantiateWithFlags(&recording.graph, graph, 0);
  if (graph != nullptr) static_cast<void>(cudaGraphDestroy(graph));
  if (error == cudaSuccess) error = cudaMemGetInfo(&after, &total);
  if (error == cudaSuccess) recording.graph_bytes = before - std::min(before, after);
  return error;
}

cudaError_t BatchRecorder::capture_pieces(Recording& recording, cudaGraph_t& graph) {
  const cudaError_t begun = cudaStreamBeginCapture(stream(), cudaStreamCaptureModeThreadLocal);
  if (begun != cudaSuccess) return begun;
  cudaError_t error = recording.arguments.begin(stream(), changing_);
  device_.captured_ = &recording.arguments;
  for (const Give& piece : recording.pieces) {
    if (error == cudaSuccess) piece(launches_, changing_.data());
  }
  device_.captured_ = nullptr;
  const bool given = launches_.take_error().ok();
  const cudaError_t ended = cudaStreamEndCapture(stream(), &graph);
  if (error == cudaSuccess) error = ended;
  return error == cudaSuccess && !given ? cudaErrorStreamCaptureInvalidated : error;
}

void BatchRecorder::give_up(cudaError_t error, const char* doing) {
  static_cast<void>(cudaGetLastError());
  statistics_.why_not = std::string(doing) + ": " + cudaGetErrorString(error);
  static_cast<void>(cudaStreamSynchronize(stream()));
  static_cast<void>(cudaGetLastError());
  recordings_.clear();
}

void BatchRecorder::recorded(std::uint64_t event) {
  event_ = event;
  launched_before_event_ = statistics_.launches;
}

void BatchRecorder::happened(std::uint64_t event) {
  if (event == event_) done_launches_ = launched_before_event_;
}

BatchStatistics BatchRecorder::statistics() const {
  BatchStatistics now = statistics_;
  now.recordings = recordings_.size();
  for (const auto& recording : recordings_) {
    now.graphs += recording->graph != nullptr ? 1 : 0;
    now.device_bytes += recording->graph_bytes;
  }
  return now;
}

}  // namespace sluice::cuda
