#include "engine/importance_sums.h"

namespace sluice {
namespace {

constexpr std::size_t kUnseen = ~std::size_t{0};

void add_squares(const float* row, std::size_t columns, double* sums) {
  for (std::size_t i = 0; i < columns; ++i) sums[i] += double{row[i]} * double{row[i]};
}

}  // namespace

ImportanceSums::ImportanceSums(const ModelDescription& model)
    : experts_(model.router.experts),
      input_columns_(model.hidden),
      hidden_columns_(model.expert_ffn),
      place_(model.layers.size(), kUnseen) {}

Result<ImportanceSums> ImportanceSums::create(const ModelDescription& model,
                                              std::span<const std::uint32_t> layers) {
  ImportanceSums sums(model);
  for (std::size_t i = 0; i < layers.size(); ++i) sums.place_[layers[i]] = i;
  sums.counts_.resize(layers.size() * sums.experts_);
  const std::size_t numbers = sums.experts_ * (sums.input_columns_ + sums.hidden_columns_);
  SLUICE_ASSIGN(sums.memory_, AlignedBuffer::allocate(layers.size() * numbers * sizeof(double)));
  sums.sums_ = sums.memory_.as<double>();
  return sums;
}

std::uint64_t ImportanceSums::layer_bytes(const ModelDescription& model) {
  const std::uint64_t columns = std::uint64_t{model.hidden} + model.expert_ffn;
  return model.router.experts * (columns * sizeof(double) + sizeof(std::uint64_t));
}

void ImportanceSums::computed(std::uint32_t layer, std::uint32_t expert, const FfnTask& task) {
  if (place_[layer] == kUnseen) return;
  double* const inputs = of(layer) + expert * input_columns_;
  double* const hidden = of(layer) + experts_ * input_columns_ + expert * hidden_columns_;
  for (std::size_t row = 0; row < task.n_rows; ++row) {
    const std::size_t read = task.row_index == nullptr ? row : task.row_index[row];
    add_squares(task.input.values + read * input_columns_, input_columns_, inputs);
    add_squares(task.hidden.values + row * hidden_columns_, hidden_columns_, hidden);
  }
  counts_[place_[layer] * experts_ + expert] += task.n_rows;
}

std::span<const double> ImportanceSums::inputs(std::uint32_t layer) const {
  return {of(layer), experts_ * input_columns_};
}

std::span<const double> ImportanceSums::hidden(std::uint32_t layer) const {
  return {of(layer) + experts_ * input_columns_, experts_ * hidden_columns_};
}

std::span<const std::uint64_t> ImportanceSums::counts(std::uint32_t layer) const {
  return std::span(counts_).subspan(place_[layer] * experts_, experts_);
}

double* ImportanceSums::of(std::uint32_t layer) const {
  return sums_ + place_[layer] * experts_ * (input_columns_ + hidden_columns_);
}

}  // namespace sluice
