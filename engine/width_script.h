#pragma once
// Widths of experts that were written down before: they take the place of WidthChoice's own.

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>

#include "base/status.h"
#include "layers/row.h"

namespace sluice {

/// Called on the computing thread, for rows of the pass that began last.
class WidthScript {
 public:
  virtual ~WidthScript() = default;
  /// A pass over these rows begins; an error ends it before anything is computed.
  virtual Status begin(std::span<const Row> rows) = 0;
  /// Which of the layer's widths, the narrowest being 0, a row's expert of this rank has; nothing:
  /// that was not written down.
  virtual std::optional<std::uint8_t> level(std::uint32_t layer, std::size_t row,
                                            std::size_t rank) const = 0;
};

}  // namespace sluice
