#include "gates/router_copies.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <span>

#include "base/half.h"
#include "base/quant_blocks.h"

namespace sluice {
namespace {

const TensorFormat& format() { return tensor_format(TensorType::kQ8_0); }

bool copied(const ModelDescription& model) { return model.hidden % Q8_0Block::kElements == 0; }

std::uint64_t layer_bytes(const ModelDescription& model) {
  return format().bytes(model.hidden) * std::uint64_t{model.router.experts};
}

/// More rows are multiplied by the decoded weights: that is worth it then.
constexpr std::size_t kCodedRows = 8;

/// Symmetric, to the nearest.
Q8_0Block to_block(std::span<const float, Q8_0Block::kElements> values) {
  float largest = 0;
  for (const float value : values) largest = std::max(largest, std::fabs(value));
  Q8_0Block block{};
  const std::uint16_t scale = float_to_half(largest / 127);
  std::memcpy(&block.scale, &scale, sizeof scale);
  const float stored = half_to_float(scale);
  if (!(stored > 0) || !std::isfinite(stored)) return block;
  for (std::size_t i = 0; i < values.size(); ++i) {
    block.codes[i] =
        static_cast<std::int8_t>(std::lround(std::clamp(values[i] / stored, -127.0f, 127.0f)));
  }
  return block;
}

}  // namespace

std::uint64_t RouterCopies::bytes(const ModelDescription& model) {
  if (!copied(model)) return 0;
  const auto sparse = std::ranges::count(model.layers, true, &LayerDescription::sparse);
  return Activations::bytes(kCodedRows, model.hidden, true) +
         static_cast<std::uint64_t>(sparse) * layer_bytes(model);
}

Result<RouterCopies> RouterCopies::make(const ModelDescription& model,
                                        const std::vector<LayerWeights>& weights,
                                        Compute& compute) {
  RouterCopies made;
  if (!copied(model)) return made;
  SLUICE_ASSIGN(made.memory_, AlignedBuffer::allocate(bytes(model)));
  made.copies_.resize(model.layers.size());
  made.coded_ = Activations::carve(made.memory_.data(), kCodedRows, model.hidden, true);
  std::byte* to = made.memory_.data() + Activations::bytes(kCodedRows, model.hidden, true);
  std::vector<float> row(model.hidden);
  std::vector<RepackTask> tasks;
  for (std::size_t layer = 0; layer < weights.size(); ++layer) {
    if (!model.layers[layer].sparse) continue;
    const RouterWeights& router = weights[layer].router;
    if (!router.matrix.format->is_float() || router.matrix.layout != WeightLayout::kRows) continue;
    GateCorrection& copy = made.copies_[layer];
    copy = {router.matrix, router.bias};
    copy.matrix.format = &format();
    copy.matrix.data = to;
    tasks.push_back({&copy.matrix, to});
    for (std::size_t i = 0; i < router.matrix.rows; ++i) {
      router.matrix.format->decode(router.matrix.row(i), row.data(), row.size());
      for (std::size_t at = 0; at < row.size(); at += Q8_0Block::kElements) {
        const Q8_0Block block = to_block(std::span(row).subspan(at).first<Q8_0Block::kElements>());
        to = std::copy_n(reinterpret_cast<const std::byte*>(&block), sizeof block, to);
      }
    }
  }
  compute.repack(tasks);
  return made;
}

void RouterCopies::apply(RouterGate& gate) const {
  gate.multiply_coded(coded_);
  for (std::size_t layer = 0; layer < copies_.size(); ++layer) {
    if (copies_[layer].present()) gate.correct(static_cast<std::uint32_t>(layer), copies_[layer]);
  }
}

}  // namespace sluice
