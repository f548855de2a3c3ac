#pragma once
// Parts of a tensor that share its bytes: some of its rows, its transpose, one of the matrices that
// it keeps side by side. A part that lies in whole rows needs no StoredLayout and gets none.

#include <cstdint>
#include <string>

#include "base/status.h"
#include "formats/tensor_info.h"

namespace sluice {

/// The tensor with its last two dimensions swapped. Quantised blocks do not survive that: such a
/// tensor becomes F32. REQUIRES: two dimensions or more.
TensorInfo transposed(TensorInfo tensor);

/// `count` rows of every matrix [rows, columns] of the tensor: `first`, `first + step`, … under a
/// new name. kCorrupt when the tensor has fewer.
Result<TensorInfo> select_rows(const TensorInfo& tensor, std::string name, std::uint64_t first,
                               std::uint64_t count, std::uint64_t step = 1);

/// The same for a list of vectors [vectors, elements].
Result<TensorInfo> select_elements(const TensorInfo& tensor, std::string name, std::uint64_t first,
                                   std::uint64_t count, std::uint64_t step = 1);

/// [units * rows, columns] as [units, rows, columns]. kCorrupt when the rows do not divide.
Result<TensorInfo> divide_rows(TensorInfo tensor, std::uint64_t units);

/// [units, rows, columns], each of whole rows, one after the other as [rows in all, columns].
/// kUnsupported where a part needs a StoredLayout.
Result<TensorInfo> stack_rows(std::string name, const std::vector<TensorInfo>& parts);

/// What lies in one range for all slices along the outermost dimension, with a range for each.
/// REQUIRES: the range's bytes, and its scales', are shared out evenly.
void split_range(TensorInfo& tensor);

/// What is to be done with each number. The tensor becomes F32.
void set_arithmetic(TensorInfo& tensor, StoredArithmetic arithmetic);

}  // namespace sluice
