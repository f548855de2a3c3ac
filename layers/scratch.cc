#include "layers/scratch.h"

#include <algorithm>
#include <set>

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

/// The widest of every kind over the layers.
struct Widths {
  explicit Widths(const ModelDescription& model) {
    for (const LayerDescription& layer : model.layers) {
      widen(ffn, std::max(layer.dense_ffn, layer.shared_ffn));
      dense_beside |= layer.sparse && layer.dense_ffn != 0;
      shared |= layer.shared_ffn != 0;
      layer.recurrent ? add(model.delta_net) : add(layer.attention);
    }
  }

  std::size_t projected = 0, q = 0, k = 0, v = 0, gate = 0, attended = 0, ffn = 0;
  std::size_t q_rank = 0, plain = 0, rank = 0, value_heads = 0;
  std::set<std::size_t> latent_heads;
  bool dense_beside = false, shared = false;

 private:
  static void widen(std::size_t& width, std::size_t to) { width = std::max(width, to); }
  void add(const DeltaNetShape& net) {
    const std::size_t inner = std::size_t{net.value_heads} * net.value_dim;
    widen(projected, net.channels());
    widen(gate, inner);
    widen(attended, inner);
    widen(value_heads, net.value_heads);
  }
  void add(const AttentionDescription& attention) {
    const AttentionShape shape = attention_shape(attention, KvType::kF32);
    widen(q, shape.heads * shape.head_dim);
    widen(k, shape.kv_heads * shape.head_dim);
    widen(attended, std::size_t{attention.heads} * attention.value_dim);
    if (attention.output_gate) {
      widen(projected, attention.query_floats());
      widen(gate, std::size_t{attention.heads} * attention.value_dim);
    }
    if (attention.latent) {
      widen(projected, attention.query_floats());
      widen(q_rank, attention.latent->q_rank);
      widen(plain, attention.latent->plain_dim);
      widen(rank, attention.latent->kv_rank);
      latent_heads.insert(attention.heads);
    } else {
      widen(v, shape.kv_heads * shape.value_dim);
    }
  }
};

}  // namespace

template <typename C>
void Scratch::carve(C& carver, const ModelDescription& model, const ScratchShape& sizes) {
  max_rows = sizes.rows;
  const bool eight_bit = sizes.eight_bit;
  const std::size_t rows = max_rows;
  const std::size_t hidden = model.hidden;
  const Widths widths(model);
  const auto floats = [&](std::size_t width) {
    return width == 0 ? nullptr : carver.template take<float>(rows * width);
  };
  const auto activations = [&](std::size_t count, std::size_t columns) {
    return count == 0 || columns == 0 ? Activations{}
                                      : carver.activations(count, columns, eight_bit);
  };

  residual = floats(hidden);
  normed = activations(rows, hidden);

  projected = floats(widths.projected);
  q = floats(widths.q);
  k = floats(widths.k);
  v = floats(widths.v);
  gate = floats(widths.gate);
  attended = activations(rows, widths.attended);
  attention_memory = {carver.template take<std::byte>(sizes.attention_bytes),
                      sizes.attention_bytes};
  cosines.clear();
  sines.clear();
  for (const RopeDescription& rope : model.ropes) {
    cosines.push_back(floats(rope.rotary_dim / 2));
    sines.push_back(floats(rope.rotary_dim / 2));
  }
  const std::size_t latent_heads = widths.latent_heads.empty() ? 0 : *widths.latent_heads.rbegin();
  narrow_query = activations(rows, widths.q_rank);
  plain_query = activations(rows * latent_heads, widths.plain);
  latent_values = activations(rows * latent_heads, widths.rank);
  head_rows.clear();
  for (const std::size_t heads : widths.latent_heads) {
    head_rows.push_back({heads, carver.template take<std::uint32_t>(rows * heads)});
  }
  alpha = floats(widths.value_heads);
  beta = floats(widths.value_heads);
  block_output = floats(hidden);

  if (model.router.input == RouterInput::kOwnNorm) {
    router_input = carver.activations(rows, hidden, /*eight_bit=*/false);
  }
  scores = floats(model.router.experts);
  if (sizes.experts) carve_experts(carver, model, sizes);
  dense_hidden = activations(rows, widths.ffn);
  dense_output = floats(widths.dense_beside ? hidden : 0);
  shared_output = floats(widths.shared ? hidden : 0);
  shared_weight = floats(widths.shared ? 1 : 0);
  logit_rows = carver.template take<std::uint32_t>(kLogitRows);
  logits = carver.template take<float>(kLogitRows * model.vocabulary);
}

