#pragma once
// Consecutive layers of a model with all but their routed experts on a device, and the head, if the
// model's last is one of them: weights, keys and values, and the scratch that a pass works in.
//
// The host strings layers together as ever. Of a pass it brings what the device's first layer
// begins with; of each layer that has experts it fetches what the router says and what experts
// read, and brings their sum, unless the device makes that, too; at last it fetches logits. What
// lies between is in a stream of the device.
//
//     begin(scratch, rows)      the rows' places, and the residual of the layers before
//     show_residual … shown     for those who look at it between layers
//     part().attend … score
//     fetch(layer)              scores and rows, for the host to route and to compute experts by;
//                               the shared expert is computed meanwhile
//     bring()                   the experts' sum; or summed(), where neighbour() has it
//     fetch_logits(count)
//     end()                     waits for what is left
//
// Of a pass of few rows, all that lies between two times that the host waits is one batch of the
// device's, so that it costs the host as little as one piece of work.
//
// After the first error nothing of it is of use: sequences forget their twins, and the host
// computes all layers from the beginning of their texts. Not thread-safe, but for `open`.

#include <atomic>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "base/device_backend.h"
#include "devices/dense_neighbour.h"
#include "formats/checkpoint.h"
#include "layers/dense_part.h"
#include "layers/dense_weights.h"
#include "layers/kv_cache.h"
#include "layers/model_description.h"
#include "layers/row.h"
#include "layers/scratch.h"

namespace sluice {

struct DenseDeviceOptions {
  std::uint64_t vram = 0;                        // bytes of the device's memory, at most
  std::uint32_t first_layer = 0, end_layer = 0;  // it has some of these, up to the last
  std::size_t index = 0;                         // of its twins among a sequence's
  std::uint32_t rows = 0;                        // in a pass, at most
  std::uint32_t context = 0, sequences = 1, seats = 1;
  KvType kv_type = KvType::kF16;
  bool eight_bit = true;
  unsigned threads = 1;
};

class DenseDevice {
 public:
  /// Passes of more rows have work enough in each piece.
  static constexpr std::size_t kBatchedRows = 8;

  /// kBudget: there is no room for one layer; kUnsupported: the device does not multiply such
  /// matrices. `host` are the model's weights as their files have them. Model and device
  /// outlive it.
  static Result<std::unique_ptr<DenseDevice>> create(const Checkpoint& checkpoint,
                                                     const ModelDescription& model,
                                                     const DenseWeights& host,
                                                     DeviceBackend& device,
                                                     const DenseDeviceOptions& options);

  bool has(std::uint32_t layer) const { return layer >= first_layer_ && layer < end_layer_; }
  std::uint32_t layers() const { return end_layer_ - first_layer_; }
  std::uint32_t max_rows() const { return max_rows_; }
  std::uint64_t bytes() const { return bytes_; }  // of the device's memory
  KvPool& kv_pool() { return kv_; }
  DensePart& part() { return *part_; }

  /// False after the first error, whose words are closed().
  bool open() const { return open_.load(); }
  const std::string& closed() const { return closed_; }

  // `host` is the pinned scratch of the pass.
  Status begin(const Scratch& host, std::span<const Row> rows);
  /// The rows of `begin`, with the twins of their sequences.
  std::span<const Row> rows() const { return rows_; }
  Status show_residual();
  /// Waits for what was to be shown.
  Status shown();
  /// scores, normed and what else the router read, of all rows; waits for them.
  Status fetch(std::uint32_t layer);
  /// block_output of all rows.
  Status bring();
  /// It is there.
  void summed() { open_batch(); }
  /// For those who make it on the device, of rows that were fetched.
  DenseNeighbour neighbour() const { return {stream_, scratch_.normed, scratch_.block_output}; }
  /// Those of the rows that host.logit_rows names; waits for them.
  Status fetch_logits(std::size_t count);
  Status end();
  /// Notes the error, if it is one.
  Status note(Status status);

 private:
  DenseDevice(const ModelDescription& model, DeviceBackend& device)
      : model_(model), device_(device) {}
  Status upload_numbers(const Scratch& host);
  template <typename T>
  Status upload(T* to, const T* from, std::size_t count);
  template <typename T>
  Status download(T* to, const T* from, std::size_t count);
  Status download(const Activations& to, const Activations& from, std::size_t rows);
  /// Unless one is, or the pass has none.
  void open_batch();
  Status close_batch();
  /// After all that the stream was given.
  Result<DeviceEvent> record();
  Status wait();

  const ModelDescription& model_;
  DeviceBackend& device_;
  StreamIndex stream_ = 0;
  std::uint32_t first_layer_ = 0, end_layer_ = 0, max_rows_ = 0;
  std::size_t index_ = 0;
  std::uint64_t bytes_ = 0;
  DenseWeights weights_;
  Scratch scratch_;
  KvPool kv_;
  std::unique_ptr<DensePart> part_;
  bool numbered_ = false;  // the scratch has what never changes

  const Scratch* host_ = nullptr;
  std::vector<Row> rows_;
  std::uint32_t batches_ = 0;  // of the pass
  bool in_batch_ = false;
  DeviceEvent shown_;
  std::atomic<bool> open_ = true;
  std::string closed_;
};

}  // namespace sluice
