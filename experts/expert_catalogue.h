#pragma once
// Where every expert's bytes are. The only class above formats/ that knows files.

#include <array>
#include <cstdint>
#include <map>
#include <optional>
#include <utility>
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
  /// Of experts that are read in parts (kAutoWidth): the width that each part makes together with
  /// those before it. Empty: an expert is read as a whole, its one part.
  std::vector<std::uint8_t> widths;
  /// [experts], of planes: at how many bits each rests, which is all that the file has of it.
  /// Empty: the file has all of all.
  std::vector<std::uint8_t> rests;
  /// [experts, parts]; empty ranges in the place of parts beyond an expert's resting width.
  std::vector<ExpertRanges> ranges;
  /// [experts, parts]: the blocks that a part's ranges fill, where its file keeps checksums; else
  /// empty. Gaps between ranges and blocks are less than a cache line, so that one read brings all.
  std::vector<std::vector<CheckedBlock>> blocks;
  /// Gate, up and down: where each lies in its range; or, of experts that are relaid, behind one
  /// another in that order. Of experts in parts: where group 0 lies in the first part, and in
  /// `nested.at` where every other group lies in its own. Of planes as wide as the widest expert's.
  std::array<WeightView, 3> views{};
  /// Of relaid experts, each matrix whose range is not the matrix. Such experts are turned once,
  /// when they arrive: no kernel multiplies what the file has.
  std::array<std::optional<TensorInfo>, 3> stored{};

  /// Of the widest expert's three matrices, without scales beside them.
  std::uint64_t expert_bytes() const { return matrix_bytes(0) + matrix_bytes(1) + matrix_bytes(2); }
  std::uint64_t matrix_bytes(std::size_t matrix) const { return views[matrix].matrix.bytes(); }
  /// Of all experts.
  std::uint64_t total_bytes() const;
  std::size_t parts() const { return widths.empty() ? 1 : widths.size(); }
  /// How many parts make an expert of so many bits, or of more where no part ends there.
  std::size_t parts_of(unsigned bits) const;
  /// How many there are of this expert.
  std::size_t parts_there(std::size_t expert) const {
    return rests.empty() ? parts() : parts_of(rests[expert]);
  }
  /// Of planes: how many bits a matrix of this expert has, of those that its view has.
  std::uint8_t width_there(std::size_t expert, std::size_t matrix) const;
  const ExpertRanges& part(std::size_t expert, std::size_t part) const {
    return ranges[expert * parts() + part];
  }
  bool relaid() const { return stored[0] || stored[1] || stored[2]; }
  /// Whether it is planes that are read and multiplied: all three ranges are then the groups.
  bool planes() const { return views[0].matrix.layout == WeightLayout::kPlanes; }
};

/// At which width experts are read and multiplied where they are kept in planes: kExactWidth, or a
/// number of bits, of which there are as many as the planes have.
inline constexpr unsigned kExactWidth = 0;
/// Every width that there is, chosen anew at every use: experts are read in parts.
inline constexpr unsigned kAutoWidth = ~0u;

/// The others, fewest bits first.
std::vector<unsigned> expert_widths();

class ExpertCatalogue {
 public:
  /// Finds blk.N.ffn_{gate,up,down}_exps.weight of every layer; a layer without them is dense and
  /// absent. Layers without planes are read as they are at every width; at kExactWidth so are
  /// experts whose floats lie beside their planes, and others are read with all their planes.
  /// kCorrupt names a tensor whose shape or type does not fit its siblings; kInvalidArgument: no
  /// planes make this width.
  static Result<ExpertCatalogue> build(const Checkpoint& checkpoint, unsigned width = kExactWidth);

  const std::vector<std::string>& files() const { return files_; }
  /// What was asked for.
  unsigned width() const { return width_; }
  /// The fewest and the most bits that matrices in planes are read with, those of experts that rest
  /// narrower aside; 0 and 0: there are no planes.
  std::pair<unsigned, unsigned> widths_of_planes() const;
  /// Sparse layers in order.
  const std::vector<ExpertLayer>& layers() const { return layers_; }
  /// Null for a dense layer.
  const ExpertLayer* find(std::uint32_t layer) const;
  std::uint64_t total_bytes() const;  // of all experts
  std::uint64_t total_experts() const;
  /// Of an expert's weights, scales and offsets included, on average.
  double mean_bits() const;
  /// Layers of which planes are used.
  std::size_t layers_in_planes() const;
  /// How many experts rest at each width, of layers in planes.
  std::map<unsigned, std::uint64_t> resting_widths() const;
  /// Whether all experts are always read with all the bits that the file has of them.
  bool reads_all() const { return reads_all_; }
  /// Whether these are, moreover, all that the packed model had: no expert rests narrower, and no
  /// floats were left out for planes that are fitted to them.
  bool exact() const { return exact_; }
  /// Parts of the layer that has most.
  std::size_t most_parts() const;
  /// Experts of the layer that has most.
  std::size_t widest_layer() const;

 private:
  std::vector<std::string> files_;
  std::vector<ExpertLayer> layers_;
  unsigned width_ = kExactWidth;
  bool reads_all_ = true;
  bool exact_ = true;
};

}  // namespace sluice
