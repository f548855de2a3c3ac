#include "experts/device_copy.h"

#include <algorithm>
#include <array>
#include <cstring>
#include <functional>
#include <span>

#include "base/strip_layout.h"

namespace sluice {
namespace {

/// As devices allocate: what reads sixteen bytes at a time finds them.
constexpr std::size_t kPieceAlignment = 256;
/// What a thread takes at a time.
constexpr std::size_t kCopyBytes = std::size_t{128} << 10;
constexpr std::size_t kMostPieces = 3 * (kMostNestedGroups + 1);

/// Hands out the pieces' places.
class Places {
 public:
  explicit Places(const std::byte* copy) : copy_(copy) {}
  /// From the copy's beginning.
  std::size_t take(std::size_t bytes) {
    const std::size_t at = end_;
    end_ += (bytes + kPieceAlignment - 1) / kPieceAlignment * kPieceAlignment;
    return at;
  }
  const std::byte* data(std::size_t at) const { return copy_ == nullptr ? nullptr : copy_ + at; }
  std::size_t end() const { return end_; }

 private:
  const std::byte* copy_;
  std::size_t end_ = 0;
};

std::size_t scale_bytes(const WeightMatrix& matrix) {
  const ScaleGrid& grid = matrix.scales;
  if (grid.format == nullptr) return 0;
  const std::size_t down = (matrix.rows + grid.block_rows - 1) / grid.block_rows;
  const std::size_t across = (matrix.columns + grid.block_columns - 1) / grid.block_columns;
  return down * across * grid.format->block_bytes;
}

void place(WeightMatrix& matrix, Places& places) {
  if (matrix.layout == WeightLayout::kPlanes) {
    NestedView& nested = matrix.nested;
    const NestedForm& form = *nested.form;
    std::size_t first = 0;
    for (std::size_t group = 0; group < form.groups_of(nested.width); ++group) {
      const std::size_t at = places.take(form.group_bytes(group, matrix.rows, matrix.columns));
      if (group == 0) first = at;
      nested.at[group] = static_cast<std::int64_t>(at - first);
    }
    matrix.data = places.data(first);
    return;
  }
  matrix.data = places.data(places.take(matrix.bytes()));
  if (matrix.scales.format != nullptr) {
    matrix.scales.data = places.data(places.take(scale_bytes(matrix)));
  }
}

ExpertWeights weights_at(const ExpertLayer& layer, std::uint32_t expert, std::size_t parts,
                         Places& places) {
  const auto matrix = [&](std::size_t i) {
    WeightMatrix made = layer.views[i].matrix;
    if (!layer.widths.empty()) {
      made.nested.width = std::min(layer.widths[parts - 1], made.nested.form->bits);
    } else if (layer.planes()) {
      made.nested.width = layer.width_there(expert, i);
    }
    place(made, places);
    return made;
  };
  ExpertWeights weights;
  weights.gate = matrix(0);
  weights.up = matrix(1);
  weights.down = matrix(2);
  return weights;
}

/// Of a matrix: what lies together in both places.
struct Piece {
  const std::byte* from;
  std::size_t at, bytes;
  const WeightMatrix* turned;  // null: it is copied as it is
};

class Pieces {
 public:
  explicit Pieces(const std::byte* copy) : copy_(copy) {}
  void add(const WeightMatrix& from, const WeightMatrix& to) {
    if (to.layout == WeightLayout::kPlanes) {
      const NestedForm& form = *to.nested.form;
      for (std::size_t group = 0; group < form.groups_of(to.nested.width); ++group) {
        const std::size_t bytes = form.group_bytes(group, to.rows, to.columns);
        add({from.data + from.nested.at[group],
             static_cast<std::size_t>(to.data - copy_ + to.nested.at[group]), bytes, nullptr});
      }
      return;
    }
    const bool turned = from.layout != WeightLayout::kRows;
    add({from.data, static_cast<std::size_t>(to.data - copy_), to.bytes(),
         turned ? &from : nullptr});
    if (to.scales.format == nullptr) return;
    add({from.scales.data, static_cast<std::size_t>(to.scales.data - copy_), scale_bytes(to),
         nullptr});
  }
  std::span<const Piece> all() const { return std::span(pieces_).first(count_); }

 private:
  void add(const Piece& piece) { pieces_[count_++] = piece; }
  const std::byte* const copy_;
  std::array<Piece, kMostPieces> pieces_{};
  std::size_t count_ = 0;
};

/// Of a turned matrix a thread takes so many rows, which are whole strips.
std::size_t rows_at_once(const WeightMatrix& matrix) {
  const std::size_t rows = kCopyBytes / std::max<std::size_t>(1, matrix.row_bytes());
  return std::max<std::size_t>(1, rows / kColumnStripRows) * kColumnStripRows;
}

std::size_t items_of(const Piece& piece) {
  if (piece.turned == nullptr) return (piece.bytes + kCopyBytes - 1) / kCopyBytes;
  const std::size_t rows = rows_at_once(*piece.turned);
  return (piece.turned->rows + rows - 1) / rows;
}

void write(const Piece& piece, std::size_t item, std::byte* out) {
  if (piece.turned == nullptr) {
    const std::size_t first = item * kCopyBytes;
    std::memcpy(out + piece.at + first, piece.from + first,
                std::min(kCopyBytes, piece.bytes - first));
    return;
  }
  const WeightMatrix& matrix = *piece.turned;
  const std::size_t first = item * rows_at_once(matrix);
  const std::size_t rows = std::min(rows_at_once(matrix), matrix.rows - first);
  copy_rows(matrix, first, rows, out + piece.at + first * matrix.row_bytes());
}

}  // namespace

bool has_device_copy(const ExpertLayer& layer) {
  return std::ranges::none_of(layer.views, [](const WeightView& view) {
    return view.matrix.layout == WeightLayout::kColumns;
  });
}

bool multiplies(const DeviceBackend& device, const ExpertLayer& layer) {
  if (!has_device_copy(layer)) return false;
  const ExpertWeights weights = device_weights(layer, 0, layer.parts_there(0), nullptr);
  return device.multiplies(weights.gate) && device.multiplies(weights.up) &&
         device.multiplies(weights.down);
}

std::size_t parts_at(const ExpertLayer& layer, std::uint32_t expert, unsigned bits) {
  const std::size_t there = layer.parts_there(expert);
  return bits == kExactWidth ? there : std::min(there, layer.parts_of(bits));
}

ExpertWeights device_weights(const ExpertLayer& layer, std::uint32_t expert, std::size_t parts,
                             const std::byte* copy) {
  Places places(copy);
  return weights_at(layer, expert, parts, places);
}

std::size_t device_copy_bytes(const ExpertLayer& layer, std::uint32_t expert, std::size_t parts) {
  Places places(nullptr);
  (void)weights_at(layer, expert, parts, places);
  return places.end();
}

void write_device_copy(const ExpertWeights& from, const ExpertWeights& to, std::byte* out,
                       Compute& compute) {
  Pieces pieces(out);
  pieces.add(from.gate, to.gate);
  pieces.add(from.up, to.up);
  pieces.add(from.down, to.down);
  std::size_t items = 0;
  for (const Piece& piece : pieces.all()) items += items_of(piece);
  const auto copy_item = [&](std::size_t item) {
    for (const Piece& piece : pieces.all()) {
      if (item < items_of(piece)) return write(piece, item, out);
      item -= items_of(piece);
    }
  };
  compute.share_out(items, std::ref(copy_item));
}

}  // namespace sluice
