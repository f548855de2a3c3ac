#pragma once
// A device's mirror of what experts read and write in the scratch of a pass, and the stream that
// works in it.
//
// Tasks name places of the host's scratch; here they become the places of the same rows on the
// device. Outputs go back to where the host would have written them.
//
// Not thread-safe.

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "base/device_backend.h"
#include "layers/layer_weights.h"
#include "layers/model_description.h"
#include "layers/scratch.h"

namespace sluice {

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

  /// A layer's rows [0, rows) of `input`, and which of them stand at the first `places` places.
  /// REQUIRES: scratch is pinned, and unchanged until `wait`.
  Status begin(const Scratch& scratch, const Activations& input, std::size_t rows,
               std::size_t places);
  /// `task` is of the layer, its weights the device's.
  void add(std::uint32_t layer, const FfnTask& task);
  /// Gives the device all that was added; when that is computed, the event happens.
  Result<DeviceEvent> launch();
  /// Outputs of all that was launched since the last fetch.
  Status fetch();
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
  Status upload_packed(const Activations& input, const std::uint32_t* index, std::size_t rows,
                       std::size_t places);
  Status upload_apart(const Activations& input, const std::uint32_t* index, std::size_t rows,
                      std::size_t places);

  DeviceBackend* device_ = nullptr;
  std::size_t max_rows_ = 0, hidden_ = 0;
  DeviceBuffer memory_, biases_, packed_;
  StreamIndex stream_ = 0;
  std::vector<Biases> layers_;
  std::byte* input_memory_ = nullptr;
  Activations input_;  // [rows, hidden] of the open layer
  std::uint32_t* index_ = nullptr;
  Activations expert_hidden_;  // [places, expert_ffn]
  float* outputs_ = nullptr;   // [places, hidden]

  const Scratch* host_ = nullptr;
  const float* host_input_ = nullptr;
  std::vector<FfnTask> tasks_;
  std::vector<Run> runs_;
  struct Span {
    DeviceEvent begun, over;
  };
  std::vector<Span> launches_;
};

}  // namespace sluice
