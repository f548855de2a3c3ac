#pragma once
// FfnTasks as launches of GEMV kernels: first all products of gates and ups, in one launch where
// both are of one kind, then those of downs; tasks of one kind together, and their rows in pieces
// of kMaxGemvRows.

#include <span>
#include <vector>

#include "base/operations.h"
#include "base/status.h"
#include "cuda/gemv.h"

namespace sluice::cuda {

struct FfnPlan {
  std::vector<ProductTask> tasks;       // of all launches, one after the other
  std::vector<ProductLaunch> launches;  // in the order in which they must be done

  /// Whether there are kernels for such a matrix.
  static bool takes(const WeightMatrix& weight);
  /// kUnsupported, naming the matrix, where there is no kernel for one; kInvalidArgument where one
  /// lies where kernels cannot read it.
  static Result<FfnPlan> of(std::span<const FfnTask> tasks);
};

}  // namespace sluice::cuda
