#pragma once
// A layer's dense part, as its experts on the same device see it.

#include "base/device_backend.h"
#include "base/operations.h"

namespace sluice {

struct DenseNeighbour {
  StreamIndex stream = 0;  // the dense part's, which goes on with the sum
  // What experts read: it is there when the host knows what routers say. values null: the host
  // brings it.
  Activations input;
  float* sum = nullptr;  // [rows, hidden]: where the sum of each row's experts is wanted
};

}  // namespace sluice
