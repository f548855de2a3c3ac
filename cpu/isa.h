#pragma once
// Which instruction set the kernels use: chosen once, when a CpuCompute is made.

#include <cstdint>
#include <span>
#include <string_view>

#include "base/status.h"

namespace sluice {

enum class Isa : std::uint8_t { kGeneric, kAvx2, kAvx512, kAvx512Vnni };

/// All of them, narrowest first.
std::span<const Isa> all_isas();
/// "AVX-512 VNNI", for people.
std::string_view isa_name(Isa isa);
/// Whether this machine (and this build) can run it.
bool isa_available(Isa isa);
/// The widest one available, or the one that the environment variable SLUICE_ISA names: generic,
/// avx2, avx512 or vnni. kInvalidArgument for another word, kUnsupported where the machine lacks
/// the one that is named.
Result<Isa> choose_isa();

}  // namespace sluice
