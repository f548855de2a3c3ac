#pragma once
// Where every expert's bytes are. The only class above formats/ that knows files.

#include <array>
#include <cstdint>
#include <optional>
#include <vector>

#include "base/status.h"
#include "base/types.h"
#include "experts/slot_layout.h"
#include "formats/checkpoint.h"
#include "formats/weight_view.h"

namespace sluice {

/// The matrices of one layer's experts: all experts of a layer have the same shapes and formats.
struct ExpertLayer {
  std::uint32_t layer = 0;
  std::uint32_t experts = 0;
  std::size_t hidden = 0;
  std::size_t ffn = 0;
  std::vector<ExpertRanges> ranges;  // [experts]
  /// [experts]: the block that an expert's ranges fill, where its file keeps checksums; else empty.
  /// Gaps between the ranges are less than a cache line, so that one read brings the block.
  std::vector<CheckedBlock> blocks;
  /// Gate, up and down: where each lies in its range; or, of experts that are relaid, behind one
  /// another in that order.
  std::array<WeightView, 3> views{};
  /// Of relaid experts, each matrix whose range is not the matrix. Such experts are turned once,
  /// when they arrive: no kernel multiplies what the file has.
  std::array<std::optional<TensorInfo>, 3> stored{};

  /// Of an expert's three matrices, without scales beside them.
  std::uint64_t expert_bytes() const { return matrix_bytes(0) + matrix_bytes(1) + matrix_bytes(2); }
  std::uint64_t matrix_bytes(std::size_t matrix) const { return views[matrix].matrix.bytes(); }
  bool relaid() const { return stored[0] || stored[1] || stored[2]; }
};

class ExpertCatalogue {
 public:
  /// Finds blk.N.ffn_{gate,up,down}_exps.weight of every layer; a layer without them is dense and
  /// absent. kCorrupt names a tensor whose shape or type does not fit its siblings.
  static Result<ExpertCatalogue> build(const Checkpoint& checkpoint);

  const std::vector<std::string>& files() const { return files_; }
  /// Sparse layers in order.
  const std::vector<ExpertLayer>& layers() const { return layers_; }
  /// Null for a dense layer.
  const ExpertLayer* find(std::uint32_t layer) const;
  std::uint64_t total_bytes() const;  // of all experts
  std::uint64_t total_experts() const;
  /// Experts of the layer that has most.
  std::size_t widest_layer() const;

 private:
  std::vector<std::string> files_;
  std::vector<ExpertLayer> layers_;
};

}  // namespace sluice
