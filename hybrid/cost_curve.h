#pragma once
// What a device takes to multiply rows by an expert.

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>

namespace sluice {

/// Seconds for each byte of weights, by how many rows meet them: few rows wait for memory, many for
/// arithmetic, and where one becomes the other differs from machine to machine. So there is a knot
/// at every power of two, between which the curve is straight; beyond the last it grows as the rows
/// do.
class CostCurve {
 public:
  static constexpr std::size_t kKnots = 11;  // 1 to 1024 rows

  CostCurve() = default;
  /// `byte_seconds` above 0: at 1, 2, 4 … rows.
  explicit CostCurve(const std::array<double, kKnots>& byte_seconds)
      : byte_seconds_(byte_seconds) {}
  /// Of a device that streams weights and multiplies at these rates, whichever takes longer.
  static CostCurve roofline(double bytes_a_second, double weights_a_second, double weights_a_byte);

  double seconds(std::uint64_t bytes, std::uint32_t rows) const;
  /// All knots, times so much.
  void scale(double factor) {
    for (double& knot : byte_seconds_) knot *= factor;
  }

  /// What was computed at a time: so many rows by so many bytes each.
  struct Part {
    std::uint64_t bytes = 0;
    std::uint32_t rows = 0;
  };
  /// All parts took so long together. Moves the knots that they lie at towards that, and the others
  /// as much as these agree; one measurement, however wrong, moves none by more than a tenth.
  void observe(std::span<const Part> parts, double seconds);

 private:
  double at(std::uint32_t rows) const;

  std::array<double, kKnots> byte_seconds_{};
};

}  // namespace sluice
