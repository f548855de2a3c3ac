#pragma once
// From the bytes that a file has to the tensor that is wanted, for tensors with a StoredLayout.
// Pure functions: who reads the bytes, and when, is the caller's affair.

#include <cstddef>
#include <cstdint>
#include <span>

#include "base/status.h"
#include "formats/tensor_info.h"

namespace sluice {

/// Does a range of so many bytes, and as many of scales beside it, hold what the layout asks for?
/// kCorrupt when not. REQUIRES: tensor.stored.
Status check_range(const TensorInfo& tensor, std::uint64_t bytes, std::uint64_t scale_bytes);

/// Bytes that relay_range writes for one range: the range's units in the tensor's own type.
std::uint64_t relaid_bytes(const TensorInfo& tensor);

/// Numbers of the range's units, row after row: float32 `[units, rows, columns]`. `stored` are the
/// bytes of one of the tensor's ranges and `scales` those of the scales beside it, if it has any.
/// kCorrupt as check_range has it. REQUIRES: tensor.stored.
Status decode_range(const TensorInfo& tensor, std::span<const std::byte> stored,
                    std::span<const std::byte> scales, std::span<float> out);

/// The same in the tensor's own type: what a kernel reads. MXFP4 comes out with its very bits;
/// other numbers go through float32, which loses nothing of what FP8, F16 and BF16 files hold but
/// where type is narrower than what is stored. kUnsupported for a type that nothing is relaid into.
Status relay_range(const TensorInfo& tensor, std::span<const std::byte> stored,
                   std::span<const std::byte> scales, std::span<std::byte> out);

/// kUnsupported for a type that nothing is relaid into. REQUIRES: tensor.stored.
Status check_relay(const TensorInfo& tensor);
/// Rows [first_row, first_row + n_rows) of what relay_range makes, counted through the range's
/// units. Different rows may be relaid at the same time. REQUIRES: check_relay and check_range are
/// content; `out` has room.
void relay_rows(const TensorInfo& tensor, std::span<const std::byte> stored,
                std::span<const std::byte> scales, std::uint64_t first_row, std::uint64_t n_rows,
                std::byte* out);

}  // namespace sluice