template <typename C>
void Scratch::carve_experts(C& carver, const ModelDescription& model, const ScratchShape& sizes) {
  const std::size_t chosen = sizes.rows * model.router.top_k;
  const auto activations = [&](std::size_t columns) {
    return chosen == 0 || columns == 0 ? Activations{}
                                       : carver.activations(chosen, columns, sizes.eight_bit);
  };
  expert_ids = carver.template take<std::uint32_t>(chosen);
  expert_weights = carver.template take<float>(chosen);
  grouped_rows = carver.template take<std::uint32_t>(chosen);
  output_place = carver.template take<std::uint32_t>(chosen);
  if (model.router.weights_scale_input) expert_input = activations(model.hidden);
  expert_hidden = activations(model.expert_ffn);
  expert_outputs = carver.template take<float>(chosen * model.hidden);
}

std::size_t attention_bytes(const ModelDescription& model, KvType kv_type,
                            const Operations& operations, std::size_t context, unsigned threads) {
  std::size_t most = 0;
  for (const LayerDescription& layer : model.layers) {
    if (layer.recurrent) continue;
    const AttentionShape shape = attention_shape(layer.attention, kv_type);
    most = std::max(most, operations.attention_bytes(shape, context, threads));
  }
  return most;
}

std::size_t Scratch::bytes(const ModelDescription& model, const ScratchShape& shape) {
  Scratch scratch;
  Carver counter(nullptr);
  scratch.carve(counter, model, shape);
  return counter.used();
}

Result<Scratch> Scratch::create(const ModelDescription& model, const ScratchShape& shape,
                                DeviceBackend* device) {
  Scratch scratch;
  const std::size_t wanted = bytes(model, shape);
  if (device == nullptr) {
    SLUICE_ASSIGN(scratch.memory_, AlignedBuffer::allocate(wanted));
  } else {
    SLUICE_ASSIGN(scratch.of_device_, DeviceBuffer::allocate_pinned(*device, wanted));
  }
  scratch.lay_out(device == nullptr ? scratch.memory_.data() : scratch.of_device_.data(), model,
                  shape);
  scratch.number_heads();
  return scratch;
}

Result<Scratch> Scratch::create_on(DeviceBackend& device, const ModelDescription& model,
                                   const ScratchShape& shape) {
  Scratch scratch;
  SLUICE_ASSIGN(scratch.of_device_, DeviceBuffer::allocate(device, bytes(model, shape)));
  scratch.lay_out(scratch.of_device_.data(), model, shape);
  return scratch;
}

void Scratch::lay_out(std::byte* memory, const ModelDescription& model, const ScratchShape& shape) {
  Carver carver(memory);
  carve(carver, model, shape);
  positions.resize(shape.rows);
  attention_rows.resize(shape.rows);
  if (alpha != nullptr) states.resize(shape.rows);
}

void Scratch::number_heads() {
  for (const HeadRows& numbers : head_rows) {
    for (std::size_t head = 0; head < numbers.heads; ++head) {
      for (std::size_t row = 0; row < max_rows; ++row) {
        numbers.rows[head * max_rows + row] =
            static_cast<std::uint32_t>(row * numbers.heads + head);
      }
    }
  }
}

Activations Scratch::read_by_router(const ModelDescription& model) const {
  switch (model.router.input) {
    case RouterInput::kFfnNorm:
      return normed;
    case RouterInput::kOwnNorm:
      return router_input;
    case RouterInput::kLayerInput:
      break;
  }
  return {.values = residual, .rows = max_rows, .columns = model.hidden};
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
