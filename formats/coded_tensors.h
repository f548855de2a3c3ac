#pragma once
// Tensors of Hugging Face folders whose codes and scales are two tensors: FP8 with a scale for each
// block, MXFP4 with blocks apart from exponents.

#include <array>
#include <cstdint>
#include <optional>

#include "base/status.h"
#include "formats/safetensors.h"
#include "formats/tensor_info.h"

namespace sluice {

/// Rows and columns that share an FP8 scale; nullopt: the scales' shape tells.
using ScaleBlock = std::optional<std::array<std::uint64_t, 2>>;

/// The codes, where `tensor` holds any under a name that belongs to a weight: without scales yet.
/// nullopt for any other tensor. kCorrupt when its bytes do not fit its shape.
Result<std::optional<TensorInfo>> read_codes(const SafetensorsTensor& tensor);

/// A tensor of scales as the file has it: bytes for MXFP4's exponents, else floats. nullopt where
/// its dtype is neither.
Result<std::optional<TensorInfo>> read_scales(const SafetensorsTensor& tensor);

/// Puts the scales beside the codes. `scales` has as many ranges as `codes`, or one. kCorrupt when
/// the shapes do not fit each other.
Status attach_scales(TensorInfo& codes, const TensorInfo& scales, const ScaleBlock& block);

}  // namespace sluice
