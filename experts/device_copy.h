#pragma once
// What a device's copy of an expert is: its matrices as a file has them, rows or planes, each piece
// where every device can read it; never in the order that suits the host's kernels.

#include <cstddef>

#include "base/compute.h"
#include "base/device_backend.h"
#include "experts/expert_catalogue.h"
#include "experts/expert_store.h"

namespace sluice {

/// Whether devices take this layer's experts: not those of which a file has columns of one matrix
/// between another's.
bool has_device_copy(const ExpertLayer& layer);

/// Whether the device can compute with copies of the layer's experts.
bool multiplies(const DeviceBackend& device, const ExpertLayer& layer);

/// How many of an expert's parts make so many bits, of those that there are. An expert that is read
/// as a whole is one.
std::size_t parts_at(const ExpertLayer& layer, std::uint32_t expert, unsigned bits);

/// The matrices of the first `parts` of an expert in a device's copy at `copy`; null: only their
/// sizes count. REQUIRES: has_device_copy.
ExpertWeights device_weights(const ExpertLayer& layer, std::uint32_t expert, std::size_t parts,
                             const std::byte* copy);

/// Bytes of that.
std::size_t device_copy_bytes(const ExpertLayer& layer, std::uint32_t expert, std::size_t parts);

/// `from`, of the host, in whatever order it lies there, to a copy at `out`; `to` says how it lies
/// there: device_weights of the same parts at `out`. On the host's threads.
void write_device_copy(const ExpertWeights& from, const ExpertWeights& to, std::byte* out,
                       Compute& compute);

}  // namespace sluice
