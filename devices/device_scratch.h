#pragma once
// A device's mirror of what experts read and write in the scratch of a pass, and the stream that
// works in it.
//
// Tasks name places of the host's scratch; here they become the places of the same rows on the
// device. Outputs go back to where the host would have written them; or, where the layer's dense
// part is on the same device, the host's come to where the device would have written them, and all
// are added up there.
//
// Not thread-safe.

#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <vector>

#include "base/device_backend.h"
#include "devices/dense_neighbour.h"
#include "layers/layer_weights.h"
#include "layers/model_description.h"
#include "layers/scratch.h"

namespace sluice {

/// A layer's rows: what experts read of them, and where their outputs belong.
struct ExpertRows {
  const Scratch* scratch = nullptr;  // the host's, pinned
  Activations input;                 // of it: a row of the pass each, or a place each
  std::size_t rows = 0, ranks = 0;   // of the pass; experts of a row, at most
  std::size_t places = 0;            // of outputs
  std::optional<DenseNeighbour> neighbour = {};
};

class DeviceScratch {
 public:
  /// Passes of so few rows go to the device in one piece.
  static constexpr std::size_t kPackedRows = 64;

  /// Of the device's memory, for passes of so many rows.
  static std::uint64_t bytes(const ModelDescription& model, std::size_t rows, bool eight_bit);
  /// Of the device's memory, for what experts have besides matrices.
  static std::uint64_t bias_bytes(const ModelDescription& model,
                                  std::span<const LayerWeights> layers);
  /// Of the host's, pinned.
  static std::uint64_t host_bytes(const ModelDescription& model);

  /// For passes of `rows` or, where that is more than `most` bytes, of fewer: max_rows(). The
  /// device outlives it. kBudget: the device has no room for one row.
  static Result<DeviceScratch> create(const ModelDescription& model,
                                      std::span<const LayerWeights> layers, DeviceBackend& device,
                                      std::size_t rows, bool eight_bit, std::uint64_t most);

  std::size_t max_rows() const { return max_rows_; }
  std::uint64_t bytes() const { return memory_.size() + biases_.size(); }
  StreamIndex stream() const { return stream_; }

  /// Brings what experts read, if it is not there. REQUIRES: the scratch stays as it is until
  /// `wait`, or, where there is a neighbour, until that has gone on.
  Status begin(const ExpertRows& rows);
  /// `task` is of the layer, its weights the device's.
  void add(std::uint32_t layer, const FfnTask& task);
  /// Gives the device all that was added; when that is computed, the event happens.
  Result<DeviceEvent> launch();
  /// Outputs of all that was launched since the last fetch come to the host, if there is no
  /// neighbour.
  Status fetch();
  /// The host has computed these: if there is a neighbour, their outputs come to the device's.
  Status bring(std::span<const FfnTask> computed);
  /// The neighbour goes on with the sum of all that was launched and brought. REQUIRES: there is
  /// one, and no place is left.
  Status sum();
  /// For all of it; then the seconds that the device computed.
  Result<double> wait();
  /// Nothing more is to be done with the layer.
  void forget();

 private:
  /// Outputs at [first, first + count) of the host's places.
  struct Run {
    std::size_t first = 0, count = 0;
  };
  /// Where a layer's biases are, in the host's memory and the device's.
  struct Biases {
    std::array<const float*, 3> host{}, device{};
  };
  DeviceScratch() = default;
  Status upload_biases(const ModelDescription& model, std::span<const LayerWeights> layers);
  void carve(const ModelDescription& model, bool eight_bit);
  void add_run(std::size_t first, std::size_t count);
  template <typename T>
  void take(T* to, const T* from, std::size_t count);
  Status upload_taken(std::size_t bytes);
  std::size_t place_of(const FfnTask& task) const {
    return static_cast<std::size_t>(task.output - rows_.scratch->expert_outputs) / hidden_;
  }

  DeviceBackend* device_ = nullptr;
  std::size_t max_rows_ = 0, hidden_ = 0;
  DeviceBuffer memory_, biases_, packed_;
  StreamIndex stream_ = 0;
  std::vector<Biases> layers_;
  std::byte* input_memory_ = nullptr;
  Activations input_;  // [rows, hidden] of the open layer
  std::uint32_t* index_ = nullptr;
  std::uint32_t* output_place_ = nullptr;  // [rows, ranks], of a sum
  float* weights_ = nullptr;               // likewise
  Activations expert_hidden_;              // [places, expert_ffn]
  float* outputs_ = nullptr;               // [places, hidden]

  ExpertRows rows_;
  /// Of the host's scratch, for the open layer.
  struct Piece {
    std::byte* to = nullptr;
    const std::byte* from = nullptr;
    std::size_t bytes = 0;
  };
  std::vector<Piece> pieces_;
  std::vector<FfnTask> tasks_;
  std::vector<Run> runs_;
  struct Span {
    DeviceEvent begun, over;
  };
  std::vector<Span> launches_;
  std::optional<DeviceEvent> over_;  // all of a sum is
};

}  // namespace sluice
