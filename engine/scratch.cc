#include "engine/scratch.h"

#include <algorithm>

namespace sluice {
namespace {

/// Hands out pieces of a buffer, 64-byte aligned; without a buffer it only counts.
class Carver {
 public:
  explicit Carver(std::byte* memory) : memory_(memory) {}
  template <typename T>
  T* take(std::size_t count) {
    return reinterpret_cast<T*>(advance(count * sizeof(T)));
  }
  Activations activations(std::size_t rows, std::size_t columns, bool eight_bit) {
    const bool with_codes = eight_bit && columns % 32 == 0;
    std::byte* place = advance(Activations::bytes(rows, columns, with_codes));
    return memory_ == nullptr ? Activations{}
                              : Activations::carve(place, rows, columns, with_codes);
  }
  std::size_t used() const { return used_; }

 private:
  std::byte* advance(std::size_t bytes) {
    std::byte* place = memory_ == nullptr ? nullptr : memory_ + used_;
    used_ += (bytes + 63) / 64 * 64;
    return place;
  }
  std::byte* memory_;
  std::size_t used_ = 0;
};

}  // namespace

template <typename C>
void Scratch::carve(C& carver, const ModelDescription& model, const ScratchShape& sizes) {
  max_rows = sizes.rows;
  const bool eight_bit = sizes.eight_bit;
  const AttentionDescription& shape = model.attention;
  const std::size_t rows = max_rows;
  const std::size_t chosen = rows * model.router.top_k;
  std::size_t widest = 0;
  for (const LayerDescription& layer : model.layers)
    widest = std::max<std::size_t>(widest, layer.ffn);

  residual = carver.template take<float>(rows * model.hidden);
  normed = carver.activations(rows, model.hidden, eight_bit);
  q = carver.template take<float>(rows * shape.heads * shape.head_dim);
  k = carver.template take<float>(rows * shape.kv_heads * shape.head_dim);
  v = carver.template take<float>(rows * shape.kv_heads * shape.value_dim);
  attended = carver.activations(rows, std::size_t{shape.heads} * shape.value_dim, eight_bit);
  attention_memory = {carver.template take<std::byte>(sizes.attention_bytes),
                      sizes.attention_bytes};
  block_output = carver.template take<float>(rows * model.hidden);
  cosines = carver.template take<float>(rows * model.rope.rotary_dim / 2);
  sines = carver.template take<float>(rows * model.rope.rotary_dim / 2);
  scores = carver.template take<float>(rows * model.router.experts);
  expert_ids = carver.template take<std::uint32_t>(chosen);
  expert_weights = carver.template take<float>(chosen);
  grouped_rows = carver.template take<std::uint32_t>(chosen);
  output_place = carver.template take<std::uint32_t>(chosen);
  expert_hidden = carver.activations(chosen, model.expert_ffn, eight_bit);
  expert_outputs = carver.template take<float>(chosen * model.hidden);
  dense_hidden = carver.activations(rows, widest, eight_bit);
  shared_output = carver.template take<float>(rows * model.hidden);
  shared_weight = carver.template take<float>(rows);
  logits = carver.template take<float>(kLogitRows * model.vocabulary);
}

std::size_t Scratch::bytes(const ModelDescription& model, const ScratchShape& shape) {
  Scratch scratch;
  Carver counter(nullptr);
  scratch.carve(counter, model, shape);
  return counter.used();
}

Result<Scratch> Scratch::create(const ModelDescription& model, const ScratchShape& shape) {
  Scratch scratch;
  SLUICE_ASSIGN(scratch.memory_, AlignedBuffer::allocate(bytes(model, shape)));
  Carver carver(scratch.memory_.data());
  scratch.carve(carver, model, shape);
  scratch.positions.resize(shape.rows);
  scratch.attention_rows.resize(shape.rows);
  return scratch;
}

Activations slice_rows(const Activations& all, std::size_t first, std::size_t rows) {
  Activations part = all;
  part.rows = rows;
  part.values += first * all.columns;
  if (all.codes != nullptr) {
    part.codes += first * all.columns;
    part.scales += first * (all.columns / 32);
    part.sums += first * (all.columns / 16);
  }
  return part;
}

Activations narrowed(const Activations& all, std::size_t columns) {
  Activations part = all;
  part.columns = columns;
  if (columns % 32 != 0) part.codes = nullptr;
  return part;
}

}  // namespace sluice
