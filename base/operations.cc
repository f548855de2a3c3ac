#include "base/operations.h"

#include "base/quant_blocks.h"

namespace sluice {
namespace {

/// Floats, filled up to 64 bytes.
std::size_t whole_lines(std::size_t floats) { return (floats + 15) / 16 * 16; }

constexpr std::size_t kAlignment = 64;

// Hands out consecutive aligned pieces; with no memory it only measures them, so that `bytes` and
// `carve` cannot differ.
class Carver {
 public:
  explicit Carver(std::byte* memory) : memory_(memory) {}

  template <typename T>
  T* take(std::size_t count) {
    std::byte* piece = memory_ == nullptr ? nullptr : memory_ + used_;
    used_ += (count * sizeof(T) + kAlignment - 1) / kAlignment * kAlignment;
    return reinterpret_cast<T*>(piece);
  }
  std::size_t used() const { return used_; }

 private:
  std::byte* memory_;
  std::size_t used_ = 0;
};

Activations lay_out(Carver& carver, std::size_t rows, std::size_t columns, bool with_codes) {
  Activations activations;
  activations.rows = rows;
  activations.columns = columns;
  activations.values = carver.take<float>(rows * columns);
  if (with_codes && columns % 32 == 0) {
    activations.codes = carver.take<std::int8_t>(rows * columns);
    activations.scales = carver.take<float>(rows * columns / 32);
    activations.sums = carver.take<std::int16_t>(rows * columns / 16);
  }
  return activations;
}

}  // namespace

std::size_t Activations::bytes(std::size_t rows, std::size_t columns, bool with_codes) {
  Carver carver(nullptr);
  lay_out(carver, rows, columns, with_codes);
  return carver.used();
}

Activations Activations::carve(std::byte* memory, std::size_t rows, std::size_t columns,
                               bool with_codes) {
  Carver carver(memory);
  return lay_out(carver, rows, columns, with_codes);
}

std::size_t kv_vector_bytes(KvType type, std::size_t head_dim) {
  switch (type) {
    case KvType::kF32:
      return head_dim * sizeof(float);
    case KvType::kF16:
      return head_dim * sizeof(std::uint16_t);
    case KvType::kQ8_0:
      return head_dim / Q8_0Block::kElements * sizeof(Q8_0Block);
  }
  return 0;  // not a KvType
}

std::size_t DeltaNetShape::channels() const {
  return 2 * std::size_t{key_heads} * key_dim + std::size_t{value_heads} * value_dim;
}

std::size_t DeltaNetShape::conv_state_floats() const { return channels() * (kernel - 1); }

std::size_t DeltaNetShape::state_floats() const {
  return std::size_t{value_heads} * key_dim * value_dim;
}

std::size_t DeltaNetShape::matrices_offset() const { return whole_lines(conv_state_floats()); }

std::size_t DeltaNetShape::floats() const {
  return matrices_offset() + whole_lines(state_floats());
}

}  // namespace sluice
