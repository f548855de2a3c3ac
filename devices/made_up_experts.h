#pragma once
// Experts of a model's own form with made-up weights, on the host and on a device: what a machine
// is measured with before there is anything else to be computed.
//
// There are as many, all different, as make caches useless: each is read from memory, as a model's
// are. What is in them makes no difference to the time, as long as no number is one of those that
// processors are slow with: all floats of every type are finite, normal and of a few magnitudes.

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "base/aligned_buffer.h"
#include "base/compute.h"
#include "base/device_backend.h"
#include "experts/expert_catalogue.h"
#include "experts/expert_store.h"
#include "layers/model_description.h"

namespace sluice {

struct MadeUpExpertsOptions {
  std::uint64_t host_bytes = 0, device_bytes = 0;  // of either's memory, at most
  std::uint64_t experts = ~std::uint64_t{0};       // at most: more than a model has are not fair
  std::uint32_t rows = 1;                          // that are of interest, at most
  bool eight_bit = true;                           // activations have an 8-bit form
};

class MadeUpExperts {
 public:
  /// In one call experts have at least so many rows in all.
  static constexpr std::uint32_t kLeastRows = 32;

  /// As the layer's experts of all bits. kBudget: there is no room for two of them. REQUIRES:
  /// has_device_copy(layer). The device outlives it.
  static Result<MadeUpExperts> make(const ModelDescription& model, const ExpertLayer& layer,
                                    DeviceBackend& device, Compute& compute,
                                    const MadeUpExpertsOptions& options);

  /// Of one: as ExpertWork counts them, and as they are copied.
  std::uint64_t bytes() const { return bytes_; }
  /// That experts of one call can have in all.
  std::uint32_t rows() const { return rows_; }
  /// There are, on the side that has fewer.
  std::size_t experts() const { return std::min(host_.copies, device_.copies); }

  /// Tasks of the next `experts`, each for `rows` rows, in turn. Valid until the next call.
  /// REQUIRES: experts * rows <= rows().
  std::span<const FfnTask> on_host(std::size_t experts, std::uint32_t rows) {
    return tasks(host_, experts, rows);
  }
  std::span<const FfnTask> on_device(std::size_t experts, std::uint32_t rows) {
    return tasks(device_, experts, rows);
  }
  /// Copies the first so many bytes of an expert to one of the device's.
  Status upload(StreamIndex stream, std::uint64_t bytes);
  /// Copies one of the host's to where uploads are from.
  void stage(Compute& compute);
  /// What an expert reads of one row, to the device; and what it gives, back.
  Status send_row(StreamIndex stream);
  Status fetch_row(StreamIndex stream);

 private:
  struct Side {
    FfnTask first;  // its matrices; everything that tasks have in common
    std::size_t copies = 0;
    std::size_t next = 0;  // whose turn it is
    std::byte* weights = nullptr;
    Activations hidden;
    float* outputs = nullptr;
    std::vector<FfnTask> tasks = {};
  };
  MadeUpExperts() = default;
  std::span<const FfnTask> tasks(Side& side, std::size_t experts, std::uint32_t rows) const;
  void place(Side& side, const ModelDescription& model, const ExpertLayer& layer,
             std::byte* memory) const;
  void fill(const ModelDescription& model, Compute& compute);
  Status fill_device();

  DeviceBackend* device_backend_ = nullptr;
  std::uint64_t bytes_ = 0, stride_ = 0;
  std::uint32_t rows_ = 0;
  std::size_t hidden_size_ = 0;
  bool eight_bit_ = true;
  AlignedBuffer memory_;
  DeviceBuffer device_memory_, pinned_;  // pinned: an expert, inputs, the output of one row
  ExpertWeights staged_;
  Side host_, device_;
  std::byte* device_input_ = nullptr;
  std::byte *pinned_input_ = nullptr, *pinned_output_ = nullptr;
};

}  // namespace sluice
