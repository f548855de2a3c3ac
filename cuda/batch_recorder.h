#pragma once
// Batches of a stream as graphs. A batch's pieces of work come one by one; what is done with them
// follows from what is kept of earlier batches of the same key:
//
//     nothing fits          each is given at once and kept                           (a recording)
//     a recording fits      they are only compared; at the end they are given while the stream is
//                           captured, and the graph is launched                      (a graph)
//     a graph fits          they are compared; at the end what has changed is written where the
//                           graph brings it to the device from, and it is launched
//
// One fits as long as its signature (base/work_signature.h) begins like the batch's. Where none
// does any more, or the batch ends early, all that was only compared is given at once and the rest
// after it, as in a new recording: what is launched has always been asked for just so. Where graphs
// fail everything is given at once from then on.

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "base/device_backend.h"
#include "base/work_signature.h"
#include "cuda/graph_arguments.h"
#include "cuda/runtime.h"

namespace sluice::cuda {

class CudaDevice;
class CudaOperations;

/// So far.
struct BatchStatistics {
  std::size_t recordings = 0, graphs = 0;  // that are kept; the latter are some of the former
  std::uint64_t device_bytes = 0;          // that the graphs have, as the driver counts it
  std::uint64_t launches = 0;              // of graphs
  std::uint64_t pieces = 0;                // of work in batches that were given one by one
  std::string why_not;                     // graphs are not used any more; empty: they are
  BatchStatistics& operator+=(const BatchStatistics& more);
};

/// Not thread-safe.
class BatchRecorder {
 public:
  /// Recordings that are kept, at most: of the layers of a large model, in some shapes each.
  static constexpr std::size_t kMost = 256;
  /// Of the device's memory, for a graph and its arguments: a guess, and not a small one.
  static constexpr std::uint64_t kGraphBytes = 128 << 10;
  /// Of these of one key.
  static constexpr std::size_t kMostOfKey = 8;

  /// Gives a piece of work, with what changes of all the batch's.
  using Give = std::function<void(CudaOperations& to, const std::byte* changing)>;

  /// Borrows both.
  BatchRecorder(CudaDevice& device, CudaOperations& launches, StreamIndex stream)
      : device_(device), launches_(launches), stream_(stream) {}
  ~BatchRecorder();
  BatchRecorder(const BatchRecorder&) = delete;
  BatchRecorder& operator=(const BatchRecorder&) = delete;

  /// Whether a batch is: then all work goes through `add`.
  bool open() const { return open_; }
  void begin(std::uint64_t key);
  Status end();

  /// What changes from batch to batch of the next piece: where it will be among all that does.
  template <typename T>
  std::size_t add_changing(std::span<const T> array) {
    const std::size_t at = (changing_.size() + kAlignment - 1) / kAlignment * kAlignment;
    changing_.resize(at);
    const auto bytes = std::as_bytes(array);
    changing_.insert(changing_.end(), bytes.begin(), bytes.end());
    return at;
  }
  /// describe(WorkSignature&) adds the piece; make() is its Give, with all that is to be read
  /// later.
  template <typename Describe, typename Make>
  void add(const Describe& describe, const Make& make) {
    describe(signature_);
    if (still_fits()) {
      ++fitting_pieces_;
      return;
    }
    give_what_fitted();
    pieces_.push_back(make());
    give(pieces_.back());
  }

  /// An event was recorded; it has happened.
  void recorded(std::uint64_t event);
  void happened(std::uint64_t event);
  BatchStatistics statistics() const;

 private:
  static constexpr std::size_t kAlignment = 16;
  struct Recording {
    ~Recording();
    std::uint64_t key = 0;
    std::vector<std::byte> signature;
    std::vector<Give> pieces;
    std::size_t argument_bytes = 0;  // that do not change, at most
    std::uint64_t used = 0;          // by which batch
    // Of a graph:
    GraphArguments arguments;
    cudaGraphExec_t graph = nullptr;
    std::uint64_t graph_bytes = 0;
    std::uint64_t launch = 0;  // which one was the last
  };

  cudaStream_t stream() const;
  bool begins_with_signature(const Recording& recording) const;
  bool still_fits();
  bool find_fitting(bool whole);
  void give_what_fitted();
  void give(const Give& piece);
  Status launch(Recording& recording);
  cudaError_t capture(Recording& recording);
  cudaError_t capture_pieces(Recording& recording, cudaGraph_t& graph);
  void make_room();
  void keep();
  void give_up(cudaError_t error, const char* doing);

  CudaDevice& device_;
  CudaOperations& launches_;
  const StreamIndex stream_;
  std::vector<std::unique_ptr<Recording>> recordings_;
  std::uint64_t batches_ = 0;
  BatchStatistics statistics_;

  // The open batch:
  bool open_ = false;
  std::uint64_t key_ = 0;
  WorkSignature signature_;
  std::vector<std::byte> changing_;
  Recording* fitting_ = nullptr;    // null: the batch is given at once, as pieces_
  std::size_t fitting_pieces_ = 0;  // of it, that were compared
  std::size_t compared_ = 0;        // bytes of the signature, likewise
  std::vector<Give> pieces_;
  std::uint64_t uploaded_before_ = 0;

  std::uint64_t event_ = 0, launched_before_event_ = 0;  // the last one recorded
  std::uint64_t done_launches_ = 0;                      // of graphs
};

}  // namespace sluice::cuda
