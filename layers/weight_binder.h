#pragma once
// Walks over every tensor that a description asks for, in one order, and gives each a place in one
// buffer. Run without memory it only counts; run with memory it fills in the pointers and notes
// what to read.

#include <cstddef>
#include <cstdint>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "base/status.h"
#include "layers/dense_weights.h"

namespace sluice {

class WeightBinder {
 public:
  WeightBinder(const Checkpoint& checkpoint, const ModelDescription& model, std::byte* memory)
      : checkpoint_(checkpoint), model_(model), memory_(memory) {}

  /// kCorrupt names a tensor that is missing or has another shape than the description asks for;
  /// kUnsupported one that belongs to a layer and that the description has no use for: the model is
  /// not what it is taken to be, and would run wrongly.
  Status bind(DenseWeights& weights);
  std::uint64_t bytes() const { return used_; }

  /// Bytes of the files that `bind` wants as they are.
  struct Piece {
    FileRange range;
    std::byte* destination;
  };
  const std::vector<Piece>& pieces() const { return pieces_; }
  /// Tensors that `bind` wants otherwise than their bytes are: re-laid, or widened to float32.
  struct Conversion {
    const TensorInfo* tensor;
    std::byte* destination;
    bool widen;
  };
  const std::vector<Conversion>& conversions() const { return conversions_; }

 private:
  Status attention(const AttentionDescription& shape, AttentionWeights& weights);
  Status latent(const AttentionDescription& shape, AttentionWeights& weights);
  Status delta_net(DeltaNetWeights& weights);
  Status feed_forward(const LayerDescription& shape, LayerWeights& layer);
  Status network(std::string_view suffix, std::size_t width, FfnWeights& weights);
  Status router(LayerWeights& layer);

  // Names are without the layer's prefix.
  const TensorInfo* find(std::string_view name);
  Status matrix(std::string_view name, std::size_t rows, std::size_t columns, WeightMatrix& matrix);
  bool coded(const TensorInfo& tensor, WeightMatrix& matrix);
  Status vector(std::string_view name, std::size_t length, const float*& values);
  Status optional_vector(std::string_view name, std::size_t length, const float*& values);
  Status norm(std::string_view name, NormWeights& norm);
  Status optional_norm(std::string_view name, NormWeights& norm);
  Result<const TensorInfo*> require(std::string_view name, std::size_t elements);
  std::byte* place(std::uint64_t bytes);
  Status refuse_unused() const;

  const Checkpoint& checkpoint_;
  const ModelDescription& model_;
  std::byte* memory_;
  std::uint64_t used_ = 0;
  std::string prefix_;
  std::set<std::string_view> used_names_;
  std::vector<Piece> pieces_;
  std::vector<Conversion> conversions_;
};

}  // namespace sluice
