#pragma once
// Four floats side by side, so that what searches much may say what runs in lanes: compilers do not
// find it by themselves here. SSE2 is what every x86-64 has; the plain code gives the same bits.

#include <cstdint>
#include <cstring>
#if defined(__x86_64__)
#include <emmintrin.h>
#endif

namespace sluice {

#if defined(__x86_64__)

class FourFloats {
 public:
  FourFloats() : lanes_(_mm_setzero_ps()) {}
  explicit FourFloats(float all) : lanes_(_mm_set1_ps(all)) {}
  static FourFloats load(const float* in) { return FourFloats(_mm_loadu_ps(in)); }
  static FourFloats load(const std::int32_t* in) {
    return FourFloats(_mm_cvtepi32_ps(_mm_loadu_si128(reinterpret_cast<const __m128i*>(in))));
  }
  void store(float* out) const { _mm_storeu_ps(out, lanes_); }
  /// Towards zero. REQUIRES: an int32 has room for it.
  void store(std::int32_t* out) const {
    _mm_storeu_si128(reinterpret_cast<__m128i*>(out), _mm_cvttps_epi32(lanes_));
  }

  friend FourFloats operator+(FourFloats a, FourFloats b) {
    return FourFloats(_mm_add_ps(a.lanes_, b.lanes_));
  }
  friend FourFloats operator-(FourFloats a, FourFloats b) {
    return FourFloats(_mm_sub_ps(a.lanes_, b.lanes_));
  }
  friend FourFloats operator*(FourFloats a, FourFloats b) {
    return FourFloats(_mm_mul_ps(a.lanes_, b.lanes_));
  }
  /// a < b ? a : b, and so on: b where one of them is no number.
  friend FourFloats min(FourFloats a, FourFloats b) {
    return FourFloats(_mm_min_ps(a.lanes_, b.lanes_));
  }
  friend FourFloats max(FourFloats a, FourFloats b) {
    return FourFloats(_mm_max_ps(a.lanes_, b.lanes_));
  }

 private:
  explicit FourFloats(__m128 lanes) : lanes_(lanes) {}
  __m128 lanes_;
};

#else

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

 private:
  float lanes_[4] = {};
};

#endif

}  // namespace sluice
