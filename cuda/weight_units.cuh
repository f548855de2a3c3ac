#pragma once
// All formats as units (weight_units_32.cuh), found by type.

#include <type_traits>

#include "base/tensor_format.h"
#include "cuda/weight_units_256.cuh"
#include "cuda/weight_units_32.cuh"
#include "cuda/weight_units_codebook.cuh"
#include "cuda/weight_units_ternary.cuh"

namespace sluice::cuda {

/// visit(std::type_identity<Unit>()) for the type's unit; a default result where it has none.
template <typename Visit>
auto visit_unit(TensorType type, const Visit& visit)
    -> decltype(visit(std::type_identity<Q4_0Unit>())) {
  switch (type) {
    case TensorType::kQ4_0:
      return visit(std::type_identity<Q4_0Unit>());
    case TensorType::kQ4_1:
      return visit(std::type_identity<Q4_1Unit>());
    case TensorType::kQ5_0:
      return visit(std::type_identity<Q5_0Unit>());
    case TensorType::kQ5_1:
      return visit(std::type_identity<Q5_1Unit>());
    case TensorType::kQ8_0:
      return visit(std::type_identity<Q8_0Unit>());
    case TensorType::kQ2_K:
      return visit(std::type_identity<Q2_KUnit>());
    case TensorType::kQ3_K:
      return visit(std::type_identity<Q3_KUnit>());
    case TensorType::kQ4_K:
      return visit(std::type_identity<Q4_KUnit>());
    case TensorType::kQ5_K:
      return visit(std::type_identity<Q5_KUnit>());
    case TensorType::kQ6_K:
      return visit(std::type_identity<Q6_KUnit>());
    case TensorType::kIQ4_NL:
      return visit(std::type_identity<IQ4_NLUnit>());
    case TensorType::kIQ4_XS:
      return visit(std::type_identity<IQ4_XSUnit>());
    case TensorType::kMXFP4:
      return visit(std::type_identity<MXFP4Unit>());
    case TensorType::kIQ2_XXS:
      return visit(std::type_identity<IQ2_XXSUnit>());
    case TensorType::kIQ2_XS:
      return visit(std::type_identity<IQ2_XSUnit>());
    case TensorType::kIQ2_S:
      return visit(std::type_identity<IQ2_SUnit>());
    case TensorType::kIQ3_XXS:
      return visit(std::type_identity<IQ3_XXSUnit>());
    case TensorType::kIQ3_S:
      return visit(std::type_identity<IQ3_SUnit>());
    case TensorType::kIQ1_S:
      return visit(std::type_identity<IQ1_SUnit>());
    case TensorType::kIQ1_M:
      return visit(std::type_identity<IQ1_MUnit>());
    case TensorType::kTQ1_0:
      return visit(std::type_identity<TQ1_0Unit>());
    case TensorType::kTQ2_0:
      return visit(std::type_identity<TQ2_0Unit>());
    default:  // no quantised format
      return {};
  }
}

}  // namespace sluice::cuda
