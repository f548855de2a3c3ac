#pragma once
// What a stream is given, in bytes that can be compared: each piece of work with all that it is
// given with, but for what a step of decoding changes. Of attention's rows that is everything but
// which of them follow one another and the order of magnitude of what they see (row_runs.h); of
// delta nets where states lie. So two steps whose signatures are equal are the same work at other
// places, and one that has been given can be given again by telling it the places alone.
//
// Contents of memory are no part of it.

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "base/operations.h"

namespace sluice {

class WorkSignature {
 public:
  std::span<const std::byte> bytes() const { return bytes_; }
  void clear() { bytes_.clear(); }

  // In the order in which work is given.
  void add(const NormTask& task);
  void add(const MapTask& task);
  void add_quantise(const Activations& activations, std::size_t rows);
  void add(std::span<const MatmulTask> tasks);
  void add(std::span<const FfnTask> tasks);
  void add(const RopeTask& task);
  void add_store_kv(const AttentionShape& shape, std::span<const AttentionRow> rows,
                    const float* keys, std::size_t key_stride, const float* values,
                    std::size_t value_stride);
  void add(const AttentionTask& task);
  void add(const DeltaNetTask& task);
  void add(const CombineTask& task);
  void add_upload(const std::byte* device, const std::byte* host, std::size_t bytes);
  void add_download(const std::byte* host, const std::byte* device, std::size_t bytes);

 private:
  enum class Kind : std::uint8_t;
  template <typename... Numbers>
  void put(const Numbers&... numbers);
  void put(const WeightMatrix& weight);
  void put(const Activations& rows);
  void put(const AttentionShape& shape);
  void put(const DeltaNetShape& shape);
  void put(std::span<const AttentionRow> rows);

  std::vector<std::byte> bytes_;
};

}  // namespace sluice
