#pragma once
// Benchmarks of products of weight matrices with activations, whoever's kernels compute them: what
// they have in common, so that their numbers can stand beside one another.

#include <benchmark/benchmark.h>

#include <cstddef>
#include <functional>
#include <memory>
#include <span>
#include <string>

#include "base/aligned_buffer.h"
#include "base/operations.h"
#include "base/status.h"

namespace sluice {

// What decoding streams from memory before it meets a matrix again: far more than any cache.
inline constexpr std::size_t kStreamedBytes = std::size_t{1200} << 20;
inline constexpr std::size_t kExpertsATime = 8;

struct ProductShape {
  std::size_t rows, columns;  // of a weight matrix
  std::size_t activation_rows;
  unsigned threads;

  std::string name() const;  // "768x2048/1/2"
};

AlignedBuffer allocate(std::size_t bytes);

/// The same random numbers for every kernel.
struct OwnedActivations {
  OwnedActivations(std::size_t rows, std::size_t columns, bool with_codes);
  AlignedBuffer memory;
  Activations view;
};

/// Matrices and activations, set up.
class ProductRun {
 public:
  virtual ~ProductRun() = default;
  /// Computes the products of `products()` matrices, the next ones at each call.
  virtual Status call() = 0;
  virtual std::size_t products() const = 0;
  virtual std::size_t matrix_bytes() const = 0;
  /// What calls stream from memory; empty where all matrices stay in the caches.
  virtual std::span<const std::byte> streamed() const = 0;
};

/// Adds products to Google Benchmark's list. Must outlive its run.
class KernelBenchmarks {
 public:
  using Maker = std::function<Result<std::unique_ptr<ProductRun>>()>;

  /// As `kind/format/shape`.
  void add(const std::string& kind, const std::string& format, const ProductShape& shape,
           Maker make);

 private:
  void time(benchmark::State& state, const std::string& name, const ProductShape& shape,
            const Maker& make);
  Status set_up(const std::string& name, const ProductShape& shape, const Maker& make);

  // Google Benchmark calls a function again and again, for more iterations each time: what was set
  // up stays until another one's turn comes.
  std::string name_;
  std::unique_ptr<ProductRun> run_;
  double memory_gbs_ = 0;  // of as many threads that do nothing but read what it streams
};

}  // namespace sluice
