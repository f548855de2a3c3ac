#pragma once
// The host's processor: the operations of the forward pass, and what only the host does.

#include <cstddef>
#include <functional>
#include <span>
#include <string_view>

#include "base/operations.h"

namespace sluice {

/// A matrix that may be rearranged where it lies.
struct RepackTask {
  WeightMatrix* weight = nullptr;  // its layout is set
  std::byte* data = nullptr;       // weight->data
  bool sparse_input = false;       // many of the activations that it meets are zero
};

class Compute : public Operations {
 public:
  /// Which implementation, for people: "AVX-512 VNNI, 2 threads".
  virtual std::string_view name() const = 0;
  /// Calls from now on keep no more than `most` of its threads at work, and touch no more than so
  /// many threads' working memory: a small budget has no room for many. 0 is taken as 1.
  virtual void limit_threads(unsigned most) = 0;

  /// body(item) for each item < items, shared out over the threads. No call of it starts another
  /// operation, and none throws.
  virtual void share_out(std::size_t items, const std::function<void(std::size_t)>& body) = 0;
  /// Brings matrices in the file's order into the one in which this device multiplies them fastest;
  /// leaves as they are those for which it has no better one. Results keep their bits. REQUIRES:
  /// nothing else uses them meanwhile.
  virtual void repack(std::span<const RepackTask> tasks) = 0;
};

}  // namespace sluice
