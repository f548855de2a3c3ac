#pragma once
// Tasks of a forward pass as launches of kernels: plain products; or networks, of which first all
// products of gates and ups, in one launch where both are of one kind, then those of downs. Tasks
// of one kind go together. Those of few rows go to GEMV kernels (gemv.h), others to GEMM kernels
// (gemm.h), each in pieces of as many rows as these take.

#include <cstdint>
#include <span>
#include <vector>

#include "base/operations.h"
#include "base/status.h"
#include "cuda/product.h"

namespace sluice::cuda {

/// Keeps its memory from plan to plan. Not thread-safe.
class ProductPlan {
 public:
  /// For a device whose blocks have so much shared memory, in bytes.
  explicit ProductPlan(std::uint32_t shared_limit = ProductLaunch().shared_limit)
      : shared_limit_(shared_limit) {}

  /// Whether there are kernels for such a matrix.
  static bool takes(const WeightMatrix& weight);

  /// Replaces the plan. kUnsupported, naming the matrix, where there is no kernel for one;
  /// kInvalidArgument where one lies where kernels cannot read it.
  Status plan(std::span<const MatmulTask> tasks);
  Status plan(std::span<const FfnTask> tasks);

  /// Of all launches, one after the other.
  std::span<const ProductTask> tasks() const { return tasks_; }
  /// In the order in which they must be done.
  std::span<const ProductLaunch> launches() const { return launches_; }

 private:
  /// Whose launches come first.
  enum class Phase : std::uint8_t { kGates, kUps, kLast };
  /// A launch with its tasks.
  struct Step {
    ProductLaunch launch;
    Phase phase = Phase::kLast;
    bool many_rows = false;
    std::vector<ProductTask> tasks;
  };

  Result<ProductLaunch> launch_of(const WeightMatrix& weight, const Activations& input,
                                  std::string_view name) const;
  Status add(const MatmulTask& task);
  Status add(const FfnTask& task);
  void add(Phase phase, ProductLaunch launch, bool many_rows, const ProductTask& task);
  /// Puts together what was added.
  void finish();

  std::uint32_t shared_limit_;
  std::vector<Step> steps_;  // the first used_ are the plan's
  std::size_t used_ = 0;
  std::vector<ProductTask> tasks_;
  std::vector<ProductLaunch> launches_;
};

/// Runs a launch of a plan's; as launch_gemv and launch_gemm.
cudaError_t launch_product(const ProductLaunch& launch, const ProductTask* tasks,
                           cudaStream_t stream);

}  // namespace sluice::cuda
