#pragma once
// Four floats side by side. Compilers make vector code of loops over so few, and of longer ones,
// such as over the sixteen offsets of a nested block, they do not; each lane keeps its own order of
// operations, so that every machine has the same bits.

#include <algorithm>
#include <cstdint>
#include <cstring>

namespace sluice {

class FourFloats {
 public:
  FourFloats() = default;
  explicit FourFloats(float all) : lanes_{all, all, all, all} {}
  static FourFloats load(const float* in) {
    FourFloats loaded;
    std::memcpy(loaded.lanes_, in, sizeof(loaded.lanes_));
    return loaded;
  }
  static FourFloats load(const std::int32_t* in) {
    FourFloats loaded;
    for (int i = 0; i < 4; ++i) loaded.lanes_[i] = static_cast<float>(in[i]);
    return loaded;
  }
  void store(float* out) const { std::memcpy(out, lanes_, sizeof(lanes_)); }
  /// Towards zero. REQUIRES: an int32 has room for each.
  void store(std::int32_t* out) const {
    for (int i = 0; i < 4; ++i) out[i] = static_cast<std::int32_t>(lanes_[i]);
  }

  friend FourFloats operator+(FourFloats a, FourFloats b) {
    for (int i = 0; i < 4; ++i) a.lanes_[i] += b.lanes_[i];
    return a;
  }
  friend FourFloats operator-(FourFloats a, FourFloats b) {
    for (int i = 0; i < 4; ++i) a.lanes_[i] -= b.lanes_[i];
    return a;
  }
  friend FourFloats operator*(FourFloats a, FourFloats b) {
    for (int i = 0; i < 4; ++i) a.lanes_[i] *= b.lanes_[i];
    return a;
  }
  friend FourFloats min(FourFloats a, FourFloats b) {
    for (int i = 0; i < 4; ++i) a.lanes_[i] = a.lanes_[i] < b.lanes_[i] ? a.lanes_[i] : b.lanes_[i];
    return a;
  }
  friend FourFloats max(FourFloats a, FourFloats b) {
    for (int i = 0; i < 4; ++i) a.lanes_[i] = a.lanes_[i] > b.lanes_[i] ? a.lanes_[i] : b.lanes_[i];
    return a;
  }
  friend float least_of(FourFloats a) {
    return std::min(std::min(a.lanes_[0], a.lanes_[1]), std::min(a.lanes_[2], a.lanes_[3]));
  }
  friend float most_of(FourFloats a) {
    return std::max(std::max(a.lanes_[0], a.lanes_[1]), std::max(a.lanes_[2], a.lanes_[3]));
  }
  friend float sum_of(FourFloats a) {
    return (a.lanes_[0] + a.lanes_[2]) + (a.lanes_[1] + a.lanes_[3]);
  }

 private:
  float lanes_[4] = {};
};

}  // namespace sluice
