#include "cpu/dot_kernels.h"

namespace sluice::SLUICE_ISA {

void dot(const DotTile& tile, std::byte* scratch) {
  if (tile.codes != nullptr && tile.format->group != 0) {
    quantised_dot(tile, scratch);
  } else {
    float_dot(tile, scratch);
  }
}

}  // namespace sluice::SLUICE_ISA
